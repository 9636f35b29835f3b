"""Images in a real Glance: what arrives is what was sent, and whatever interrupts an upload, the next one brings it about."""

from __future__ import annotations

import asyncio
import hashlib
import json
import os
import subprocess
import threading
from pathlib import Path

import pytest
from openstack.connection import Connection

from providers.base import ImageFile, UploadFailed
from tests.openstack.conftest import Make
from tests.services.openstack.cloud import OpenStack
from tests.services.openstack.proxy import Fault, FaultyProxy
from tests.services.until import until

pytestmark = [pytest.mark.slow, pytest.mark.cloud, pytest.mark.long]
OWNER = "headgate-test"


def image_file(directory: Path, upload: str, format: str = "raw", megabytes: int = 3) -> ImageFile:
    """A disk of random bytes in this format, with its digests."""
    raw = directory / f"{upload}.raw"
    raw.write_bytes(os.urandom(megabytes << 20))
    path = directory / f"{upload}.{format}"
    if format != "raw":
        output = "vpc" if format == "vhd" else format
        subprocess.run(["qemu-img", "convert", "-f", "raw", "-O", output, str(raw), str(path)], check=True)
    digests = {name: hashlib.new(name, path.read_bytes()).hexdigest() for name in ("md5", "sha256")}
    return ImageFile(upload, f"image-{upload}", OWNER, str(path), format, **digests, properties={"hw_disk_bus": "virtio"})


def clouds_with_glance(cloud: OpenStack, glance: str, directory: Path) -> Path:
    """A clouds.yaml whose `ci-alpha` talks to Glance at the URL: its root, where it lists its versions. At /v2 it lists nothing."""
    clouds = json.loads(cloud.clouds_file.read_text())["clouds"]
    clouds["ci-alpha"] |= {"image_endpoint_override": glance}
    written = directory / "clouds.yaml"
    written.write_text(json.dumps({"clouds": clouds}))
    return written


def content(connection: Connection, image: str) -> bytes:
    return bytes(connection.image.download_image(image).content)


@pytest.mark.parametrize("format", ["qcow2", "raw", "vhd"])
async def test_what_glance_has_is_what_was_sent(format: str, make: Make, alpha: Connection, tmp_path: Path) -> None:
    image = image_file(tmp_path, f"same-{format}", format)
    provider = make()
    external = await provider.upload_image(image)
    found = alpha.image.get_image(external)
    assert (found.status, found.disk_format, found.container_format, found.name) == ("active", format, "bare", image.name)
    assert found.checksum == image.md5 and hashlib.sha256(content(alpha, external)).hexdigest() == image.sha256
    said = found.properties
    assert said["owner_specified.openstack.md5"] == image.md5 and said["owner_specified.openstack.sha256"] == image.sha256
    assert found.hw_disk_bus == "virtio" and said["headgate_upload"] == image.id
    assert await provider.upload_image(image) == external, "it is there already"
    await provider.delete_image(external)
    assert await provider.owned_images(OWNER) == {}


async def test_an_import_is_waited_for(make: Make, alpha: Connection, tmp_path: Path) -> None:
    image = image_file(tmp_path, "imported", "qcow2")
    provider = make(**{"image-import": True})
    external = await provider.upload_image(image)
    assert alpha.image.get_image(external).status == "active"
    assert hashlib.sha256(content(alpha, external)).hexdigest() == image.sha256
    await provider.delete_image(external)


async def test_an_upload_that_is_cut_off_is_begun_again(openstack_cloud: OpenStack, make: Make, alpha: Connection, tmp_path: Path) -> None:
    image = image_file(tmp_path, "cut")
    glance = alpha.endpoint_for("image")
    with FaultyProxy(glance) as proxy:
        clouds = clouds_with_glance(openstack_cloud, proxy.url, tmp_path)
        provider = make(**{"clouds-file": str(clouds)})
        for fault in (Fault("PUT", "/file"), Fault("PUT", "/file", forward=True), Fault("PUT", "/file", status=502)):
            proxy.faults.append(fault)
            with pytest.raises(UploadFailed, match="take image image-cut"):
                await provider.upload_image(image)
            assert fault.times == 0
        external = await provider.upload_image(image)
    assert await provider.owned_images(OWNER) == {external: "cut"}
    assert hashlib.sha256(content(alpha, external)).hexdigest() == image.sha256
    await provider.delete_image(external)


async def test_an_upload_that_takes_too_long_is_given_up_and_nothing_of_it_goes_on(
    openstack_cloud: OpenStack, make: Make, alpha: Connection, tmp_path: Path
) -> None:
    image = image_file(tmp_path, "slow")
    stalled = asyncio.Event()
    loop = asyncio.get_running_loop()
    go_on = threading.Event()
    glance = alpha.endpoint_for("image")
    with FaultyProxy(glance) as proxy:

        def wait(number: int) -> None:
            if any(call.startswith("PUT") for call in proxy.calls):
                loop.call_soon_threadsafe(stalled.set)
                go_on.wait(60)

        proxy.before = wait
        clouds = clouds_with_glance(openstack_cloud, proxy.url, tmp_path)
        provider = make(**{"clouds-file": str(clouds), "image-upload-timeout": 3})
        with pytest.raises(UploadFailed, match="cloud: image image-slow took longer than 3 s"):
            await provider.upload_image(image)
        assert stalled.is_set()
        go_on.set()
        proxy.before = lambda number: None
        whole = make(**{"clouds-file": str(clouds)})
        external = await whole.upload_image(image)
        await until(lambda: [each.id for each in alpha.image.images(name=image.name)] == [external], "only one image is left")
    assert alpha.image.get_image(external).status == "active"
    await whole.delete_image(external)


async def test_what_is_damaged_on_its_way_is_refused_and_deleted(make: Make, alpha: Connection, tmp_path: Path) -> None:
    image = image_file(tmp_path, "damaged")
    with Path(image.path).open("r+b") as file:
        file.seek(1 << 20)
        file.write(b"damaged")
    provider = make()
    with pytest.raises(UploadFailed, match="image image-damaged arrived damaged: its MD5 is"):
        await provider.upload_image(image)
    assert await provider.owned_images(OWNER) == {}


async def test_what_glance_does_not_take_is_a_sentence(make: Make, tmp_path: Path) -> None:
    provider = make()
    with pytest.raises(UploadFailed, match="cloud takes no tar, but qcow2, raw, vhd"):
        await provider.upload_image(ImageFile("t", "t", OWNER, str(tmp_path / "t"), "tar"))
    with pytest.raises(UploadFailed, match="No such file"):
        await provider.upload_image(ImageFile("n", "n", OWNER, str(tmp_path / "n"), "raw"))
