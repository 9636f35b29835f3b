"""Providers on the cloud under test, as a configuration has them."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Any

from providers.base import DestroyFailed
from providers.openstack import OpenStackProvider
from tests.services.openstack.cloud import OpenStack

OWNERS = ("headgate-test", "somebody-else")


def entry(openstack: OpenStack, region: str = "alpha", /, **more: Any) -> dict[str, Any]:
    """A provider as in the configuration, with what hurries tests. `label` is merged into its one label, `small`."""
    label = {"name": "small", "cloud-image": "debian-12", "flavor-name": "small"} | more.pop("label", {})
    return {
        "name": "cloud",
        "driver": "openstack",
        "cloud": f"ci-{region}",
        "clouds-file": str(openstack.clouds_file),
        "networks": ["inside"],
        "cloud-images": [{"name": "debian-12", "connection-port": 2222}],
        "labels": [label],
        "rate": 0,
        "list-interval": 0.3,
        "boot-timeout": 30,
        "launch-timeout": 90,
        "delete-timeout": 60,
        "port-cleanup-interval": 0,
    } | more


async def clear(provider: OpenStackProvider) -> None:
    for owner in OWNERS:
        gone = (provider.destroy(node) for node in await provider.owned(owner))
        outcomes = await asyncio.gather(*gone, return_exceptions=True)
        assert not [each for each in outcomes if isinstance(each, BaseException) and not isinstance(each, DestroyFailed)], outcomes
    await provider.close()


def clouds_through(cloud: OpenStack, region: str, nova: str, directory: Path) -> Path:
    """A clouds.yaml whose `ci-REGION` talks to Nova at the URL."""
    clouds = json.loads(cloud.clouds_file.read_text())["clouds"]
    clouds[f"ci-{region}"] |= {"compute_endpoint_override": nova}
    written = directory / "clouds.yaml"
    written.write_text(json.dumps({"clouds": clouds}))
    return written
