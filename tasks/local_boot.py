"""One image on this machine in QEMU, for a person: a throw-away disk over the image, a config-drive, its console on the terminal."""

from __future__ import annotations

import json
import os
import subprocess
import tempfile
import uuid
from pathlib import Path

from headgate.problems import Problem

MAC = "52:54:00:12:34:56"


def config_drive(directory: Path, name: str, public_key: str) -> Path:
    """An ISO image as OpenStack gives to its servers, for one interface that asks by DHCP. Raises `Problem`."""
    latest = directory / "drive/openstack/latest"
    latest.mkdir(parents=True)
    keys = {"headgate": public_key} if public_key else {}
    (latest / "meta_data.json").write_text(json.dumps({"uuid": str(uuid.uuid4()), "name": name, "hostname": name, "public_keys": keys}))
    network = {
        "links": [{"id": "link", "type": "phy", "ethernet_mac_address": MAC}],
        "networks": [{"id": "network", "link": "link", "type": "ipv4_dhcp"}],
        "services": [],
    }
    (latest / "network_data.json").write_text(json.dumps(network))
    iso = directory / "config.iso"
    _run("genisoimage", "-quiet", "-V", "config-2", "-J", "-R", "-o", str(iso), str(directory / "drive"))
    return iso


def accelerated() -> bool:
    """Whether this machine can run a stock guest in hardware: /dev/kvm alone does not say so."""
    flags = Path("/proc/cpuinfo").read_text().split()
    return os.access("/dev/kvm", os.W_OK) and ("vmx" in flags or "svm" in flags)


def boot_here(image: Path, name: str, public_key: str, port: int) -> int:
    """Boot it until it ends; QEMU's exit code. Raises `Problem`."""
    with tempfile.TemporaryDirectory(prefix="headgate-boot-") as place:
        directory = Path(place)
        iso = config_drive(directory, name, public_key)
        disk = directory / "disk.qcow2"
        _run("qemu-img", "create", "-q", "-f", "qcow2", "-b", str(image.resolve()), "-F", "qcow2", str(disk), "20G")
        forward = f",hostfwd=tcp:127.0.0.1:{port}-:22" if port else ""
        accelerator = ("-accel", "kvm", "-cpu", "host") if accelerated() else ("-accel", "tcg,thread=multi", "-cpu", "max")
        command = [
            *("qemu-system-x86_64", "-M", "q35", *accelerator, "-smp", "2", "-m", "1024", "-nodefaults", "-nographic"),
            *("-serial", "mon:stdio", "-device", "virtio-rng-pci"),
            *("-drive", f"file={disk},if=virtio,cache=unsafe", "-drive", f"file={iso},if=virtio,format=raw,readonly=on"),
            *("-netdev", f"user,id=net{forward}", "-device", f"virtio-net-pci,netdev=net,romfile=,mac={MAC}"),
        ]
        try:
            return subprocess.run(command).returncode
        except FileNotFoundError:
            raise Problem("qemu-system-x86_64 is not installed: it is needed to boot an image here.") from None


def _run(*command: str) -> None:
    try:
        done = subprocess.run(command, capture_output=True, text=True)
    except FileNotFoundError:
        raise Problem(f"{command[0]} is not installed: it is needed to boot an image here.") from None
    if done.returncode:
        raise Problem(f"{command[0]} failed: {(done.stderr.strip().splitlines() or ['it said nothing'])[-1]}")
