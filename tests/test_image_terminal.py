"""`headgate images build --debug` on a terminal: a shell opens inside the image where an element fails, and afterwards nothing is left."""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path

import pexpect
import pytest
import yaml

from tasks.diskimage import loops_below, mounts_below
from tests.services import machines

pytestmark = [
    pytest.mark.slow,
    pytest.mark.image,
    pytest.mark.timeout(600),
    pytest.mark.skipif(os.geteuid() != 0 or not shutil.which("debootstrap"), reason="images are built as root, with debootstrap"),
]
HEADGATE = str(Path(sys.executable).with_name("headgate"))
COPY = "tar -C {tree} -c --exclude=./boot --exclude=./usr/lib/modules . | tar -C $TARGET_ROOT -x"


def script(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f"#!/bin/bash\nset -eu -o pipefail\n{text}\n")
    path.chmod(0o755)


@pytest.fixture
def installed(tmp_path: Path) -> Path:
    """A configuration whose one image is a copy of a system made beforehand, with an element that fails."""
    elements = tmp_path / "elements"
    script(elements / "copied/root.d/10-copy", COPY.format(tree=machines.tree()))
    (elements / "copied/element-provides").write_text("operating-system\n")
    script(elements / "broken/install.d/50-broken", "echo 'it breaks here'; exit 7")
    image = {"name": "debian", "elements": ["copied", "broken"], "dib-cmd": "disk-image-create -n"}
    settings = {
        "state-dir": "state", "tenants": "main.yaml", "connections": [{"name": "code", "driver": "git", "path": "code"}],
        "images": {"elements": ["elements"]}, "diskimages": [image],
    }  # fmt: skip
    (tmp_path / "main.yaml").write_text("[]\n")
    (tmp_path / "headgate.yaml").write_text(yaml.safe_dump(settings))
    return tmp_path


@pytest.fixture
def terminal(installed: Path) -> Iterator[pexpect.spawn]:
    command = ["images", "build", "debian", "--debug", "--config", str(installed / "headgate.yaml"), "--tmp-dir", str(installed)]
    spawned = pexpect.spawn(HEADGATE, command, encoding="utf-8", timeout=300, dimensions=(40, 200))
    yield spawned
    spawned.close(force=True)


def test_a_shell_opens_inside_the_image_where_an_element_fails(installed: Path, terminal: pexpect.spawn) -> None:
    terminal.expect("A shell opens where an element fails; leave it to end the build")
    terminal.expect("it breaks here")
    terminal.expect_exact("# ")
    terminal.sendline("echo in-$(stat -c %i / | wc -w)-$(id -u)-$(test -d /tmp/in_target.d/install.d && echo hooks)-$(tty)")
    terminal.expect(r"in-1-0-hooks-/dev/\S+")
    assert mounts_below(installed) != [], "it is the build's own system"
    terminal.sendline("exit 0")
    terminal.expect("The build of debian ended with exit code [1-9]")
    terminal.expect(pexpect.EOF)
    terminal.wait()
    assert terminal.exitstatus == 1
    assert mounts_below(installed) == [] and loops_below(installed) == [] and list(installed.glob("debian-*")) == []


def test_interrupting_it_leaves_nothing(installed: Path, terminal: pexpect.spawn) -> None:
    script(installed / "elements/broken/install.d/50-broken", "echo 'it waits here'; sleep 300")
    terminal.expect("it waits here")
    assert mounts_below(installed) != []
    terminal.sendintr()
    terminal.expect(pexpect.EOF)
    terminal.wait()
    assert "Traceback" not in terminal.before and terminal.exitstatus == 130
    assert mounts_below(installed) == [] and loops_below(installed) == [] and list(installed.glob("debian-*")) == []
