"""A platform that never answers is not used, and one that stops answering is rolled back: with the provider that passes the contract."""

from __future__ import annotations

import pytest

from headgate.images import BuildState, UploadState, current
from headgate.nodes import Size
from providers.base import LaunchFailed, NodeSpec
from providers.fake import FakeCloud, FakeProvider, FakeSettings
from tasks.image_boots import image_for, launch_watched
from tasks.image_proof import Proof, ProofFailed, prove
from tasks.image_store import FileFacts, ImageRecords
from tasks.store import Store

KEY = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAINMXXBcfMjjZGzN2uJpSsXrXDEGFBwYyB5EJ7VpKDvBd"


@pytest.fixture
def images(store: Store) -> ImageRecords:
    return ImageRecords(store._engine)


@pytest.fixture
def cloud() -> FakeCloud:
    return FakeCloud()


@pytest.fixture
def provider(cloud: FakeCloud) -> FakeProvider:
    provider = FakeProvider(FakeSettings(name="cloud", labels={"debian-12": Size(), "plain": Size()}), cloud)
    provider.images = {"debian-12": "debian"}
    return provider


@pytest.fixture(autouse=True)
def events(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Prefect's events, without a Prefect server."""
    told: list[str] = []
    monkeypatch.setattr("tasks.image_boots.emit_event", lambda name, **_: told.append(name))
    return told


async def promoted(images: ImageRecords, name: str) -> None:
    await images.begin_build(f"build-{name}", "debian", "")
    await images.end_build(f"build-{name}", BuildState.READY, {"qcow2": FileFacts(1, "", "")})
    build = await images.build(f"build-{name}")
    assert build is not None
    await images.begin_upload(name, build, "cloud", "qcow2")
    await images.set_upload(name, UploadState.PROVING, external_id=f"glance-{name}")
    await images.promote(name)


async def launch(images: ImageRecords, provider: FakeProvider, node: str) -> None:
    image = await image_for(images, provider, node, "debian-12")
    await launch_watched(images, provider, NodeSpec(node, "debian-12", "owner", KEY, image=image))


async def test_a_label_without_an_image_of_ours_needs_none(images: ImageRecords, provider: FakeProvider) -> None:
    assert await image_for(images, provider, "n", "plain") == ""


async def test_no_node_starts_before_an_image_is_proved(images: ImageRecords, provider: FakeProvider) -> None:
    with pytest.raises(LaunchFailed, match="the image debian of label debian-12 has not been proved at provider cloud yet"):
        await image_for(images, provider, "n", "debian-12")


async def test_an_image_whose_node_does_not_come_up_is_refused_with_its_console(provider: FakeProvider, cloud: FakeCloud) -> None:
    cloud.launch_failures.append(LaunchFailed("no SSH server after 60 s", "Kernel panic"))
    with pytest.raises(ProofFailed, match="its node did not come up: no SSH server after 60 s") as refused:
        await prove(provider, Proof("n", "owner", "debian-12", "glance-1"))
    assert refused.value.console == "Kernel panic"


async def test_an_image_that_starts_to_fail_is_rolled_back_with_an_event(
    images: ImageRecords, provider: FakeProvider, cloud: FakeCloud, events: list[str]
) -> None:
    await promoted(images, "one")
    await promoted(images, "two")
    await launch(images, provider, "good")
    cloud.launch_failures += [LaunchFailed("no SSH server") for _ in range(3)]
    for number in range(3):
        with pytest.raises(LaunchFailed):
            await launch(images, provider, f"bad-{number}")
    uploads = await images.uploads("debian")
    assert {upload.id: upload.state for upload in uploads} == {"one": UploadState.READY, "two": UploadState.WITHDRAWN}
    used = current(uploads, "debian", "cloud")
    assert used is not None and used.id == "one"
    assert events == ["headgate.image.withdrawn"]
    await launch(images, provider, "next")
    assert cloud.nodes["next"][0].image == "glance-one"
