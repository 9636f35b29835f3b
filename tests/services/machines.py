"""A small Debian for nodes of tests: a tree of files, and a disk with the same. Made once by mmdebstrap and kept in the user's cache.

It has Python, git, sudo, sshd, systemd, a kernel, a user `zuul`, and a few lines that read a config-drive's host name, keys and networks.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import shutil
import subprocess
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from providers import registry
from providers.base import Node, NodeSpec
from providers.local import remove_tree
from tests.services.sshd import make_key

SUITE = "bookworm"
PACKAGES = (
    *("systemd-sysv", "udev", "dbus", "openssh-server", "sudo", "git", "python3", "iproute2", "netbase", "ca-certificates"),
    *("rsync", "traceroute"),  # the public roles want them on every node
    *("linux-image-cloud-amd64", "initramfs-tools", "busybox", "zstd", "e2fsprogs", "ifupdown", "isc-dhcp-client"),
)
FILES = {
    "/etc/fstab": "LABEL=root / ext4 defaults,noatime 0 1\n",
    "/etc/hostname": "image\n",
    "/etc/sudoers.d/zuul": "zuul ALL=(ALL) NOPASSWD:ALL\n",
    "/etc/systemd/system/config-drive.service": (
        "[Unit]\nBefore=ssh.service systemd-networkd.service\nConditionPathExists=/dev/disk/by-label/config-2\n"
        "[Service]\nType=oneshot\nExecStart=/usr/local/sbin/config-drive\n[Install]\nWantedBy=multi-user.target\n"
    ),
    "/usr/local/sbin/config-drive": """#!/usr/bin/python3
import ipaddress, json, pathlib, socket, subprocess
mount = pathlib.Path("/run/config-drive")
mount.mkdir(exist_ok=True)
pathlib.Path("/run/systemd/network").mkdir(parents=True, exist_ok=True)
subprocess.run(["mount", "-o", "ro", "/dev/disk/by-label/config-2", mount], check=True)
facts = json.loads((mount / "openstack/latest/meta_data.json").read_text())
socket.sethostname(facts["hostname"])
pathlib.Path("/etc/hostname").write_text(facts["hostname"] + "\\n")
links = json.loads((mount / "openstack/latest/network_data.json").read_text())
for network in links["networks"]:
    [mac] = [link["ethernet_mac_address"] for link in links["links"] if link["id"] == network["link"]]
    how = "DHCP=ipv4"
    if network["type"] == "ipv4":
        how = f"Address={ipaddress.ip_interface(network['ip_address'] + '/' + network['netmask'])}"
    text = f"[Match]\\nMACAddress={mac}\\n[Network]\\n{how}\\n[DHCPv4]\\nClientIdentifier=mac\\n"
    pathlib.Path(f"/run/systemd/network/10-{network['id']}.network").write_text(text)
keys = pathlib.Path("/home/zuul/.ssh/authorized_keys")
keys.parent.mkdir(mode=0o700, exist_ok=True)
keys.write_text("\\n".join(facts["public_keys"].values()) + "\\n")
subprocess.run(["chown", "-R", "zuul:zuul", keys.parent], check=True)
if "mask=headgate-identity" in pathlib.Path("/proc/cmdline").read_text():
    subprocess.run(["ssh-keygen", "-q", "-A"], check=True)  # an image without that program makes its own keys
