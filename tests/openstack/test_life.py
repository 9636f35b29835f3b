"""The whole life of a job on a cloud: a change at Gerrit, a server, its workspace and playbooks over SSH, a vote, and nothing left."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.openstack import stories
from tests.openstack.conftest import clouds_through
from tests.services.bell import Bell
from tests.services.gerrit import GerritServer
from tests.services.installation import Installation
from tests.services.openstack.cloud import OpenStack
from tests.services.openstack.proxy import FaultyProxy
from tests.services.sshd import sshd_node

pytestmark = [pytest.mark.slow, pytest.mark.cloud, pytest.mark.timeout(900)]


@pytest.fixture(scope="module")
def place() -> Iterator[Path]:
    directory = Path(tempfile.mkdtemp(prefix="headgate-cloud-"))  # PostgreSQL of root is another user: not below pytest's directory
    yield directory
    shutil.rmtree(directory, ignore_errors=True)


@pytest.fixture(scope="module")
def nova(openstack_cloud: OpenStack) -> Iterator[FaultyProxy]:
    with FaultyProxy(openstack_cloud.connection("ci-alpha").endpoint_for("compute")) as proxy:
        yield proxy


@pytest.fixture(scope="module")
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


async def test_a_change_is_tested_on_a_server_that_is_gone_afterwards(ci: Installation, openstack_cloud: OpenStack) -> None:
    change = ci.propose("waits-there")
    ring = await ci.bell.ring(change.number)
    [server] = openstack_cloud.connection("ci-alpha").compute.servers()
    [node] = stories.nodes(ci)
    assert (node["id"], node["state"], node["build"]) == (server.metadata["headgate_node"], "in-use", ring.build)
    [owner] = await ci.ask("select id from installation")
    assert server.metadata["headgate_owner"] == owner["id"]
    ring.end(0)
    assert "waits-there" in await ci.report(change)
    assert ci.verified(change) == 1
    await ci.over(change)
    assert await stories.left(ci, openstack_cloud, ["alpha"]) == []


async def test_a_real_virtual_machine_runs_a_job(ci: Installation, openstack_cloud: OpenStack) -> None:
    if "metal" not in {region.name for region in openstack_cloud.regions}:
        pytest.skip("libvirt is not installed, or this is not root")
    change = ci.propose("tells-its-machine")
    report = await ci.report(change, seconds=400)
    assert ci.verified(change) == 1, report
    [build] = await ci.ask("select id from builds where job = 'tells-its-machine'")
    console = (ci.directory / "state" / "builds" / build["id"] / "console.log").read_text()
    assert "qemu" in console
    await ci.over(change)
    assert await stories.left(ci, openstack_cloud, ["metal"]) == []


async def test_what_one_region_cannot_build_another_does_and_what_none_can_is_a_node_failure(
    ci: Installation, openstack_cloud: OpenStack
) -> None:
    change = ci.propose("passes-elsewhere", "never-starts")
    report = await ci.report(change)
    assert ci.verified(change) == -1
    assert "passes-elsewhere" in report and report.count(": SUCCESS") == 1
    assert report.count(": NODE_FAILURE") == 1
    [build] = await ci.ask("select nodes, message from builds where job = 'passes-elsewhere'")
    assert '"provider": "beta"' in build["nodes"]
    [failed] = await ci.ask("select message from builds where job = 'never-starts'")
    assert failed["message"] == "every provider failed to launch it (beta)"
    await ci.over(change)
    assert await stories.left(ci, openstack_cloud, ["alpha", "beta"]) == []
