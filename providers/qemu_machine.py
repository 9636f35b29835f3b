"""A virtual machine as QEMU is told about it: processor, memory, disks, networks, console, and the config-drive that its system reads."""

from __future__ import annotations

import asyncio
import hashlib
import json
import os
import platform
import shutil
import socket
import struct
import subprocess
import sys
import uuid
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, Literal

from providers.base import LaunchFailed

Accelerator = Literal["auto", "kvm", "tcg"]
OUTSIDE_MAC = "52:54:00:12:34:56"
"""Of every machine's first interface, whose network has nobody else in it."""
SAVED_MAC = "52:54:00:48:47:01"
"""Of the second interface while a machine is saved."""
IDENTITY_PORT = "org.headgate.identity"
NETWORK_PROGRAMS = ("passt", "pasta")
_NETWORK = Path(__file__).with_name("qemu_network.py")
ISO_PROGRAMS = ("genisoimage", "mkisofs", "xorrisofs")


@dataclass(frozen=True, slots=True)
class Boot:
    """A kernel given by QEMU, for images without a boot loader; empty, the image's own boots."""

    kernel: str = ""
    initrd: str = ""
    arguments: str = ""


@dataclass(frozen=True, slots=True)
class Machine:
    """What is the same for a saved machine and those that go on from it; another one cannot read what this one saved. `ram` is MiB."""

    accelerator: Literal["kvm", "tcg"]
    cores: int
    ram: int
    boot: Boot = Boot()

    def arguments(self) -> list[str]:
        words = [program(), "-machine", "q35,memory-backend=ram", *processor_arguments(self.accelerator)]
        words += ["-smp", str(self.cores), "-m", str(self.ram), "-nodefaults", "-no-user-config", "-display", "none"]
        words += ["-sandbox", "on,obsolete=deny,spawn=deny,resourcecontrol=deny", "-device", "virtio-rng-pci"]
        words += ["-chardev", "file,id=console,path=console.log,append=on", "-serial", "chardev:console"]
        words += ["-chardev", "socket,id=qmp,server=on,wait=off,fd={qmp}", "-mon", "chardev=qmp,mode=control"]
        words += ["-chardev", "socket,id=identity,server=on,wait=off,fd={identity}", "-device", "virtio-serial-pci"]
        words += ["-device", f"virtserialport,chardev=identity,name={IDENTITY_PORT}"]
        words += ["-drive", "file=disk.qcow2,if=virtio,cache=unsafe,discard=unmap"]
        words += ["-drive", "file=config.iso,if=virtio,format=raw,readonly=on"]
        if self.boot.kernel:
            words += ["-kernel", self.boot.kernel, "-append", self.boot.arguments]
            words += ["-initrd", self.boot.initrd] if self.boot.initrd else []
        return words

    def memory(self, path: str = "", shared: bool = False) -> list[str]:
        """In a file, which with `shared` the guest writes to; or nowhere but in memory."""
        if not path:
            return ["-object", f"memory-backend-ram,id=ram,size={self.ram}M"]
        return ["-object", f"memory-backend-file,id=ram,size={self.ram}M,mem-path={path},share={'on' if shared else 'off'}"]


@dataclass(frozen=True, slots=True)
class Network:
    """What a machine is connected to. `group` (`ADDRESS:PORT`) is where its request's nodes multicast their packets to on the loopback
    interface; `mac` is its own there. `port` of the loopback interface leads to its SSH server.

    With `internet` (and a `port` that is free) it reaches what this machine reaches, but no service on the loopback interface
    (`providers.qemu_network`), where QEMU's own network cannot but let guests in. Without, it reaches nothing, and the kernel chooses the
    port.
    """

    group: str
    mac: str
    internet: bool
    port: int = 0

    def arguments(self) -> list[str]:
        outside = "socket,id=outside,fd={network}" if self.internet else "user,id=outside,hostfwd=tcp:127.0.0.1:0-:22,restrict=on"
        return [
            *("-netdev", outside, "-device", f"virtio-net-pci,netdev=outside,romfile=,mac={OUTSIDE_MAC}"),
            *("-netdev", f"socket,id=request,mcast={self.group},localaddr=127.0.0.1"),
            *("-device", f"virtio-net-pci,netdev=request,romfile=,mac={self.mac}"),
        ]

    def program(self) -> list[str]:
        """What is outside."""
        if not self.internet:
            return []
        programs = (shutil.which(name) or name for name in NETWORK_PROGRAMS)
        return [sys.executable, "-I", "-S", str(_NETWORK), *programs, "{network}", str(self.port)]


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def group(*names: str) -> str:
    """Address and port for those that have these names in common, and no others: 38 bits of a digest."""
    digest = hashlib.sha256("/".join(names).encode()).digest()
    return f"239.{digest[0]}.{digest[1]}.{digest[2]}:{32768 + int.from_bytes(digest[3:5], 'big') % 28000}"


def processor_arguments(accelerator: Literal["kvm", "tcg"]) -> list[str]:
    return ["-accel", "kvm", "-cpu", "host"] if accelerator == "kvm" else ["-accel", "tcg,thread=multi", "-cpu", "max"]


def program() -> str:
    return f"qemu-system-{platform.machine()}"


