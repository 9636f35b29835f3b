"""What a bad day does to an image that is in use: nothing. By the real flow, with real nodes in namespaces; only the builder is a stand-in,
which delivers a system made beforehand."""

from __future__ import annotations

import contextlib
import os
import subprocess
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import asyncssh
import pytest
from prefect import flow
from prefect.client.orchestration import get_client
from prefect.client.schemas.objects import State
from prefect.testing.utilities import prefect_test_harness

from flows.build_image import build_image
from flows.provision_nodes import launch_node
from headgate.images import BuildState, UploadState, current
from headgate.settings import parse_settings
from providers.base import LaunchFailed, Node
from tasks.image_boots import image_for
from tasks.runtime import Runtime, set_runtime
from tests.services import machines
from tests.services.sshd import free_port
from tests.services.until import until

pytestmark = [
    pytest.mark.slow,
    pytest.mark.image,
    pytest.mark.timeout(600),
    pytest.mark.skipif(os.geteuid() != 0, reason="nodes in namespaces are made by root"),
]
LABEL, IMAGE = "debian-12", "debian"
CONFIG = """
state-dir: state
tenants: main.yaml
database: "{database}"
prefect: {{port: {port}}}
connections: [{{name: code, driver: git, path: code}}]
providers:
  - {{name: here, driver: namespace, directory: nodes, boot-timeout: 5, labels: [{{name: debian-12, image: debian}}]}}
diskimages:
  - {{name: debian, elements: [none], formats: [tar], dib-cmd: {builder}, smoke-playbook: smoke.yaml}}
"""
BUILDER = """#!/bin/bash
set -eu
while [ $# -gt 0 ]; do [ "$1" = -o ] && target=$2; shift; done
echo "dib-run-parts Running /x/install.d/10-copy"
tar -C {tree} -cf "$target.tar" --exclude=./boot --exclude=./usr/lib/modules --exclude=./usr/lib/x86_64-linux-gnu/perl-base \\
    --exclude=./usr/share/locale .
[ ! -e {place}/usr ] || tar -C {place} -rf "$target.tar" ./usr
"""
SILENT = "#!/bin/sh\nexec sleep 1000\n"
"""An SSH server that says nothing."""
Harness = tuple[Runtime, Path]


@pytest.fixture(scope="module")
def prefect() -> Iterator[None]:
    with prefect_test_harness(server_startup_timeout=180):
        yield


@pytest.fixture
async def harness(prefect: None, database: str, tmp_path: Path) -> AsyncIterator[Harness]:
    (tmp_path / "main.yaml").write_text("[]\n")
    (tmp_path / "code").mkdir()
    (tmp_path / "smoke.yaml").write_text("- {hosts: all, gather_facts: false, tasks: [{ansible.builtin.command: sudo -n id}]}\n")
    builder = tmp_path / "builder"
    builder.write_text(BUILDER.format(tree=machines.tree(), place=tmp_path))
    builder.chmod(0o755)
    config = tmp_path / "headgate.yaml"
    config.write_text(CONFIG.format(database=database, port=free_port(), builder=builder))
    this = await Runtime.open(parse_settings(config.read_text(), config))
    set_runtime(this)
    try:
        yield this, tmp_path
    finally:
        for node in await this.providers["here"].owned(this.owner):
            await this.providers["here"].destroy(node)
        set_runtime(None)
        await this.close()


async def built() -> State[Any]:
    return await build_image(IMAGE, return_state=True)


async def in_use(this: Runtime) -> str:
    """The build that nodes start from, "" for none."""
    found = current(await this.images.uploads(), IMAGE, "here")
    return found.build if found is not None else ""


async def launched(node: str) -> Node:
    """A node of the label, started as for a job."""
    key = asyncssh.generate_private_key("ssh-ed25519").export_public_key().decode().strip()

    @flow(name="launch one node")
    async def launching() -> Node:
        return await launch_node(node, LABEL, "here", "", "", key)

    return await launching()


async def events(name: str) -> list[dict[str, Any]]:
    """Prefect's events of this name, the newest first."""
    async with get_client() as client:
        answer = await client._client.post("/events/filter", json={"filter": {"event": {"name": [name]}}})
    return list(answer.json()["events"])


