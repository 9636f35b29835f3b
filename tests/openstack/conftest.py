"""One OpenStack of two regions for all tests of this directory, and providers on it."""

from __future__ import annotations

import asyncio
import json
import shutil
import tempfile
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from openstack.connection import Connection

from providers.base import DestroyFailed
from providers.openstack import OpenStackProvider
from providers.openstack_settings import OpenStackSettings
from tests.services.openstack.cloud import OpenStack
from tests.services.openstack.environment import libvirt_is_here
from tests.services.openstack.regions import ALPHA, BETA, METAL

Make = Callable[..., OpenStackProvider]
OWNERS = ("headgate-test", "somebody-else")


@pytest.fixture(scope="session")
def openstack_cloud() -> Iterator[OpenStack]:
    # not below pytest's own directory: as root PostgreSQL is another user, and every start of pytest closes that to others
    directory = Path(tempfile.mkdtemp(prefix="headgate-openstack-"))
    cloud = OpenStack(directory, (ALPHA, BETA, METAL) if libvirt_is_here() else (ALPHA, BETA))
    try:
        cloud.start()
        yield cloud
    finally:
        cloud.stop()
        shutil.rmtree(directory, ignore_errors=True)


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


@pytest.fixture
async def make(openstack_cloud: OpenStack, tmp_path: Path) -> AsyncIterator[Make]:
    """`make(region, key=value...)`; what its providers leave is destroyed afterwards."""
    made: list[OpenStackProvider] = []

    def provider(region: str = "alpha", directory: str = "state", **more: Any) -> OpenStackProvider:
        settings = OpenStackSettings.model_validate(entry(openstack_cloud, region, **more))
        made.append(OpenStackProvider(settings, tmp_path / directory))
        return made[-1]

    yield provider
    for each in made:
        await clear(each)


async def clear(provider: OpenStackProvider) -> None:
    for owner in OWNERS:
        gone = (provider.destroy(node) for node in await provider.owned(owner))
        outcomes = await asyncio.gather(*gone, return_exceptions=True)
        assert not [each for each in outcomes if isinstance(each, BaseException) and not isinstance(each, DestroyFailed)], outcomes
    await provider.close()


@pytest.fixture
def alpha(openstack_cloud: OpenStack) -> Connection:
    return openstack_cloud.connection("ci-alpha")


@pytest.fixture
def beta(openstack_cloud: OpenStack) -> Connection:
    return openstack_cloud.connection("ci-beta")


def clouds_through(cloud: OpenStack, region: str, nova: str, directory: Path) -> Path:
    """A clouds.yaml whose `ci-REGION` talks to Nova at the URL."""
    clouds = json.loads(cloud.clouds_file.read_text())["clouds"]
    clouds[f"ci-{region}"] |= {"compute_endpoint_override": nova}
    written = directory / "clouds.yaml"
    written.write_text(json.dumps({"clouds": clouds}))
    return written
