"""The whole way of an image, for real: built by diskimage-builder, unpacked for namespace nodes, proved on one, used, kept when the
next build fails. Needs root, loop devices and a Debian mirror."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import os
import shutil
import subprocess
from collections.abc import AsyncIterator
from pathlib import Path

import asyncssh
import pytest

from headgate.images import BuildState, UploadState
from headgate.settings import parse_settings
from providers.base import NodeSpec
from providers.ssh import logged_in
from tasks.diskimage import loops_below, mounts_below
from tasks.image_boots import image_for
from tasks.image_files import BuildFiles
from tasks.runtime import Runtime, set_runtime
from tests.services.sshd import free_port

pytestmark = [
    pytest.mark.slow,
    pytest.mark.image,
    pytest.mark.timeout(900),
    pytest.mark.skipif(os.geteuid() != 0 or not shutil.which("debootstrap"), reason="images are built as root, with debootstrap"),
]

CONFIG = """
state-dir: state
tenants: main.yaml
database: "{database}"
prefect: {{port: {port}}}
connections: [{{name: code, driver: git, path: code}}]
providers:
  - {{name: here, driver: namespace, directory: {nodes}, labels: [{{name: debian-12, image: debian}}]}}
images: {{elements: [elements]}}
diskimages:
  - name: debian
    elements: [ci-debian, vm, block-device-mbr, growroot, ci-node, ci-network, ci-mirror-ca, ci-repositories, {extra}]
    release: bookworm
    formats: [qcow2, tar]
    smoke-playbook: smoke.yaml
    env-vars: {{DIB_JOURNAL_SIZE: "16"}}
"""
SMOKE = "- {hosts: all, gather_facts: false, tasks: [{ansible.builtin.command: sudo -n id}]}\n"


def write(directory: Path, database: str, port: int, extra: str) -> None:
    (directory / "elements/mine/install.d").mkdir(parents=True, exist_ok=True)
    script = directory / "elements/mine/install.d/90-mine"
    script.write_text("#!/bin/bash\necho 'it breaks here'\nexit 7\n")
    script.chmod(0o755)
    if (cache := os.environ.get("HEADGATE_TEST_IMAGE_CACHE")) and not (directory / "state/images/cache").exists():
        (directory / "state/images").mkdir(parents=True)
        (directory / "state/images/cache").symlink_to(cache)  # packages that an earlier run has fetched
    (directory / "smoke.yaml").write_text(SMOKE)
    (directory / "main.yaml").write_text("[]\n")
    (directory / "code").mkdir(exist_ok=True)
    text = CONFIG.format(database=database, port=port, extra=extra, nodes=directory / "nodes")
    (directory / "headgate.yaml").write_text(text)


@contextlib.asynccontextmanager
async def running(directory: Path) -> AsyncIterator[Runtime]:
    path = directory / "headgate.yaml"
    this = await Runtime.open(parse_settings(path.read_text(), path))
    set_runtime(this)
    try:
        yield this
    finally:
        set_runtime(None)
        await this.close()


async def test_an_image_is_built_proved_and_used_and_a_bad_day_changes_nothing(database: str, tmp_path: Path) -> None:
    from prefect.testing.utilities import prefect_test_harness

    from flows.build_image import build_image

    write(tmp_path, database, free_port(), "growroot")
    with prefect_test_harness(server_startup_timeout=180):
        async with running(tmp_path) as this:
            state = await build_image("debian", return_state=True)
            assert state.is_completed(), state.message
            [build] = await this.images.builds()
            [upload] = await this.images.uploads()
            assert (build.state, upload.state) == (BuildState.READY, UploadState.READY)
            files = BuildFiles(this.settings.image_directory, "debian", build.id)
            facts = await this.images.files(build.id)
            assert set(facts) == {"qcow2", "tar"}
            for format, fact in facts.items():
                with files.path(format).open("rb") as file:
                    assert hashlib.file_digest(file, "sha256").hexdigest() == fact.sha256
            manifest = files.manifest()
            assert manifest is not None and {"openssh-server", "sudo", "git"} <= manifest.packages.keys()
            assert "Build completed successfully" in files.log.read_text()
            check = subprocess.run(["qemu-img", "check", str(files.path("qcow2"))], capture_output=True, text=True)
            assert check.returncode == 0, check.stderr
            assert await this.images.users() == {} and await this.nodes.nodes() == []
            await log_in(this)

        write(tmp_path, database, free_port(), "mine")
        async with running(tmp_path) as this:
            state = await build_image("debian", return_state=True)
            assert state.is_failed()
            assert "install.d/90-mine failed with exit code 7: it breaks here" in (state.message or "")
            assert [each.state for each in await this.images.builds()] == [BuildState.READY, BuildState.FAILED]
            await log_in(this)
            root = this.settings.image_directory
            assert mounts_below(root) == [] and loops_below(root) == [] and list((root / "tmp").iterdir()) == []


async def log_in(this: Runtime) -> None:
    """A node of the label starts from the image and lets its key in."""
    provider = this.providers["here"]
    key = asyncssh.generate_private_key("ssh-ed25519")
    image = await image_for(this.images, provider, "node-1", "debian-12")
    public = key.export_public_key().decode().strip()
    node = await provider.launch(NodeSpec("node-1", "debian-12", this.owner, public, image=image))
    try:
        async with logged_in(node.host, node.port, node.username, key, node.host_keys) as connection:
            done = await connection.run("cat /etc/debian_version && sudo -n id -u && bindep --version")
            assert done.exit_status == 0, done.stderr
    finally:
        await provider.destroy("node-1")


async def test_a_cancelled_build_leaves_nothing(database: str, tmp_path: Path) -> None:
    from prefect.testing.utilities import prefect_test_harness

    from flows.build_image import build_image

    write(tmp_path, database, free_port(), "growroot")
    with prefect_test_harness(server_startup_timeout=180):
        async with running(tmp_path) as this:
            root = this.settings.image_directory
            building = asyncio.create_task(build_image("debian", return_state=True))
            log = root / "logs"
            while not any("Running hooks from" in path.read_text() for path in log.glob("*.log")):
                await asyncio.sleep(0.2)
            building.cancel()
            await asyncio.gather(building, return_exceptions=True)
            assert mounts_below(root) == [] and loops_below(root) == [] and list((root / "tmp").iterdir()) == []
            assert [build.state for build in await this.images.builds()] == [BuildState.FAILED]
