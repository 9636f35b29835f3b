"""One OpenStack for all tests of this directory, providers on it, and a whole Headgate."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from openstack.connection import Connection

from providers.openstack import OpenStackProvider
from providers.openstack_settings import OpenStackSettings
from tests.openstack import stories
from tests.openstack.entries import clear, clouds_through, entry
from tests.services.bell import Bell
from tests.services.gerrit import GerritServer
from tests.services.installation import Installation
from tests.services.openstack.cloud import OpenStack
from tests.services.openstack.environment import libvirt_is_here
from tests.services.openstack.proxy import FaultyProxy
from tests.services.openstack.regions import ALPHA, BETA, METAL
from tests.services.sshd import sshd_node

Make = Callable[..., OpenStackProvider]


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


@pytest.fixture
def alpha(openstack_cloud: OpenStack) -> Connection:
    return openstack_cloud.connection("ci-alpha")


@pytest.fixture
def beta(openstack_cloud: OpenStack) -> Connection:
    return openstack_cloud.connection("ci-beta")


@pytest.fixture(scope="session")
def place() -> Iterator[Path]:
    directory = Path(tempfile.mkdtemp(prefix="headgate-cloud-"))  # PostgreSQL of root is another user: not below pytest's directory
    yield directory
    shutil.rmtree(directory, ignore_errors=True)


@pytest.fixture(scope="session")
def nova(openstack_cloud: OpenStack) -> Iterator[FaultyProxy]:
    with FaultyProxy(openstack_cloud.connection("ci-alpha").endpoint_for("compute")) as proxy:
        yield proxy


@pytest.fixture(scope="session")
def installation(openstack_cloud: OpenStack, nova: FaultyProxy, gerrit: GerritServer, place: Path) -> Iterator[Installation]:
    providers = stories.providers(openstack_cloud, clouds_through(openstack_cloud, "alpha", nova.url, place))
    if "metal" in {region.name for region in openstack_cloud.regions}:
        providers.append(stories.real_machines(openstack_cloud, place / "pool"))
    bell = Bell()
    with sshd_node(place) as node:
        installed = Installation(place / "ci", gerrit, node, bell, providers=providers, files=stories.FILES)
        yield installed
        installed.clean()
    bell.close()


@pytest.fixture
def ci(installation: Installation) -> Iterator[Installation]:
    installation.start()
    yield installation
    installation.bell.forget(installation.last_change)
