"""The image of a guest that Nova boots for real: the tests' Debian with what reads Nova's config-drive. Kept in the user's cache."""

from __future__ import annotations

import fcntl
import hashlib
import shutil
import subprocess
from pathlib import Path
from tempfile import TemporaryDirectory

from tests.services import machines

FILES = {
    "/etc/systemd/system/config-drive.service": """[Unit]
Before=ssh.service systemd-networkd.service
[Service]
Type=oneshot
ExecStart=/usr/local/sbin/config-drive
[Install]
WantedBy=multi-user.target
""",
    "/usr/local/sbin/config-drive": """#!/usr/bin/python3
import ipaddress, json, pathlib, socket, subprocess, time
drive, mount = pathlib.Path("/dev/disk/by-label/config-2"), pathlib.Path("/run/config-drive")
while not drive.exists():
    time.sleep(0.1)
for directory in (mount, pathlib.Path("/run/systemd/network")):
    directory.mkdir(parents=True, exist_ok=True)
subprocess.run(["mount", "-o", "ro", drive, mount], check=True)
facts = json.loads((mount / "openstack/latest/meta_data.json").read_text())
socket.sethostname(facts["hostname"])
pathlib.Path("/etc/hostname").write_text(facts["hostname"] + "\\n")
pathlib.Path("/etc/hosts").write_text("127.0.0.1 localhost\\n127.0.1.1 " + facts["hostname"] + "\\n")
told = json.loads((mount / "openstack/latest/network_data.json").read_text())
macs = {link["id"]: link["ethernet_mac_address"] for link in told["links"]}
for network in told["networks"]:
    address = ipaddress.ip_interface(network["ip_address"] + "/" + network["netmask"])
    text = f"[Match]\\nMACAddress={macs[network['link']]}\\n[Network]\\nAddress={address}\\n"
    pathlib.Path(f"/run/systemd/network/05-{network['id']}.network").write_text(text)
keys = pathlib.Path("/home/zuul/.ssh/authorized_keys")
keys.parent.mkdir(mode=0o700, exist_ok=True)
keys.write_text("\\n".join(facts.get("public_keys", {}).values()) + "\\n")
subprocess.run(["chown", "-R", "zuul:zuul", keys.parent], check=True)
subprocess.run(["ssh-keygen", "-A"], check=True)
""",
}
RECIPE = hashlib.sha256(repr(sorted(FILES.items())).encode()).hexdigest()[:12]


def image() -> tuple[Path, Path, Path]:
    """Its disk (qcow2), kernel and initramfs; a minute the first time. Skips the test where it cannot be made."""
    plain, kernel, initrd = machines.disk()
    made = plain.with_name(f"openstack-{RECIPE}.qcow2")
    with (plain.parent / "openstack.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not made.exists():
            with TemporaryDirectory(dir=plain.parent) as name:
                raw, partial = Path(name, "disk"), Path(name, "disk.qcow2")
                subprocess.run(["qemu-img", "convert", "-f", "qcow2", "-O", "raw", plain, raw], check=True)
                for path, text in FILES.items():
                    _write(raw, path, text, Path(name, "file"))
                subprocess.run(["qemu-img", "convert", "-f", "raw", "-O", "qcow2", raw, partial], check=True)
                partial.rename(made)
    return made, kernel, initrd


def _write(disk: Path, path: str, text: str, place: Path) -> None:
    """A file of root's that may be executed, in a file system that is not mounted."""
    place.write_text(text)
    debugfs = shutil.which("debugfs", path="/usr/sbin:/sbin:/usr/bin") or "debugfs"
    commands = f"rm {path}\nwrite {place} {path}\nset_inode_field {path} mode 0100755\n"
    subprocess.run(
        [debugfs, "-w", "-f", "-", disk], input=commands, text=True, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
