"""Images made the older way, by the flow: a node is prepared over SSH, kept as an image, proved, and nodes start from it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml
from prefect.testing.utilities import prefect_test_harness

from flows.build_image import build_image
from headgate.images import UploadState
from headgate.settings import parse_settings
from providers.base import Node, NodeSpec
from tasks.image_boots import image_for
from tasks.runtime import Runtime, set_runtime
from tests.openstack.entries import entry
from tests.services import machines
from tests.services.openstack.cloud import OpenStack
from tests.services.sshd import free_port
from tests.test_providers import PUBLIC_KEY, log_in

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]
SCRIPTS = {
    "one.sh": 'echo "preparing as $(id -un) for $WHO"\necho "$WHO" >> /home/zuul/prepared\n',
    "two.py": "#!/usr/bin/env python3\nopen('/home/zuul/prepared', 'a').write('by python\\n')\n",
}


def configured(directory: Path, database: str, provider: dict[str, Any], scripts: dict[str, str]) -> Path:
    (directory / "code").mkdir(exist_ok=True)
    for name, text in scripts.items():
        (directory / name).write_text(text)
    (directory / "main.yaml").write_text("[]\n")
    path = directory / "headgate.yaml"
    image = {"name": "prepared", "snapshot-of": "small", "scripts": list(scripts), "env-vars": {"WHO": "a snapshot"}}
    text = {
        "state-dir": "state", "tenants": "main.yaml", "database": database, "prefect": {"port": free_port()},
        "connections": [{"name": "code", "driver": "git", "path": "code"}], "providers": [provider], "diskimages": [image],
    }  # fmt: skip
    path.write_text(yaml.safe_dump(text))
    return path


async def node_of(this: Runtime, provider: str, label: str) -> Node:
    place = this.providers[provider]
    image = await image_for(this.images, place, "node-of-snapshot", label)
    assert image
    return await place.launch(NodeSpec("node-of-snapshot", label, this.owner, PUBLIC_KEY, image=image))


async def story(path: Path, provider: str) -> None:
    """Made, proved, used; and a script that fails changes nothing."""
    with prefect_test_harness(server_startup_timeout=180):
        this = await Runtime.open(parse_settings(path.read_text(), path))
        set_runtime(this)
        try:
            state = await build_image("prepared", return_state=True)
            assert state.is_completed(), state.message
            [build], [upload] = await this.images.builds(), await this.images.uploads()
            assert upload.state is UploadState.READY
            [log] = (this.settings.image_directory / "logs").glob("*.log")
            assert "preparing as root for a snapshot" in log.read_text()
            assert await this.nodes.nodes() == []
            assert await this.providers[provider].owned(this.owner) == ()
            node = await node_of(this, provider, "prepared")
            assert await log_in(node, "cat ~/prepared") == "a snapshot\nby python"
            await this.providers[provider].destroy(node.id)

            (path.parent / "two.py").write_text("echo it breaks here; exit 7\n")
            state = await build_image("prepared", return_state=True)
            assert state.is_failed()
            assert "two.py failed with exit code 7: it breaks here" in (state.message or "")
            assert [each.state for each in await this.images.uploads() if each.build == build.id] == [UploadState.READY]
            assert await this.nodes.nodes() == [] and await this.providers[provider].owned(this.owner) == ()
            assert len(await this.providers[provider].owned_images(this.owner)) == 1  # type: ignore[attr-defined]  # each is an ImageStore
        finally:
            set_runtime(None)
            await this.close()


@pytest.mark.cloud
@pytest.mark.long
async def test_a_server_becomes_an_image(openstack_cloud: OpenStack, database: str, tmp_path: Path) -> None:
    prepared = {"name": "prepared", "diskimage": "prepared", "flavor-name": "small"}
    provider = entry(openstack_cloud, diskimages=[{"name": "prepared", "connection-port": 2222}])
    provider["labels"].append(prepared)
    await story(configured(tmp_path, database, provider, SCRIPTS), "cloud")


async def test_a_namespace_node_becomes_an_image(database: str, tmp_path: Path) -> None:
    labels = [{"name": "small", "tree": str(machines.tree())}, {"name": "prepared", "image": "prepared"}]
    provider = {"name": "here", "driver": "namespace", "directory": str(tmp_path / "nodes"), "labels": labels}
    await story(configured(tmp_path, database, provider, SCRIPTS), "here")