async def test_a_system_that_never_answers_is_never_used(harness: Harness) -> None:
    this, place = harness
    (place / "usr/sbin").mkdir(parents=True)
    (place / "usr/sbin/sshd").write_text(SILENT)
    (place / "usr/sbin/sshd").chmod(0o755)
    state = await built()
    assert state.is_failed()
    assert "debian at here: its node did not come up" in (state.message or "") and "What was proved before is still used" in (
        state.message or ""
    )
    [upload] = await this.images.uploads()
    assert upload.state is UploadState.REFUSED and await in_use(this) == ""
    with pytest.raises(LaunchFailed, match="the image debian of label debian-12 has not been proved"):
        await image_for(this.images, this.providers["here"], "n", LABEL)
    assert await this.providers["here"].owned(this.owner) == () and await this.nodes.nodes() == []


async def test_a_smoke_playbook_that_fails_keeps_the_build_before_in_use(harness: Harness) -> None:
    this, place = harness
    assert (await built()).is_completed()
    first = await in_use(this)
    (place / "smoke.yaml").write_text("- {hosts: all, gather_facts: false, tasks: [{ansible.builtin.command: sudo -n false}]}\n")
    state = await built()
    assert state.is_failed() and "smoke.yaml failed: fatal: [node]: FAILED!" in (state.message or "")
    assert await in_use(this) == first
    states = [build.state for build in await this.images.builds()]
    assert states == [BuildState.READY, BuildState.READY], "the refused one is kept, to be looked at"


async def test_an_image_whose_nodes_begin_to_fail_gives_way_to_the_one_before(harness: Harness) -> None:
    this, _ = harness
    assert (await built()).is_completed()
    first = await in_use(this)
    assert (await built()).is_completed()
    second = current(await this.images.uploads(), IMAGE, "here")
    assert second is not None and second.build != first
    await launched("good")
    (Path(second.external_id) / "usr/sbin/sshd").write_text(SILENT)  # from now on its nodes do not answer
    for number in range(3):
        with pytest.raises(LaunchFailed):
            await launched(f"bad-{number}")
    assert await in_use(this) == first
    withdrawn = await this.images.upload(second.id)
    assert withdrawn is not None and withdrawn.state is UploadState.WITHDRAWN
    assert "3 nodes in a row did not come up; the last: node bad-2" in withdrawn.message
    told = await until(lambda: events("headgate.image.withdrawn"), "Prefect has been told")
    assert told[0]["payload"]["upload"] == second.id and told[0]["payload"]["message"] == withdrawn.message
    await launched("next")
    for name in ("good", "next"):
        await this.providers["here"].destroy(name)


async def test_old_builds_go_once_no_node_runs_on_them(harness: Harness) -> None:
    this, place = harness
    for _ in range(3):
        assert (await built()).is_completed()
    oldest, *newest = await this.images.builds()
    assert [build.state for build in (oldest, *newest)] == [BuildState.DELETED, BuildState.READY, BuildState.READY]
    trees = {Path(upload.external_id) for upload in await this.images.uploads()}
    assert {upload.build for upload in await this.images.uploads()} == {build.id for build in newest}
    assert all(tree.is_dir() for tree in trees) and len(list((place / "nodes/images").glob("*/"))) == 2
    files = sorted(path.name for path in (place / "state/images/builds").iterdir() if path.suffix == ".tar")
    assert files == sorted(f"debian-{build.id[:12]}.tar" for build in newest)


async def test_a_disk_without_room_stops_a_build_before_it_begins(harness: Harness) -> None:
    this, place = harness
    directory = place / "state/images"
    directory.mkdir(parents=True)
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=64m", "none", str(directory)], check=True)
    try:
        state = await built()
        assert state.is_failed() and "MiB free, a build needs 5722: make room there, nothing was begun" in (state.message or "")
        assert [build.state for build in await this.images.builds()] == [BuildState.FAILED]
        assert not (directory / "cache").exists()
    finally:
        with contextlib.suppress(subprocess.CalledProcessError):
            subprocess.run(["umount", str(directory)], check=True)
