"""The whole way of an image, for real: diskimage-builder makes a Debian, four providers prove it, a job runs on it; then bad days come."""

from __future__ import annotations

import asyncio
import hashlib
import os
import shutil
import signal
import subprocess
import tempfile
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import asyncssh
import pexpect
import pytest
from openstack.connection import Connection
from playwright.async_api import expect

from tests.services.chromium import chromium
from tests.services.image_builder import IMAGE, ImageBuilder
from tests.services.installation import HEADGATE
from tests.services.openstack.cloud import OpenStack
from tests.services.sshd import free_port
from tests.services.until import until

pytestmark = [
    pytest.mark.slow,
    pytest.mark.cloud,
    pytest.mark.image,
    pytest.mark.timeout(900),
    pytest.mark.skipif(os.geteuid() != 0 or not shutil.which("debootstrap"), reason="images are built as root, with debootstrap"),
]


def providers(cloud: OpenStack) -> list[dict[str, Any]]:
    label = {"name": "debian-cloud", "diskimage": IMAGE, "flavor-name": "small"}
    glance = {
        "driver": "openstack",
        "clouds-file": str(cloud.clouds_file),
        "networks": ["inside"],
        "labels": [label],
        "list-interval": 0.5,
        "diskimages": [{"name": IMAGE, "connection-port": 2222}],
    }
    vm = {"name": "debian-vm", "image": IMAGE, "cores": 2, "ram": 1024}
    return [
        {"name": "spaces", "driver": "namespace", "labels": [{"name": "debian-12", "image": IMAGE}]},
        {"name": "alpha", "cloud": "ci-alpha", **glance},
        {"name": "beta", "cloud": "ci-beta", **glance},
        {"name": "machines", "driver": "qemu", "labels": [vm], "boot-timeout": 600, "launch-timeout": 900},
    ]


@pytest.fixture(scope="module")
def images(openstack_cloud: OpenStack) -> Iterator[ImageBuilder]:
    # not below pytest's own directory: as root PostgreSQL is another user, and every start of pytest closes that to others
    directory = Path(tempfile.mkdtemp(prefix="headgate-images-"))
    builder = ImageBuilder(directory / "ci", providers(openstack_cloud), "debian-12")
    builder.land_bindep()
    builder.start()
    yield builder
    builder.clean()
    shutil.rmtree(directory, ignore_errors=True)


@pytest.fixture
async def page() -> AsyncIterator[Any]:
    async with chromium() as browser:
        yield await browser.new_page(viewport={"width": 1400, "height": 900})


async def test_an_image_is_built_before_the_eyes_of_people_and_proved_everywhere(
    images: ImageBuilder, page: Any, alpha: Connection, beta: Connection, tmp_path: Path
) -> None:
    run = images.build()
    await images.begun(run, "Running")
    await page.goto(f"{images.web}/image/{IMAGE}")
    await expect(page.locator("#progress")).to_contain_text("live")
    await expect(page.locator("#console")).to_contain_text("install.d/")
    await page.screenshot(path=tmp_path / "log.png")
    state = await images.over(run, 900)
    assert state["type"] == "COMPLETED", state["message"]
    await expect(page.locator("#result")).to_contain_text("ready")

    build = await images.newest()
    facts = build["files"]
    assert set(facts) == {"qcow2", "tar"}
    for format, fact in facts.items():
        path = images.images / "builds" / f"{IMAGE}-{build['id'][:12]}.{format}"
        check = subprocess.run(["sha256sum", "--check", f"{path.name}.sha256"], cwd=path.parent, capture_output=True, text=True)
        assert check.returncode == 0, check.stdout
        assert (path.parent / f"{path.name}.sha256").read_text().split()[0] == fact["sha256"]
    assert await images.uploads(build["id"]) == {
        "spaces": ("ready", "4 checks passed, smoke.yaml played"),
        "machines": ("ready", "4 checks passed, smoke.yaml played"),
        **dict.fromkeys(("alpha", "beta"), ("ready", "0 checks passed, smoke.yaml played")),  # its guests have the files of this machine
    }
    for region in (alpha, beta):
        [found] = region.image.images(name=f"{IMAGE}-{build['id'][:12]}")
        content = hashlib.sha256(region.image.download_image(found).content).hexdigest()
        assert content == facts["qcow2"]["sha256"] == found.properties["owner_specified.openstack.sha256"]
        assert found.checksum == facts["qcow2"]["md5"] and found.os_distro == "debian"

    shown = images.artifacts(run)
    assert shown["image-debian-progress"]["data"] == 100.0
    assert "The first build" in shown["image-debian-changes"]["data"]
    assert "openssh-server" in next((images.images / "logs").glob("*.json")).read_text()