""",
}
IDENTITY = Path(__file__).parents[2] / "elements" / "ci-identity" / "static"
FILES |= {f"/{path.relative_to(IDENTITY)}": path.read_text() for path in sorted(IDENTITY.rglob("*")) if path.is_file()}
SETUP = """set -e
useradd --create-home --shell /bin/bash zuul
usermod --password '*' zuul
chmod 755 /usr/local/sbin/config-drive
chmod 440 /etc/sudoers.d/zuul
update-ca-certificates >/dev/null 2>&1
systemctl enable systemd-networkd config-drive ssh >/dev/null 2>&1
systemctl mask apt-daily.timer apt-daily-upgrade.timer e2scrub_all.timer fstrim.timer systemd-timesyncd >/dev/null 2>&1
rm -f /etc/ssh/ssh_host_* /etc/machine-id
touch /etc/machine-id
"""
AUTHORITIES = {
    f"/usr/local/share/ca-certificates/{file.name}": file.read_text() for file in Path("/usr/local/share/ca-certificates").glob("*.crt")
}
"""Whom the administrator of this machine trusts beside the usual: what answers here for PyPI may have a certificate of theirs."""
RECIPE = hashlib.sha256(repr((SUITE, PACKAGES, sorted(FILES.items()), sorted(AUTHORITIES.items()), SETUP)).encode()).hexdigest()[:12]
CACHE = Path.home() / ".cache" / "headgate" / f"test-machine-{RECIPE}"


def tree() -> Path:
    """The machine's files, with their owners. Skips the test where it cannot be made."""
    if os.geteuid() != 0:
        pytest.skip("making a machine's files takes root")
    if shutil.which("mmdebstrap") is None:
        pytest.skip("mmdebstrap is not installed")
    CACHE.parent.mkdir(parents=True, exist_ok=True)
    with CACHE.with_suffix(".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not (CACHE / "tree").exists():
            _make(CACHE / "partial")
            (CACHE / "partial").rename(CACHE / "tree")
    return CACHE / "tree"


@asynccontextmanager
async def namespace_node(directory: Path, label: str = "debian-12") -> AsyncIterator[tuple[Node, Path]]:
    """A node of these files, of driver `namespace`, while this lasts, and the key for it."""
    entry = {"name": "here", "driver": "namespace", "labels": [{"name": label, "tree": str(tree())}]}
    provider = registry.create(entry, directory / "nodes")
    public_key = make_key(directory / "key")
    try:
        yield await provider.launch(NodeSpec("node-1", label, "headgate-test", public_key)), directory / "key"
    finally:
        await provider.destroy("node-1")
        await provider.close()


def disk() -> tuple[Path, Path, Path]:
    """A qcow2 with the tree as one file system labelled `root` and no boot loader; the kernel and the initramfs to boot it with."""
    files = tree()
    with CACHE.with_suffix(".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        image = CACHE / "disk.qcow2"
        if not image.exists():
            raw, partial = CACHE / "disk.raw", CACHE / "disk.partial"
            options = ("-E", "lazy_itable_init=1,lazy_journal_init=1,root_owner=0:0", "-O", "^has_journal", "-m", "0")
            raw.unlink(missing_ok=True)
            subprocess.run(["mke2fs", "-q", "-t", "ext4", "-L", "root", "-d", str(files), *options, str(raw), "2G"], check=True)
            subprocess.run(["qemu-img", "convert", "-f", "raw", "-O", "qcow2", str(raw), str(partial)], check=True)
            raw.unlink()
            partial.rename(image)
    [kernel] = (files / "boot").glob("vmlinuz-*")
    [initrd] = (files / "boot").glob("initrd.img-*")
    return image, kernel, initrd


def _make(place: Path) -> None:
    if place.exists():
        remove_tree(place)
    place.mkdir(parents=True)
    options = [f"--dpkgopt=path-exclude=/usr/share/{name}/*" for name in ("doc", "man", "locale")]
    initramfs = 'mkdir -p "$1/etc/initramfs-tools/conf.d" && printf "COMPRESS=lz4\\nMODULES=most\\n" > "$1/etc/initramfs-tools/conf.d/fast"'
    command = ["mmdebstrap", "--quiet", "--variant=apt", f"--include={','.join(PACKAGES)}", '--aptopt=Apt::Install-Recommends "false"']
    command += [*options, "--dpkgopt=force-unsafe-io", f"--essential-hook={initramfs}", SUITE, str(place)]
    subprocess.run(command, check=True)
    for path, text in (FILES | AUTHORITIES).items():
        (place / path[1:]).parent.mkdir(parents=True, exist_ok=True)
        (place / path[1:]).write_text(text)
    subprocess.run(["chroot", str(place), "/bin/sh", "-c", SETUP], check=True)
