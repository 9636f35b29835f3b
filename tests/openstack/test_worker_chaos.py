"""The worker is killed at every step of launches that go through `provision_nodes`, while the cloud's API fails in its own ways.

Afterwards cloud and database agree, nothing is left, and no node was handed out twice.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import random
import signal
import sys
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterator

import pytest

from tests.openstack import stories
from tests.services.installation import HEADGATE, Installation, Proposed
from tests.services.openstack.cloud import OpenStack
from tests.services.openstack.proxy import Fault, FaultyProxy
from tests.services.until import until

pytestmark = [pytest.mark.slow, pytest.mark.cloud, pytest.mark.long]
KILLS = int(os.environ.get("HEADGATE_KILLS", "6"))
SEED = int(os.environ.get("HEADGATE_SEED", "6"))
"""Of what the cloud fails in."""
STEPS = 20
"""Requests to Nova within which a new worker finds its way, looks at what there is, launches, and ends what is left."""
AT_ONCE = 3
"""Changes under test; each wants two nodes."""
GIVE_UP = 20.0
"""Seconds without that many requests: the worker is killed all the same."""
JSON = {"Content-Type": "application/json"}
BROKEN = {"status": 500, "body": b'{"computeFault": {"message": "broken", "code": 500}}', "headers": JSON}
FAULTS: tuple[Callable[[], Fault], ...] = (
    lambda: Fault("POST", "/servers", status=429, headers={"Retry-After": "0.2"}),
    lambda: Fault("POST", "/servers", forward=True),
    lambda: Fault("POST", "/servers", **BROKEN),
    lambda: Fault("GET", "/servers/detail", times=2, **BROKEN),
    lambda: Fault("GET", "/servers/detail", times=2),
    lambda: Fault("DELETE", "/servers/[^/]+", **BROKEN),
    lambda: Fault("DELETE", "/servers/[^/]+", forward=True),
)


class Killer:
    """Kills the worker at the n-th request from now on, before Nova gets it or after it has answered, or when `GIVE_UP` is over."""

    def __init__(self, ci: Installation, nova: FaultyProxy) -> None:
        self._ci, self._nova = ci, nova
        self._dead: set[int] = set()
        self.steps: Counter[str] = Counter()

    async def _worker(self) -> int:
        """One that lives, and was not killed yet."""

        async def find() -> list[int]:
            return [pid for pid in await self._ci.workers() if pid not in self._dead]

        return (await until(find, "a new worker has started"))[0]

    async def strike(self, step: int, after: bool) -> None:
        pid, first, done = await self._worker(), self._nova.calls.total(), asyncio.Event()
        loop = asyncio.get_running_loop()

        def kill(number: int) -> None:
            if number == first + step:
                os.kill(pid, signal.SIGKILL)
                loop.call_soon_threadsafe(done.set)

        setattr(self._nova, "after" if after else "before", kill)
        before = Counter(self._nova.calls)
        try:
            async with asyncio.timeout(GIVE_UP):
                await done.wait()
            last = Counter(self._nova.calls) - before
            self.steps[f"{'after' if after else 'before'} {step}: {dict(_kinds(last))}"] += 1
        except TimeoutError:
            os.kill(pid, signal.SIGKILL)
            self.steps["between requests"] += 1
        finally:
            self._nova.before = self._nova.after = lambda number: None
        self._dead.add(pid)


def _kinds(calls: Counter[str]) -> Counter[str]:
    kinds: Counter[str] = Counter()
    for name, count in calls.items():
        method, path = name.split(" ")
        kinds[f"{method} {'detail' if path.endswith('detail') else 'server' if '/servers' in path else 'other'}"] += count
    return kinds


@contextlib.asynccontextmanager
async def busy(ci: Installation) -> AsyncIterator[list[Proposed]]:
    """Changes that want nodes, some at any time while the block lasts."""
    changes: list[Proposed] = []

    async def propose() -> None:
        open_ones: list[Proposed] = []
        while True:
            open_ones = [change for change in open_ones if not await asyncio.to_thread(ci.reports, change)]
            if len(open_ones) < AT_ONCE:
                open_ones.append(await asyncio.to_thread(ci.propose, "passes-there", "passes-there-too"))
                changes.append(open_ones[-1])
            await asyncio.sleep(0.2)

    task = asyncio.create_task(propose())
    try:
        yield changes
    finally:
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task


IMPATIENT = "import services.supervisor, cli.main; services.supervisor.LONGEST_DELAY = 0.2; cli.main.main()"
"""`headgate`, which starts at once again what ends, however often."""


@pytest.fixture
def impatient(installation: Installation) -> Iterator[Installation]:
    if installation.process is not None:
        installation.stop()
    installation.program = [sys.executable, "-c", IMPATIENT]
    installation.start()
    yield installation
    installation.stop()
    installation.program = [HEADGATE]


@pytest.mark.timeout(120 + 60 * KILLS)
async def test_no_kill_of_the_worker_loses_a_node_or_hands_one_out_twice(
    impatient: Installation, nova: FaultyProxy, openstack_cloud: OpenStack
) -> None:
    ci, chance = impatient, random.Random(SEED)
    killer = Killer(ci, nova)
    cloud = openstack_cloud.connection("ci-alpha").compute
    async with busy(ci) as changes:
        for number in range(KILLS):
            if number % 2:
                nova.faults[:] = [chance.choice(FAULTS)()]
            if number % 7 == 6:
                for server in list(cloud.servers())[:1]:
                    cloud.delete_server(server.id, ignore_missing=True)  # somebody else tidies up
            await killer.strike(1 + number // 2 % STEPS, after=bool(number % 2))
            if number % 10 == 9:
                print(f"{number + 1} kills, {len(changes)} changes", flush=True)
    nova.faults.clear()
    began = time.monotonic()
    for change in changes:
        await ci.report(change, seconds=300)
        await ci.over(change)
    print(f"{KILLS} kills, {len(changes)} changes; done {time.monotonic() - began:.0f} s after the last", *killer.steps.items(), sep="\n  ")
    results = Counter(
        row["result"] for row in await ci.ask("select result from builds where job like 'passes-there%' and result is not null")
    )
    assert results["SUCCESS"] >= len(changes)
    assert not set(results) - {"SUCCESS", "NODE_FAILURE"}, results  # a node that was used before would fail
    ci.housekeeping()
    await until(lambda: stories.none_left(ci, openstack_cloud, ["alpha"]), "nothing is left at the cloud and in the database")
    assert await ci.ask("select id from node_history where provider = 'alpha' and ended is null") == []
