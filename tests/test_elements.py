"""Programs that elements put into images, run as a machine's boot runs them, on files that look like that machine's."""

from __future__ import annotations

import getpass
import json
import os
import pwd
import subprocess
from pathlib import Path
from typing import Any

import pytest

from providers.base import NodeSpec
from providers.openstack_server import server_request
from providers.openstack_settings import OpenStackSettings
from tasks.diskimage import ELEMENTS

KEYS = ELEMENTS / "ci-network/static/usr/local/lib/headgate/keys.py"
ONE, TWO = "ssh-ed25519 AAAAone first", "ssh-ed25519 AAAAtwo second"


@pytest.fixture
def machine(tmp_path: Path) -> Path:
    """The image's user is whoever runs this."""
    (tmp_path / "etc").mkdir()
    (tmp_path / "etc/ci-image-user").write_text(f"{getpass.getuser()}\n")
    (tmp_path / "mnt/config/openstack/latest").mkdir(parents=True)
    authorized(tmp_path).parent.parent.mkdir(parents=True)
    return tmp_path


def authorized(machine: Path) -> Path:
    return machine / pwd.getpwuid(os.getuid()).pw_dir.lstrip("/") / ".ssh/authorized_keys"


def boot(machine: Path, meta_data: dict[str, Any]) -> list[str]:
    """Who may log in after it."""
    (machine / "mnt/config/openstack/latest/meta_data.json").write_text(json.dumps(meta_data))
    subprocess.run(["/usr/bin/python3", "-I", "-S", str(KEYS), str(machine)], check=True)
    return authorized(machine).read_text().splitlines()


def test_keys_of_the_config_drive_let_in_the_images_user(machine: Path) -> None:
    found = boot(machine, {"public_keys": {"a keypair": f"{ONE}\n"}, "meta": {"headgate_key": TWO}})
    assert found == [ONE, TWO]
    assert authorized(machine).stat().st_mode & 0o777 == 0o600
    assert authorized(machine).parent.stat().st_mode & 0o777 == 0o700


def test_keys_that_the_image_has_stay_and_a_second_boot_adds_nothing(machine: Path) -> None:
    authorized(machine).parent.mkdir()
    authorized(machine).write_text("ssh-rsa AAAAown")  # without the end of its line
    expected = ["ssh-rsa AAAAown", ONE]
    assert boot(machine, {"public_keys": {"x": ONE}}) == expected
    assert boot(machine, {"public_keys": {"x": ONE}, "meta": {}}) == expected


def test_a_config_drive_without_keys_lets_nobody_in(machine: Path) -> None:
    assert boot(machine, {"uuid": "x", "public_keys": None}) == []


def test_a_link_in_place_of_the_keys_is_not_followed(machine: Path) -> None:
    authorized(machine).parent.mkdir()
    (machine / "other").write_text("")
    authorized(machine).symlink_to(machine / "other")
    with pytest.raises(subprocess.CalledProcessError):
        boot(machine, {"public_keys": {"x": ONE}})
    assert (machine / "other").read_text() == ""


@pytest.mark.parametrize(("more", "told"), [({}, ONE), ({"private-key": "~/.ssh/pool"}, None)])
def test_a_server_is_told_whom_to_let_in_unless_headgate_logs_in_itself(more: dict[str, str], told: str | None) -> None:
    label = {"name": "small", "cloud-image": "debian-12", "flavor-name": "small"}
    entry = {"name": "cloud", "driver": "openstack", "cloud": "x", "labels": [label], "cloud-images": [{"name": "debian-12"}]}
    settings = OpenStackSettings.model_validate(entry | more)
    request = server_request(settings, settings.labels[0], NodeSpec("n", "small", "owner", ONE), "image", "flavor", [], "")
    assert request["metadata"].get("headgate_key") == told
