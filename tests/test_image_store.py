"""Images in the store: written down before anything exists, found again after a crash, never two builds at once."""

from __future__ import annotations

import pytest

from headgate.images import BuildState, DeleteUpload, Policy, UploadState
from headgate.nodes import NodeState
from tasks.image_store import FileFacts, ImageRecords
from tasks.node_store import NodeStore
from tasks.store import Store

FACTS = {"qcow2": FileFacts(100, "m", "s")}
POLICIES = {"debian": Policy({"cloud": "qcow2"})}


@pytest.fixture
def images(store: Store) -> ImageRecords:
    return ImageRecords(store._engine)


async def proved(images: ImageRecords, name: str) -> None:
    await images.begin_build(f"build-{name}", "debian", "")
    await images.end_build(f"build-{name}", BuildState.READY, FACTS)
    build = await images.build(f"build-{name}")
    assert build is not None
    upload = await images.begin_upload(name, build, "cloud", "qcow2")
    await images.set_upload(upload.id, UploadState.PROVING, external_id=f"glance-{name}")
    await images.promote(upload.id)


async def test_a_build_that_its_worker_left_is_lost_when_the_next_begins(images: ImageRecords) -> None:
    await images.begin_build("one", "debian", "run")
    await images.begin_build("two", "debian", "run")
    assert [(build.id, build.state) for build in await images.builds("debian")] == [
        ("one", BuildState.FAILED),
        ("two", BuildState.BUILDING),
    ]
    assert await images.files("one") == {}


async def test_an_upload_is_found_again_and_one_that_failed_begins_again(images: ImageRecords) -> None:
    await images.begin_build("b", "debian", "")
    build = await images.build("b")
    assert build is not None
    first = await images.begin_upload("u1", build, "cloud", "qcow2")
    assert (await images.begin_upload("u2", build, "cloud", "qcow2")).id == first.id == "u1"
    await images.set_upload("u1", UploadState.FAILED, "no route")
    assert (await images.begin_upload("u3", build, "cloud", "qcow2")).state is UploadState.UPLOADING
    await images.promote("u1")
    assert (await images.begin_upload("u4", build, "cloud", "qcow2")).state is UploadState.READY


async def test_nodes_start_from_the_one_promoted_last(images: ImageRecords) -> None:
    assert await images.boot("n0", "debian", "cloud") is None
    await proved(images, "one")
    await proved(images, "two")
    found = await images.boot("n1", "debian", "cloud")
    assert found is not None and found.external_id == "glance-two"
    await proved(images, "three")
    again = await images.boot("n1", "debian", "cloud")
    assert again is not None and again.id == "two", "a launch that is repeated after a crash starts from the same image"


async def test_three_nodes_that_do_not_come_up_roll_back(images: ImageRecords) -> None:
    await proved(images, "one")
    await proved(images, "two")
    for number in range(3):
        await images.boot(f"n{number}", "debian", "cloud")
        withdrawn = await images.booted(f"n{number}", "no ssh")
    assert [(each.upload, each.instead) for each in withdrawn] == [("two", "one")]
    states = {upload.id: upload.state for upload in await images.uploads("debian")}
    assert states == {"one": UploadState.READY, "two": UploadState.WITHDRAWN}
    found = await images.boot("n9", "debian", "cloud")
    assert found is not None and found.id == "one"


async def test_what_nodes_run_on_is_not_superfluous(images: ImageRecords, store: Store) -> None:
    for name in ("one", "two", "three"):
        await proved(images, name)
    uploads = {upload.id: upload for upload in await images.uploads()}
    await images.begin_proof("node", uploads["one"], "debian-12")
    assert await images.users() == {"one": 1}
    assert await images.superfluous(POLICIES) == ()
    nodes = await NodeStore(store._engine).nodes()
    assert [(node.id, node.state, node.request) for node in nodes] == [("node", NodeState.HOLD, "")]
    assert await images.proving(uploads["one"]) == ["node"] and await images.proving(uploads["two"]) == []
    await images.end_proof("node")
    assert DeleteUpload("one") in await images.superfluous(POLICIES)
    assert {upload.id: upload.state for upload in await images.uploads()}["one"] is UploadState.DELETING
    await images.forget_upload("one")
    assert [upload.id for upload in await images.uploads()] == ["two", "three"]


async def test_what_a_node_runs_on_that_becomes_a_snapshot_is_in_use(images: ImageRecords) -> None:
    for name in ("one", "two", "three"):
        await proved(images, name)
    uploads = {upload.id: upload for upload in await images.uploads()}
    await images.begin_build("taken", "prepared", "")
    await images.end_build("taken", BuildState.READY, {})
    taken = await images.build("taken")
    assert taken is not None
    snapshot = await images.begin_upload("snapshot", taken, "cloud", "snapshot")
    await images.begin_snapshot("node", snapshot, "debian-12", uploads["one"])
    assert await images.users() == {"one": 1}
    policies = POLICIES | {"prepared": Policy({"cloud": "snapshot"})}
    assert await images.superfluous(policies) == ()
    assert await images.proving(snapshot) == ["node"] and await images.proving(uploads["one"]) == []
    await images.end_proof("node")
    assert DeleteUpload("one") in await images.superfluous(policies)


async def test_a_label_that_brings_its_own_image_becomes_a_snapshot_too(images: ImageRecords) -> None:
    await images.begin_build("taken", "prepared", "")
    taken = await images.build("taken")
    assert taken is not None
    snapshot = await images.begin_upload("snapshot", taken, "cloud", "snapshot")
    await images.begin_snapshot("node", snapshot, "small", None)
    assert await images.users() == {} and await images.proving(snapshot) == ["node"]


async def test_builds_without_files_are_forgotten_but_the_newest(images: ImageRecords) -> None:
    for number in range(4):
        await images.begin_build(f"b{number}", "debian", "")
        await images.end_build(f"b{number}", BuildState.FAILED, {}, "it broke")
    assert await images.forget_builds(keep=3) == ["b0"]
    assert [build.message for build in await images.builds()] == ["it broke"] * 3


async def test_a_pause_lasts_until_it_is_ended(images: ImageRecords) -> None:
    await images.pause("debian", True)
    await images.pause("debian", True)
    assert await images.paused() == {"debian"}
    await images.pause("debian", False)
    assert await images.paused() == set()
