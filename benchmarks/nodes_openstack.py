"""Forty nodes through a real OpenStack of two regions: requests per node, and time until they can be logged in to.

    python -m benchmarks.nodes_openstack [NODES]

The goal is at most 3 requests to the APIs per node, from nothing to destroyed; the naive way (look names up, create, poll each, delete,
poll each) makes about 14. Keystone's and discovery's requests count too.
"""

from __future__ import annotations

import asyncio
import json
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

import asyncssh

from providers.base import NodeSpec
from providers.openstack import OpenStackProvider
from providers.openstack_settings import OpenStackSettings
from tests.services.openstack.cloud import OpenStack
from tests.services.openstack.regions import ALPHA, Region

REGIONS = (ALPHA, Region("gamma", 103))


def provider(cloud: OpenStack, region: str, directory: Path) -> OpenStackProvider:
    settings = {
        "name": region,
        "driver": "openstack",
        "cloud": f"ci-{region}",
        "clouds-file": str(cloud.clouds_file),
        "networks": ["inside"],
        "cloud-images": [{"name": "debian-12", "connection-port": 2222}],
        "labels": [{"name": "small", "cloud-image": "debian-12", "flavor-name": "small"}],
        "port-cleanup-interval": 0,
    }
    return OpenStackProvider(OpenStackSettings.model_validate(settings), directory / region)


async def measure(cloud: OpenStack, directory: Path, nodes: int) -> dict[str, object]:
    providers = [provider(cloud, region.name, directory) for region in REGIONS]
    key = asyncssh.generate_private_key("ssh-ed25519").export_public_key().decode().strip()
    specs = [NodeSpec(f"node-{number}", "small", "benchmark", key) for number in range(nodes)]
    began = time.monotonic()

    async def launch(number: int) -> float:
        await providers[number % len(providers)].launch(specs[number])
        return time.monotonic() - began

    ready = sorted(await asyncio.gather(*(launch(number) for number in range(nodes))))
    destroying = time.monotonic()
    await asyncio.gather(*(providers[number % len(providers)].destroy(specs[number].id) for number in range(nodes)))
    gone = time.monotonic() - destroying
    calls: Counter[str] = sum((each.cloud.calls for each in providers), Counter())
    for each in providers:
        await each.close()
    kinds = Counter[str]()
    for name, count in calls.items():
        method, path = name.split(" ")
        kinds[f"{method} {'/servers' if '/servers' in path else 'other'}"] += count
    return {
        "nodes": nodes,
        "regions": len(REGIONS),
        "requests per node": round(calls.total() / nodes, 2),
        "requests": dict(kinds),
        "ready p50 s": round(ready[len(ready) // 2], 1),
        "ready last s": round(ready[-1], 1),
        "destroyed s": round(gone, 1),
    }


def main() -> None:
    nodes = int(sys.argv[1]) if len(sys.argv) > 1 else 40
    with tempfile.TemporaryDirectory(prefix="headgate-openstack-") as name:
        directory = Path(name)
        cloud = OpenStack(directory, REGIONS)
        began = time.monotonic()
        try:
            cloud.start()
            started = time.monotonic() - began
            print(json.dumps(asyncio.run(measure(cloud, directory, nodes)) | {"cloud started s": round(started, 1)}, indent=1))
        finally:
            cloud.stop()


if __name__ == "__main__":
    main()