def check_programs(internet: bool) -> None:
    """Raises `LaunchFailed` naming what is not installed."""
    if platform.machine() != "x86_64":
        raise LaunchFailed(f"driver qemu starts machines of x86_64 only, and this one is {platform.machine()}")
    for needed, package in ((program(), "qemu-system-x86"), ("qemu-img", "qemu-utils")):
        if shutil.which(needed) is None:
            raise LaunchFailed(f"{needed} is not installed, which driver qemu needs (Debian's package {package})")
    for needed in NETWORK_PROGRAMS if internet else ():
        if shutil.which(needed) is None:
            raise LaunchFailed(
                f"{needed} is not installed, which driver qemu needs for nodes on the internet: install Debian's package passt, "
                "or set internet: false"
            )


def accelerated() -> bool:
    """Whether this machine can run a stock guest in hardware. /dev/kvm alone does not say so: a kernel that is itself a paravirtual guest
    may offer it for guests of its own kind only."""
    flags = Path("/proc/cpuinfo").read_text().split()
    return os.access("/dev/kvm", os.R_OK | os.W_OK) and ("vmx" in flags or "svm" in flags)


def choose(accelerator: Accelerator) -> Literal["kvm", "tcg"]:
    """Raises `LaunchFailed` when `kvm` is demanded and cannot be had."""
    if accelerator == "tcg":
        return "tcg"
    if accelerated():
        return "kvm"
    if accelerator == "kvm":
        raise LaunchFailed("accelerator is kvm, but this machine runs no guests in hardware (/dev/kvm, and vmx or svm in /proc/cpuinfo)")
    return "tcg"


@cache
def _version(path: str, _modified: int) -> str:
    return subprocess.run([path, "--version"], capture_output=True, text=True, check=True).stdout.splitlines()[0]


async def version() -> str:
    path = shutil.which(program()) or program()
    return await asyncio.to_thread(_version, path, Path(path).stat().st_mtime_ns)


def processor() -> str:
    """The machine's processor as guests in hardware see it."""
    lines = Path("/proc/cpuinfo").read_text().splitlines()
    return "\n".join(sorted({line for line in lines if line.startswith(("model name", "flags", "microcode"))}))


def image_format(image: Path) -> str:
    """`qcow2` or `raw`. Raises `LaunchFailed`."""
    try:
        with image.open("rb") as file:
            return "qcow2" if file.read(4) == b"QFI\xfb" else "raw"
    except OSError as problem:
        raise LaunchFailed(f"image {image} cannot be read: {problem.strerror}") from problem


async def overlay(disk: Path, image: Path, gigabytes: int = 0) -> int:
    """A new disk over `image`, which is never written to; its size in bytes, at least the image's."""
    await run("qemu-img", "create", "-q", "-f", "qcow2", "-b", str(image), "-F", image_format(image), str(disk))
    size = _size(disk)
    if gigabytes << 30 > size:
        await run("qemu-img", "resize", "-q", str(disk), f"{gigabytes}G")
        size = gigabytes << 30
    return size


def _size(disk: Path) -> int:
    with disk.open("rb") as file:
        header = file.read(32)
    return int(struct.unpack(">Q", header[24:32])[0])


def meta_data(hostname: str, public_key: str = "") -> dict[str, Any]:
    keys = {"headgate": public_key} if public_key else {}
    return {"uuid": str(uuid.uuid4()), "name": hostname, "hostname": hostname, "public_keys": keys}


def network_data(mac: str = "", address: str = "", netmask: str = "") -> dict[str, Any]:
    """The first interface asks by DHCP; the second, if there is one to speak of, has its address."""
    links = [{"id": "outside", "type": "phy", "ethernet_mac_address": OUTSIDE_MAC}]
    found: list[dict[str, Any]] = [{"id": "outside", "link": "outside", "type": "ipv4_dhcp"}]
    if mac:
        links.append({"id": "request", "type": "phy", "ethernet_mac_address": mac})
        found.append({"id": "request", "link": "request", "type": "ipv4", "ip_address": address, "netmask": netmask, "routes": []})
    return {"links": links, "networks": found, "services": []}


async def config_drive(iso: Path, meta: dict[str, Any], network: dict[str, Any]) -> None:
    """An ISO image as OpenStack gives to its servers."""
    maker = next((name for name in ISO_PROGRAMS if shutil.which(name)), None)
    if maker is None:
        raise LaunchFailed(f"none of {', '.join(ISO_PROGRAMS)} is installed, one of which driver qemu needs for config-drives")
    root = iso.with_suffix(".files")
    latest = root / "openstack" / "latest"
    latest.mkdir(parents=True, exist_ok=True)
    (latest / "meta_data.json").write_text(json.dumps(meta))
    (latest / "network_data.json").write_text(json.dumps(network))
    await run(maker, "-quiet", "-V", "config-2", "-J", "-R", "-o", str(iso), str(root))
    shutil.rmtree(root)


async def run(*command: str) -> None:
    """Raises `LaunchFailed` with what it said last."""
    process = await asyncio.create_subprocess_exec(
        *command, stdin=asyncio.subprocess.DEVNULL, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT
    )
    try:
        said, _ = await process.communicate()
    except asyncio.CancelledError:
        process.kill()
        raise
    if process.returncode:
        raise LaunchFailed(f"{command[0]} failed: {(said.decode(errors='replace').strip().splitlines() or ['it said nothing'])[-1]}")


def largest_file(disk_bytes: int, machine: Machine) -> int:
    """What the process may write into one file: its disk with qcow2's own tables, its memory; a console cannot fill more than that."""
    return max(disk_bytes + (disk_bytes >> 4), machine.ram << 20) + (256 << 20)
