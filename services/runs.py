"""The flow runs going on in one worker process: begin, cancel, stop.

A run belongs to the worker that wrote a claim for it in the store; the claim is also what keeps two workers from running the same one.
Claims of a worker that is no more (its lease is free) are runs that crashed: the scheduler's reconciler marks them so and starts them
again. A worker that is stopped leaves its claims behind on purpose, so stopping and crashing are one path.
"""

from __future__ import annotations

import asyncio
import logging
from collections import Counter, deque
from contextlib import AbstractAsyncContextManager
from typing import Any
from uuid import UUID

import httpx
from prefect.client.orchestration import PrefectClient
from prefect.client.schemas.objects import FlowRun
from prefect.client.schemas.responses import OrchestrationResult
from prefect.exceptions import Abort, ObjectNotFound
from prefect.flow_engine import run_flow_async
from prefect.states import Cancelled, Pending

from flows.registry import FLOWS
from tasks.prefect_api import runs_topic
from tasks.store import Store

logger = logging.getLogger("headgate.worker")


def without_deployment(flow_run: FlowRun) -> FlowRun:
    """The run as Prefect's engine is to see it. For a run with a deployment it would start a thread with a websocket just to watch for a
    suspension, which none of our flows supports: nearly half of the time to the first line of a flow's body."""
    return flow_run.model_copy(update={"deployment_id": None})


class Runs:
    """At most `limits[pool]` runs of each work pool, in this process."""

    def __init__(self, worker_id: str, store: Store, client: PrefectClient, limits: dict[str, int]) -> None:
        self._worker_id = worker_id
        self._store = store
        self._client = client
        self._limits = limits
        self._tasks: dict[UUID, asyncio.Task[None]] = {}
        self._running: Counter[str] = Counter()
        self._hungry: set[str] = set()
        self.recent: deque[UUID] = deque(maxlen=500)
        """Runs begun lately: Prefect's events about their creation come after the fact."""
        self._flow_names: dict[UUID, str] = {}
        self._stopping = False

    def room(self, pool: str) -> int:
        """How many more runs of `pool` fit."""
        return 0 if self._stopping else self._limits[pool] - self._running[pool]

    def tell_when_ended(self, pool: str) -> None:
        """Tell every worker of `pool` once when the next run of it has ended here: there may be room."""
        self._hungry.add(pool)

    def alone(self, pool: str) -> AbstractAsyncContextManager[None]:
        """No other worker is inside for `pool`."""
        return self._store.alone(f"pool {pool}")

    async def begin(self, flow_run: FlowRun, pool: str) -> bool:
        """Start `flow_run` here, unless there is no room, it runs already, or another worker has claimed it. From then on it counts for
        the limits of its pool."""
        if self.room(pool) <= 0 or flow_run.id in self._tasks:
            return False
        self._running[pool] += 1
        if not await self._store.claim(str(flow_run.id), self._worker_id):
            self._running[pool] -= 1
            return False
        if not await self._set_pending(flow_run):
            self._running[pool] -= 1
            await self._store.unclaim(str(flow_run.id), self._worker_id)
            return False
        self.recent.append(flow_run.id)
        self._tasks[flow_run.id] = asyncio.create_task(self._run(flow_run, pool), name=f"run {flow_run.name}")
        return True

    async def _set_pending(self, flow_run: FlowRun) -> bool:
        try:
            response: OrchestrationResult[Any] = await self._client.set_flow_run_state(flow_run.id, Pending())
        except (httpx.HTTPError, ObjectNotFound, Abort) as problem:
            logger.warning("The run '%s' could not begin: %s", flow_run.name, problem)
            return False
        if response.state is None or not response.state.is_pending():
            return False
        flow_run.state = response.state
        return True

    async def _run(self, flow_run: FlowRun, pool: str) -> None:
        cancelled = False
        try:
            flow = FLOWS[await self._flow_name(flow_run.flow_id)]
            await run_flow_async(flow, flow_run=without_deployment(flow_run), parameters=flow_run.parameters, return_type="state")
        except asyncio.CancelledError:
            cancelled = True
        except (httpx.HTTPError, ObjectNotFound, Abort) as problem:
            # the run's own failures are states by now; this is Prefect's server out of reach or the run deleted meanwhile
            logger.warning("The run '%s' could not be followed: %s", flow_run.name, problem)
        finally:
            del self._tasks[flow_run.id]
            self._running[pool] -= 1
        if self._stopping:
            return
        if cancelled:
            await self._client.set_flow_run_state(flow_run.id, Cancelled(message="Cancelled."), force=True)
        await self._store.unclaim(str(flow_run.id), self._worker_id)
        if pool in self._hungry:
            self._hungry.discard(pool)
            await self._store.tell(runs_topic(pool))

    async def _flow_name(self, flow_id: UUID) -> str:
        if flow_id not in self._flow_names:
            self._flow_names[flow_id] = (await self._client.read_flow(flow_id)).name
        return self._flow_names[flow_id]

    def cancel(self, flow_run_id: UUID) -> None:
        """Stop the run if it goes on here: its body sees a cancellation, tidies up, and the run ends as Cancelled."""
        task = self._tasks.get(flow_run_id)
        if task is not None:
            task.cancel()

    @property
    def ids(self) -> list[UUID]:
        return list(self._tasks)

    async def stop(self) -> None:
        """End every run at once, as a crash would but tidily: nodes are destroyed, claims stay, so the runs start again later."""
        self._stopping = True
        tasks = list(self._tasks.values())
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
