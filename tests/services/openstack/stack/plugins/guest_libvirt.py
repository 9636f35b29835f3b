"""Nova's own libvirt driver with real guests, as far as they can be had without a network agent: a libvirtd of this region's own, and a
bridge that has the gateway's address, so that the machine reaches the guests.

Guests are emulated by QEMU: /dev/kvm proves nothing, and tests must not depend on it.
"""

from __future__ import annotations

import subprocess
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from nova.conf import CONF
from nova.virt.libvirt import driver
from plan import Plan
from processes import START_SECONDS

PRIVATE = {"etc": "/etc/libvirt", "run": "/run/libvirt", **{name: f"/var/{name}/libvirt" for name in ("lib", "log", "cache")}}
"""Directories of libvirtd: this one has its own in their places."""
QEMU = """\
user = "root"
group = "root"
security_driver = "none"
cgroup_controllers = []
namespaces = []
remember_owner = 0
stdio_handler = "file"
"""


def start_libvirtd(directory: Path) -> subprocess.Popen[bytes]:
    """With its guests in a process namespace of its own: they all end with this process."""
    for name in PRIVATE:
        (directory / name).mkdir(parents=True)
    (directory / "etc" / "qemu.conf").write_text(QEMU)
    (directory / "etc" / "libvirtd.conf").write_text('auth_unix_rw = "none"\nunix_sock_group = "root"\n')
    binds = (word for name, place in PRIVATE.items() for word in ("--bind", str(directory / name), place))
    command = ["bwrap", "--dev-bind", "/", "/", *binds, "--unshare-pid", "--proc", "/proc", "--die-with-parent", "/usr/sbin/libvirtd"]
    with (directory / "libvirtd.log").open("wb") as log:
        process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=log, stderr=log)
    deadline = time.monotonic() + START_SECONDS
    while not (directory / "run" / "libvirt-sock").exists():
        if process.poll() is not None or time.monotonic() > deadline:
            raise SystemExit(f"libvirtd does not start; see {directory}/libvirtd.log")
        time.sleep(0.1)
    return process


class GuestDriver(driver.LibvirtDriver):
    def __init__(self, virtapi: Any, read_only: bool = False) -> None:
        region, state = CONF.host.removesuffix("-compute"), Path(CONF.state_path)
        self._facts: Mapping[str, Any] = Plan.read(state.parents[1] / "plan.json").regions[region]
        self._libvirtd = start_libvirtd(state.parent / "libvirt")
        super().__init__(virtapi, read_only)

    def plug_vifs(self, instance: Any, network_info: Any) -> None:
        super().plug_vifs(instance, network_info)
        for vif in network_info:
            subprocess.run(["ip", "link", "set", vif["devname"], "master", self._facts["bridge"], "up"], check=True)
