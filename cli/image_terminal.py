"""What `headgate images` does on the terminal itself, without a run: build with a shell where an element fails, and boot."""

from __future__ import annotations

import subprocess
import sys
import tempfile
from pathlib import Path

import typer

from cli.images import known
from headgate.diskimages import Places, disk_image_create, parse_diskimages
from headgate.problems import Problem
from headgate.settings import Settings
from tasks.diskimage import ELEMENTS, build_environment, clear
from tasks.local_boot import boot_here

BUILD_ID = "[0-9a-f]" * 12


def build_here(settings: Settings, image: str, tmp_dir: Path | None, password: str) -> None:
    """Run diskimage-builder on this terminal. Raises `Problem`."""
    images = parse_diskimages(settings.diskimages)
    known(images, image)
    if images[image].snapshot_of:
        raise Problem(f"{image} is a snapshot of {images[image].snapshot_of}: its scripts run on a node of that label, not here.")
    if not (sys.stdin.isatty() and sys.stdout.isatty()):
        raise Problem("--debug opens a shell where an element fails, which takes a terminal; without one leave it out.")
    root = settings.image_directory / "debug"
    root.mkdir(parents=True, exist_ok=True)
    temporary = Path(tempfile.mkdtemp(prefix=f"{image}-", dir=tmp_dir or root))
    elements = [str(settings.directory / path) for path in settings.images.elements] + [str(ELEMENTS)]
    cache = settings.image_directory / "cache"
    places = Places(str(root / image), str(temporary), str(cache), elements)
    chosen = images[image].model_copy(update={"elements": (*images[image].elements, *(("devuser",) if password else ()))})
    # diskimage-builder's own output goes through a filter; the shell has the terminal itself
    extra = {"break": "after-error", "break_cmd": "bash -i </dev/tty >/dev/tty 2>&1", "DIB_DEV_USER_PWDLESS_SUDO": "1"}
    command = disk_image_create(chosen, ("qcow2",), places, extra | ({"DIB_NO_TMPFS": "1"} if tmp_dir else {}), debug=True)
    environment = build_environment(command) | ({"DIB_DEV_USER_PASSWORD": password} if password else {})
    typer.echo(f"Building {image} in {temporary}. A shell opens where an element fails; leave it to end the build.")
    (cache / "locks").mkdir(parents=True, exist_ok=True)
    try:
        code = subprocess.run(command.arguments, env=environment, cwd=temporary).returncode
    finally:
        clear(temporary)
    if code:
        raise Problem(f"The build of {image} ended with exit code {code}.")
    typer.echo(f"{root / image}.raw")


def boot_newest(settings: Settings, image: str, file: Path | None, key: Path | None, port: int) -> int:
    """Boot a file, or what the newest build made; QEMU's exit code. Raises `Problem`."""
    if file is None:
        known(parse_diskimages(settings.diskimages), image)
        builds = settings.image_directory / "builds"
        file = max(builds.glob(f"{image}-{BUILD_ID}.qcow2"), key=lambda path: path.stat().st_mtime, default=None)
        if file is None:
            raise Problem(f"There is no qcow2 of {image} in {builds}: build one, or name a file with --file.")
    return boot_here(file, image, key.read_text().strip() if key else "", port)
