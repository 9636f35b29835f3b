"""What the OpenStack under test consists of."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any, Literal

FLAVORS: Mapping[str, tuple[int, int, int]] = MappingProxyType({"small": (1, 512, 1), "medium": (2, 2048, 10), "large": (4, 8192, 80)})
"""Cores, MiB of memory, GiB of disk."""
PROJECTS = ("ci", "others")
"""Each with a user of the same name and password, a member of it."""


@dataclass(frozen=True)
class Region:
    """`number` makes its addresses: 127.NUMBER.0.0/20 inside, 127.NUMBER.128.0/20 for floating IPs. `quotas` are those of every project.

    With `volumes` there is Cinder. With the `hypervisor` libvirt, servers are QEMU's guests on a bridge of this machine, at
    10.NUMBER.0.0/24; else they are SSH servers on loopback (`plugins/guests.py`)."""

    name: str
    number: int
    vcpus: int = 1000
    memory_mb: int = 800_000
    quotas: Mapping[str, int] = field(default_factory=lambda: {"instances": 200, "cores": 400, "ram": 400_000})
    boot_seconds: float = 0
    hypervisor: Literal["guests", "libvirt"] = "guests"
    volumes: bool = False

    @property
    def subnet(self) -> str:
        return f"10.{self.number}.0.0/24" if self.hypervisor == "libvirt" else f"127.{self.number}.0.0/20"

    @property
    def bridge(self) -> str:
        """The name of the network interface that guests of libvirt are on."""
        return f"ci-{self.number}"

    @property
    def floating_subnet(self) -> str:
        return f"127.{self.number}.128.0/20"

    def described(self) -> dict[str, Any]:
        """For the other side, as JSON."""
        return {
            "name": self.name,
            "vcpus": self.vcpus,
            "memory_mb": self.memory_mb,
            "quotas": dict(self.quotas),
            "boot_seconds": self.boot_seconds,
            "hypervisor": self.hypervisor,
            "volumes": self.volumes,
            "bridge": self.bridge,
            "subnet": self.subnet,
            "floating_subnet": self.floating_subnet,
        }


ALPHA = Region("alpha", 101, volumes=bool(os.environ.get("HEADGATE_VOLUMES")))
BETA = Region("beta", 102, vcpus=16, memory_mb=32_000, quotas={"instances": 5, "cores": 20, "ram": 51_200})
"""A small one: five servers by quota, of which three may be large by what there is."""
METAL = Region(
    "metal", 104 + os.getpid() % 100, vcpus=8, memory_mb=8_000, quotas={"instances": 4, "cores": 8, "ram": 4_096}, hypervisor="libvirt"
)
"""With real guests: few, since their processors are emulated. Their network is the machine's, which others may use for tests, too."""
