"""Killed at any moment of a launch, by SIGKILL, over and over: afterwards provider and database agree and nothing is left."""

from __future__ import annotations

import asyncio
import os
import random
import signal
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from headgate.nodes import NodeState
from providers import registry
from providers.base import AtCapacity, LaunchFailed, NodeSpec, Provider
from tasks.database import open_engine
from tasks.node_store import NodeStore
from tasks.store import new_id
from tests.services import machines
from tests.test_providers import PUBLIC_KEY

OWNER = "headgate-chaos"


async def live(database: str, provider: Provider, request: str, labels: list[str], told: int) -> None:
    """A build's nodes from request to use, as the flow does it; each node handed over is written to `told`."""
    engine = open_engine(database, connections=2)
    store = NodeStore(engine)
    await store.ask(request, labels, 200, "nova", "openstack")

    async def decide() -> None:
        full = await store.full()
        await store.decide([await registry.offer(provider, full=provider.name in full)], new_id)

    await decide()
    found = await store.request(request)
    while found is not None and found.state == "requested":
        building = [node for node in await store.nodes_of(request) if node.state is NodeState.BUILDING]
        if not building:
            break  # no room: this build waits, and is of no more interest here
        for node in building:
            try:
                up = await provider.launch(NodeSpec(node.id, node.label, OWNER, PUBLIC_KEY, request=request))
            except AtCapacity:
                await store.no_room(request, provider.name)
            except LaunchFailed as problem:
                await store.failed(node.id, str(problem))
            else:
                await store.up(up)
        await decide()
        found = await store.request(request)
    if found is not None and found.state == "fulfilled":
        await store.use(request)
        for node in await store.nodes_of(request):
            os.write(told, f"{node.id} {request}\n".encode())
    await engine.dispose()


async def tidy(database: str, provider: Provider) -> list[str]:
    """What housekeeping does for builds that have ended: everything goes back. Returns what the provider has afterwards."""
    engine = open_engine(database, connections=2)
    store = NodeStore(engine)
    for node in await store.nodes():
        await store.release(node.request)
    for request in await store.open_requests():
        await store.release(request.id)
    owned = await provider.owned(OWNER)
    known = {node.id for node in await store.nodes()}
    for node_id in {*owned, *known}:
        await provider.destroy(node_id)
        await store.gone(node_id)
    assert not await store.nodes()
    await engine.dispose()
    return list(await provider.owned(OWNER))


def killed(body: Callable[[], None], seconds: float) -> None:
    """Run `body` in a child and kill it after so long, or let it end."""
    child = os.fork()
    if child == 0:
        try:
            body()
        finally:
            os._exit(0)
    handle = os.pidfd_open(child)
    time.sleep(seconds)  # the moment is the point: anything may be under way
    signal.pidfd_send_signal(handle, signal.SIGKILL)
    os.waitpid(child, 0)
    os.close(handle)


@pytest.mark.slow
@pytest.mark.timeout(900)
@pytest.mark.parametrize(("driver", "kills"), [("local", 200), ("namespace", int(os.environ.get("HEADGATE_KILLS", "40")))])
def test_no_kill_leaks_a_node_or_hands_one_out_twice(driver: str, kills: int, database: str, tmp_path: Path) -> None:
    labels: list[object] = [{"name": "small", "tree": str(machines.tree())}] if driver == "namespace" else ["small"]
    entry = {"name": "here", "driver": driver, "labels": labels, "max-servers": 4}
    chance = random.Random(6)
    log = tmp_path / "told"
    told = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND)

    def provider() -> Provider:
        return registry.create(entry, tmp_path / "state")

    begin = time.monotonic()  # a whole life, undisturbed: kills are spread over as long as that
    child = os.fork()
    if child == 0:
        asyncio.run(live(database, provider(), "undisturbed", ["small"], told))
        os._exit(0)
    os.waitpid(child, 0)
    longest = time.monotonic() - begin
    for number in range(kills):
        request, count = f"build-{number}", chance.choice((1, 1, 2))
        killed(lambda r=request, c=count: asyncio.run(live(database, provider(), r, ["small"] * c, told)), chance.uniform(0, 1.2 * longest))
        if number % 3 == 2:
            assert asyncio.run(tidy(database, provider())) == []
    assert asyncio.run(tidy(database, provider())) == []
    handed = [line.split() for line in log.read_text().splitlines()]
    assert len(handed) > 1, "some must have lived, or nothing is proved"
    assert len({node for node, _ in handed}) == len(handed)
    if driver == "namespace":
        assert str(tmp_path) not in Path("/proc/mounts").read_text()
        assert str(tmp_path) not in subprocess.run(["ps", "ax", "-o", "args"], capture_output=True, text=True, check=True).stdout
        assert [path.name for path in (tmp_path / "state" / "here").iterdir() if path.suffix != ".lock" and path.name != ".lock"] == []
