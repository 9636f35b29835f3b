"""The whole life of a job on a cloud: a change at Gerrit, a server, its workspace and playbooks over SSH, a vote, and nothing left."""

from __future__ import annotations

import pytest

from tests.openstack import stories
from tests.services.installation import Installation
from tests.services.openstack.cloud import OpenStack

pytestmark = [pytest.mark.slow, pytest.mark.cloud, pytest.mark.timeout(900)]


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


@pytest.mark.long
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


@pytest.mark.long
async def test_what_one_region_cannot_build_another_does(ci: Installation, openstack_cloud: OpenStack) -> None:
    change = ci.propose("passes-elsewhere")
    await ci.report(change)
    assert ci.verified(change) == 1
    [build] = await ci.ask("select nodes from builds where job = 'passes-elsewhere'")
    assert '"provider": "beta"' in build["nodes"]
    tried = await ci.ask("select failed from node_history where label = $1 and provider = 'alpha'", stories.WAYWARD)
    assert len(tried) == 6 and all("the metadata asks for it" in row["failed"] for row in tried)
    await ci.over(change)
    assert await stories.left(ci, openstack_cloud, ["alpha", "beta"]) == []


@pytest.mark.long
async def test_servers_that_fail_hang_or_are_mute_are_node_failures_with_a_reason(ci: Installation, openstack_cloud: OpenStack) -> None:
    change = ci.propose(*(f"starts-{label}" for label in stories.FAILING))
    report = await ci.report(change)
    assert ci.verified(change) == -1
    assert report.count(": NODE_FAILURE") == 3
    why = {row["label"]: row["failed"] for row in await ci.ask("select label, failed from node_history where provider = 'hopeless'")}
    assert "the metadata asks for it" in why["broken"]
    assert "took longer than 8 s" in why["hanging"]
    assert "no SSH server" in why["mute"]
    wanted = {"artifacts": {"key": {"any_": ["console-hopeless-mute"]}}}
    [artifact] = ci.prefect("POST", "artifacts/filter", wanted)
    assert "no network" in artifact["data"]
    await ci.over(change)
    assert await stories.left(ci, openstack_cloud, ["beta"]) == []