async def test_a_job_runs_on_a_node_of_the_image(images: ImageBuilder) -> None:
    images.change(1)
    result, console = await images.result()
    assert result == "SUCCESS", console
    assert "bindep" in console and "Look at the machine" in console


async def test_a_build_with_a_failing_element_changes_nothing(images: ImageBuilder) -> None:
    before = await images.newest()
    images.element("echo 'it breaks here'; exit 7")
    try:
        state = await images.over(images.build())
    finally:
        images.element("true")
    assert state["type"] == "FAILED"
    assert "pre-install.d/99-mine failed with exit code 7: it breaks here" in state["message"]
    assert images.left() == []
    assert {name: state for name, (state, _) in (await images.uploads(before["id"])).items()} == dict.fromkeys(
        ("spaces", "alpha", "beta", "machines"), "ready"
    )
    listed = images.headgate("images")
    assert "failed" in listed and listed.count("in use") == 4


@pytest.mark.long
async def test_a_person_boots_the_image_and_logs_in_by_the_key_of_its_config_drive(images: ImageBuilder, tmp_path: Path) -> None:
    key, port = asyncssh.generate_private_key("ssh-ed25519"), free_port()
    (tmp_path / "key.pub").write_bytes(key.export_public_key())
    command = ["images", "boot", IMAGE, "--key", str(tmp_path / "key.pub"), "--port", str(port), "--config", str(images.config)]
    terminal = pexpect.spawn(HEADGATE, command, encoding="utf-8", timeout=600)
    try:
        await asyncio.to_thread(terminal.expect, f"{IMAGE} login:")
        for user in ("zuul", "root"):
            async with asyncssh.connect("127.0.0.1", port, username=user, client_keys=[key], known_hosts=None) as connection:
                done = await connection.run("id -un && hostname && sudo -n id -u", check=True)
                assert str(done.stdout).split() == [user, IMAGE, "0"]
        terminal.send("\x01x")
        await asyncio.to_thread(terminal.expect, pexpect.EOF)
    finally:
        terminal.close(force=True)


@pytest.mark.long
async def test_a_cancelled_build_leaves_nothing(images: ImageBuilder) -> None:
    run = images.build()
    await images.begun(run, "Running hooks from")
    images.cancel(run)
    assert (await images.over(run))["type"] == "CANCELLED"
    await until(lambda: images.left() == [], "nothing of the build is left")
    assert (await images.newest())["message"] == "cancelled"


@pytest.mark.long
async def test_the_build_of_a_killed_worker_begins_again_and_sweeps_what_was_left(images: ImageBuilder) -> None:
    run = images.build()
    log = await images.begun(run, "Running hooks from")
    [worker] = await images.workers()
    os.kill(worker, signal.SIGKILL)

    async def another() -> bool:
        rows = await images.ask("select id from image_builds where flow_run = $1 and state = 'building'", run["id"])
        return bool(rows) and rows[0]["id"][:12] not in log.name

    await until(another, "the run has begun another build", 300)
    await images.begun(run, "Running hooks from")
    assert len([path for path in (images.images / "tmp").iterdir() if path.is_dir()]) == 1, "what the first left is gone"
    images.cancel(run)
    assert (await images.over(run))["type"] == "CANCELLED"
    await until(lambda: images.left() == [], "nothing of either build is left")
