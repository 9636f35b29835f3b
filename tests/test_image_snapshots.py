"""An image made of a node: each attempt's image is of its own node, whatever an earlier one left. The node is an SSH server of this
process which obeys nothing; it only hands out its file tree."""

from __future__ import annotations

import io
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import asyncssh
import pytest

from headgate.nodes import Size
from providers.base import DestroyFailed, ImageFile, Node, NodeSpec
from providers.fake import FakeCloud, FakeProvider, FakeSettings
from providers.local_images import LocalImages
from providers.openstack_images import Images
from providers.openstack_settings import OpenStackSettings
from tasks.image_snapshots import Recipe, SnapshotFailed, take_snapshot

IMAGE = ImageFile("upload", "prepared", "owner", "", "tar")


class TreeProvider(FakeProvider):
    """Its nodes are this process, its images files in a directory. Nodes hand out `tree`."""

    image_formats = ("tar",)

    def __init__(self, directory: Path) -> None:
        super().__init__(FakeSettings(name="here", labels={"small": Size()}), FakeCloud())
        self.tree = b""
        self._store = LocalImages(directory)

    async def start(self) -> asyncssh.SSHAcceptor:
        key = asyncssh.generate_private_key("ssh-ed25519")
        self._host_key = key.export_public_key().decode().strip()

        async def obey(process: asyncssh.SSHServerProcess[bytes]) -> None:
            if "tar --create" in (process.command or ""):
                process.stdout.write(self.tree)
            else:
                await process.stdin.read()
            process.exit(0)

        class Open(asyncssh.SSHServer):
            def begin_auth(self, username: str) -> bool:
                return False

        server = await asyncssh.listen(
            "127.0.0.1", 0, server_factory=Open, server_host_keys=[key], process_factory=obey, encoding=None, reuse_port=False
        )
        self._port = server.get_port()
        return server

    def _node(self, spec: NodeSpec) -> Node:
        return replace(super()._node(spec), host="127.0.0.1", port=self._port, host_keys=(self._host_key,))

    async def upload_image(self, image: ImageFile) -> str:
        async def put(place: Path) -> None:
            place.write_bytes(Path(image.path).read_bytes())

        return await self._store.add(image, "tree", put)

    async def delete_image(self, external_id: str) -> None:
        await self._store.remove(external_id)

    async def owned_images(self, owner: str) -> Mapping[str, str]:
        return await self._store.owned(owner, "tree")


@pytest.fixture
async def provider(tmp_path: Path) -> AsyncIterator[TreeProvider]:
    made = TreeProvider(tmp_path / "images")
    async with await made.start():
        yield made


async def taken(provider: TreeProvider, place: Path, node: str) -> str:
    recipe = Recipe("small", [("one.sh", "true\n")], {}, 30)
    return await take_snapshot(
        provider, NodeSpec(node, "small", "owner", ""), recipe, replace(IMAGE, path=str(place / "fetched")), io.StringIO()
    )


async def test_each_attempt_has_the_tree_of_its_own_node(provider: TreeProvider, tmp_path: Path) -> None:
    for attempt in (b"first", b"second"):
        provider.tree = attempt
        external_id = await taken(provider, tmp_path, attempt.decode())
        assert Path(external_id).read_bytes() == attempt
        assert await provider.owned_images("owner") == {external_id: "upload"}


async def test_images_of_other_uploads_stay(provider: TreeProvider, tmp_path: Path) -> None:
    (tmp_path / "other").write_bytes(b"other")
    other = await provider.upload_image(replace(IMAGE, id="other", path=str(tmp_path / "other")))
    external_id = await taken(provider, tmp_path, "node")
    assert await provider.owned_images("owner") == {external_id: "upload", other: "other"}


async def test_an_earlier_image_that_cannot_be_deleted_is_a_sentence(
    provider: TreeProvider, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    await taken(provider, tmp_path, "first")

    async def refuse(external_id: str) -> None:
        raise DestroyFailed("the disk is read-only")

    monkeypatch.setattr(provider, "delete_image", refuse)
    with pytest.raises(SnapshotFailed, match="the disk is read-only"):
        await taken(provider, tmp_path, "second")


@dataclass
class Glance:
    """As much of Nova and Glance as a snapshot needs: images are made by the one and listed by the other."""

    listed: list[SimpleNamespace]

    @property
    def compute(self) -> Glance:
        return self

    @property
    def image(self) -> Glance:
        return self

    def create_server_image(self, server: str, name: str, metadata: Mapping[str, str]) -> None:
        id = f"image-{len(self.listed)}-of-{server}"
        self.listed.append(SimpleNamespace(id=id, properties=metadata, status="active", disk_format="raw", checksum=""))

    def images(self) -> list[SimpleNamespace]:
        return list(self.listed)

    def delete_image(self, image: str, ignore_missing: bool) -> None:
        self.listed = [each for each in self.listed if each.id != image]

    async def ask(self, what: str, action: Any, repeatable: bool = True) -> Any:
        return action(self)


async def test_a_cloud_is_asked_for_an_image_of_this_attempts_node() -> None:
    labels = [{"name": "small", "cloud-image": "debian-12", "flavor-name": "small"}]
    entry = {
        "name": "cloud",
        "driver": "openstack",
        "cloud": "x",
        "labels": labels,
        "cloud-images": [{"name": "debian-12"}],
        "list-interval": 0.01,
    }
    settings = OpenStackSettings.model_validate(entry)
    images = Images(settings, Glance([]))  # type: ignore[arg-type]  # what it has of a Cloud is enough
    first = await images.snapshot("server-1", "node-1", IMAGE)
    assert await images.snapshot("server-1", "node-1", IMAGE) == first, "the same attempt asks again"
    second = await images.snapshot("server-2", "node-2", IMAGE)
    assert second != first and await images.owned("owner") == {second: "upload"}
    images.close()
