"""One image on this machine in QEMU, for a person: a throw-away disk over the image, a config-drive, its console on the terminal."""

from __future__ import annotations

import asyncio
import subprocess
import tempfile
from pathlib import Path

from headgate.problems import Problem
from providers.base import LaunchFailed
from providers.qemu_machine import OUTSIDE_MAC, choose, config_drive, meta_data, network_data, processor_arguments, program


def boot_here(image: Path, name: str, public_key: str, port: int) -> int:
    """Boot it until it ends; QEMU's exit code. Raises `Problem`."""
    with tempfile.TemporaryDirectory(prefix="headgate-boot-") as place:
        directory = Path(place)
        iso = directory / "config.iso"
        try:
            asyncio.run(config_drive(iso, meta_data(name, public_key), network_data()))
        except LaunchFailed as problem:
            raise Problem(f"{name} cannot be booted here: {problem}.") from None
        disk = directory / "disk.qcow2"
        _run("qemu-img", "create", "-q", "-f", "qcow2", "-b", str(image.resolve()), "-F", "qcow2", str(disk), "20G")
        forward = f",hostfwd=tcp:127.0.0.1:{port}-:22" if port else ""
        command = [
            *(program(), "-M", "q35", *processor_arguments(choose("auto")), "-smp", "2", "-m", "1024", "-nodefaults", "-nographic"),
            *("-serial", "mon:stdio", "-device", "virtio-rng-pci"),
            *("-drive", f"file={disk},if=virtio,cache=unsafe", "-drive", f"file={iso},if=virtio,format=raw,readonly=on"),
            *("-netdev", f"user,id=net{forward}", "-device", f"virtio-net-pci,netdev=net,romfile=,mac={OUTSIDE_MAC}"),
        ]
        try:
            return subprocess.run(command).returncode
        except FileNotFoundError:
            raise Problem(f"{program()} is not installed: it is needed to boot an image here.") from None


def _run(*command: str) -> None:
    try:
        done = subprocess.run(command, capture_output=True, text=True)
    except FileNotFoundError:
        raise Problem(f"{command[0]} is not installed: it is needed to boot an image here.") from None
    if done.returncode:
        raise Problem(f"{command[0]} failed: {(done.stderr.strip().splitlines() or ['it said nothing'])[-1]}")
