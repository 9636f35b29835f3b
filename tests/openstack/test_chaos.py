"""Launches that fail, hang, vanish; an API that refuses, breaks and loses answers; a worker that is killed.

Afterwards cloud and files agree."""

from __future__ import annotations

import asyncio
import multiprocessing
import os
import signal
from pathlib import Path
from typing import Any

import pytest
from openstack.connection import Connection

from providers.base import DestroyFailed, LaunchFailed
from providers.openstack import OpenStackProvider
from providers.openstack_settings import OpenStackSettings
from tests.openstack.conftest import Make
from tests.openstack.entries import clear, clouds_through, entry
from tests.services.openstack.cloud import OpenStack
from tests.services.openstack.proxy import Fault, FaultyProxy
from tests.test_providers import PUBLIC_KEY, log_in, spec

pytestmark = [pytest.mark.slow, pytest.mark.cloud]
KILLS = int(os.environ.get("HEADGATE_KILLS", "16"))
"""Of launches, four at once. Twelve are each step once, before and after it."""


def misbehaving(fault: str) -> dict[str, Any]:
    return {"label": {"instance-properties": {"fault": fault}}}


async def test_a_build_that_fails_says_why_and_leaves_nothing(make: Make, alpha: Connection) -> None:
    provider = make(**misbehaving("build-error"))
    with pytest.raises(LaunchFailed, match="the metadata asks for it"):
        await provider.launch(spec())
    assert await provider.owned("headgate-test") == ()
    assert not list(alpha.compute.servers())


async def test_a_node_without_ssh_fails_with_its_console(make: Make) -> None:
    provider = make(**misbehaving("no-ssh"), **{"boot-timeout": 1})
    with pytest.raises(LaunchFailed, match="no SSH server") as failed:
        await provider.launch(spec())
    assert "no network" in failed.value.console
    assert await provider.owned("headgate-test") == ()


@pytest.mark.long
async def test_a_launch_that_hangs_ends_at_its_limit(make: Make) -> None:
    provider = make(**misbehaving("slow:6"), **{"launch-timeout": 2})
    with pytest.raises(LaunchFailed, match="took longer than 2 s"):
        await provider.launch(spec())
    assert await provider.owned("headgate-test") == ()


async def test_a_server_that_vanishes_while_it_starts_is_a_failed_launch(make: Make, alpha: Connection) -> None:
    provider = make(**misbehaving("slow:4"))
    launch = asyncio.create_task(provider.launch(spec()))
    while not (servers := list(alpha.compute.servers())):
        await asyncio.sleep(0.1)
    alpha.compute.delete_server(servers[0].id)
    with pytest.raises(LaunchFailed, match=r"vanished|could not start"):
        await launch
    assert await provider.owned("headgate-test") == ()


@pytest.mark.long
async def test_a_server_that_cannot_be_deleted_stays_listed(make: Make) -> None:
    provider = make(**misbehaving("delete-error"))
    await provider.launch(spec())
    with pytest.raises(DestroyFailed, match="cannot delete server"):
        await provider.destroy("node-1")
    assert await provider.owned("headgate-test") == ("node-1",)
    await provider.destroy("node-1")
    assert await provider.owned("headgate-test") == ()


REFUSED = {"status": 429, "headers": {"Retry-After": "0.2"}}
BROKEN = {"status": 500, "body": b'{"computeFault": {"message": "broken", "code": 500}}', "headers": {"Content-Type": "application/json"}}


@pytest.mark.long
@pytest.mark.parametrize(
    ("fault", "comes_up"),
    [
        (Fault("POST", "/servers", times=2, **REFUSED), True),
        (Fault("GET", "/servers/detail", times=2, **REFUSED), True),
        (Fault("GET", "/servers/detail", times=3, **BROKEN), True),
        (Fault("GET", "/servers/detail", status=200, body=b"<html>", times=2), True),
        (Fault("GET", "/servers/detail", times=2), True),
        (Fault("DELETE", "/servers/[^/]+", **BROKEN), True),
        (Fault("DELETE", "/servers/[^/]+", forward=True), True),
        (Fault("POST", "/servers", **BROKEN), False),
        (Fault("POST", "/servers"), False),
        (Fault("POST", "/servers", forward=True), False),
    ],
    ids=lambda value: f"{value.method}-{value.status}-{value.forward}" if isinstance(value, Fault) else "",
)
async def test_an_api_that_fails_leaves_nothing(
    make: Make, openstack_cloud: OpenStack, alpha: Connection, tmp_path: Path, fault: Fault, comes_up: bool
) -> None:
    with FaultyProxy(alpha.endpoint_for("compute"), [fault]) as proxy:
        clouds = clouds_through(openstack_cloud, "alpha", proxy.url, tmp_path)
        provider = make(**{"clouds-file": str(clouds)})
        if comes_up:
            assert await log_in(await provider.launch(spec())) == "2"
            await provider.destroy("node-1")
        else:
            with pytest.raises(LaunchFailed):
                await provider.launch(spec())
        assert not fault.times
        assert await provider.owned("headgate-test") == ()
    assert not list(alpha.compute.servers())


def _launch(settings: dict[str, Any], directory: Path, node_id: str) -> None:
    """What the process that is killed does."""
    provider = OpenStackProvider(OpenStackSettings.model_validate(settings), directory)
    asyncio.run(provider.launch(spec(id=node_id, public_key=PUBLIC_KEY)))


async def _kill_at(cloud: OpenStack, nova: str, directory: Path, round: int) -> str:
    """Launch in a process that dies at its n-th request to Nova, before the API gets it or before the answer is back."""
    node_id, step, at = f"node-k{round}", 1 + round // 2 % 6, "after" if round % 2 else "before"
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["tests.openstack.test_chaos"])

    def kill(number: int) -> None:
        if number == step and process.pid is not None:
            os.kill(process.pid, signal.SIGKILL)

    (own := directory / node_id).mkdir()
    with FaultyProxy(nova, **{at: kill}) as proxy:
        settings = entry(cloud) | {"clouds-file": str(clouds_through(cloud, "alpha", proxy.url, own))}
        process = context.Process(target=_launch, args=(settings, directory / "state", node_id))
        process.start()
        await asyncio.to_thread(process.join)
    assert process.exitcode == -signal.SIGKILL, f"the launch ended before request {step}"
    return node_id


@pytest.mark.long
@pytest.mark.timeout(900)
async def test_a_worker_that_is_killed_at_any_step_leaks_nothing(
    make: Make, openstack_cloud: OpenStack, alpha: Connection, tmp_path: Path
) -> None:
    nova, provider = alpha.endpoint_for("compute"), make()
    for first in range(0, KILLS, 4):
        intended = await asyncio.gather(*(_kill_at(openstack_cloud, nova, tmp_path, first + each) for each in range(4)))
        assert set(await provider.owned("headgate-test")) <= set(intended)
        again = await provider.launch(spec(id=intended[0]))  # who takes over goes on with the same node
        assert await log_in(again) == "2"
        servers = [each.metadata["headgate_node"] for each in alpha.compute.servers()]
        assert len(servers) == len(set(servers)), "one node has two servers"
        await clear(provider)
        assert await provider.owned("headgate-test") == ()
        assert not list(alpha.compute.servers())
        assert not list(alpha.network.ports(device_owner="compute:nova"))
