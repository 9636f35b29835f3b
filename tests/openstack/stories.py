"""A whole Headgate on the cloud, for stories of a change: where its jobs' nodes come from, and what is left there."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import asyncssh
import yaml

from tests.openstack.entries import entry
from tests.services.installation import Installation, playbook
from tests.services.openstack import real_guest
from tests.services.openstack.cloud import OpenStack

GUEST, WAYWARD, REAL = "guest", "wayward", "real"
"""Labels: an obedient server; one that the first of two regions cannot build; a real virtual machine."""
FAILING = {"broken": "build-error", "hanging": "slow:15", "mute": "no-ssh"}
"""Labels of servers that never come up, and why."""
USED = "/bin/sh -c 'set -C && : > ~/handed-over && hostname'"
"""Fails on a node that it ran on before."""


def job(name: str, label: str, play: str, **more: Any) -> dict[str, Any]:
    nodeset = {"nodes": [{"name": "primary", "label": label}]}
    return {"job": {"name": name, "run": f"playbooks/{play}.yaml", "nodeset": nodeset, **more}}


JOBS = [
    job("waits-there", GUEST, "waits"),
    job("passes-there", GUEST, "once", attempts=1000),
    job("passes-there-too", GUEST, "once", attempts=1000),
    job("passes-elsewhere", WAYWARD, "once"),
    *(job(f"starts-{label}", label, "once") for label in FAILING),
    job("tells-its-machine", REAL, "machine"),
]
FILES = {
    "zuul.d/cloud.yaml": yaml.safe_dump(JOBS),
    "playbooks/once.yaml": playbook(USED),
    "playbooks/machine.yaml": playbook("systemd-detect-virt"),
}


def region(cloud: OpenStack, name: str, labels: Mapping[str, Mapping[str, Any]], /, **more: Any) -> dict[str, Any]:
    found = entry(cloud, name, **{"name": name, "launch-retries": 5, "launch-timeout": 60, "list-interval": 0.5, **more})
    found["labels"] = [found["labels"][0] | {"name": label} | settings for label, settings in labels.items()]
    return found


def failing(fault: str) -> dict[str, Any]:
    return {"instance-properties": {"fault": fault}}


def providers(cloud: OpenStack, nova: Path) -> list[dict[str, Any]]:
    """Alpha as `nova` (a clouds.yaml) shows it, and beta."""
    alpha = region(cloud, "alpha", {GUEST: {}, WAYWARD: failing("build-error")}, **{"clouds-file": str(nova)})
    beta = region(cloud, "beta", {WAYWARD: {}}, priority=200)
    hopeless = {label: failing(fault) for label, fault in FAILING.items()}
    limits = {"launch-timeout": 8, "boot-timeout": 2, "launch-retries": 0}
    return [alpha, beta, region(cloud, "beta", hopeless, **{"name": "hopeless", **limits})]


def real_machines(cloud: OpenStack, key: Path) -> dict[str, Any]:
    """A provider of real guests; its image, a Debian that starts without a boot loader, is brought to the cloud."""
    disk, kernel, initrd = real_guest.image()
    images = cloud.connection("admin-metal").image
    public: dict[str, Any] = {"visibility": "public"}
    booted = {
        "kernel_id": images.create_image("kernel", filename=str(kernel), disk_format="aki", container_format="aki", **public).id,
        "ramdisk_id": images.create_image("initrd", filename=str(initrd), disk_format="ari", container_format="ari", **public).id,
        "os_command_line": "root=LABEL=root console=ttyS0",
    }
    images.create_image("debian-real", filename=str(disk), disk_format="qcow2", container_format="bare", **public, **booted)
    asyncssh.generate_private_key("ssh-ed25519").write_private_key(key)
    more = {"private-key": str(key), "boot-timeout": 200, "launch-timeout": 280, "cloud-images": [{"name": "debian-real"}]}
    return region(cloud, "metal", {REAL: {"cloud-image": "debian-real", "flavor-name": "medium"}}, **more)


async def left(ci: Installation, cloud: OpenStack, regions: Iterable[str]) -> list[str]:
    """Everything of nodes that there is: in the database and in the clouds."""
    found = [f"row {row['id']} {row['state']}" for row in await ci.ask("select id, state from nodes")]
    for name in regions:
        there = cloud.connection(f"ci-{name}")
        found += [f"server {server.name} {server.status} of {name}" for server in there.compute.servers()]
        found += [f"port {port.id} of {name}" for port in there.network.ports() if port.device_owner.startswith("compute:")]
    return found


async def none_left(ci: Installation, cloud: OpenStack, regions: Iterable[str]) -> bool:
    return not await left(ci, cloud, regions)


def nodes(ci: Installation) -> list[dict[str, Any]]:
    """What `headgate nodes` tells."""
    return list(json.loads(ci.headgate("nodes", "--json")))
