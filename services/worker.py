"""The worker: runs flow runs inside its own warm process, as the Prefect worker type `headgate`.

Nothing is started per flow run: Prefect and the flows are imported once and a run is a coroutine here; what jobs do happens in sandboxed
processes. One process serves every work pool of `flows.registry`, one Prefect worker each. Prefect decides which runs of a pool may start
(limits of pool and queue, schedules); the worker is told when to ask, by a notification from whoever created a run and by Prefect's own
events (a Retry clicked in its UI, a schedule), so the poll is only there for what got lost.
"""

from __future__ import annotations

import asyncio
import logging
import os
import socket
from typing import Any
from uuid import UUID

import httpx
import websockets
from prefect.client.orchestration import PrefectClient, get_client
from prefect.client.schemas.filters import FlowRunFilter, FlowRunFilterId, FlowRunFilterState, FlowRunFilterStateType
from prefect.client.schemas.objects import FlowRun, StateType
from prefect.events.clients import get_events_subscriber
from prefect.events.filters import EventFilter, EventNameFilter
from prefect.flow_engine import run_flow_async
from prefect.workers.base import BaseJobConfiguration, BaseWorker, BaseWorkerResult

from flows.registry import FLOWS, POOLS
from headgate.settings import Settings
from services.prefect_server import wait_for_prefect
from services.runs import Runs, without_deployment
from tasks.database import Lease, lease_key
from tasks.prefect_api import RUNS_TOPIC
from tasks.runtime import Runtime, set_runtime
from tasks.store import new_id

logger = logging.getLogger("headgate.worker")

CANCELLING = "prefect.flow-run.Cancelling"
STARTABLE = ["prefect.flow-run.Scheduled", "prefect.flow-run.AwaitingRetry", "prefect.flow-run.Late"]
SWEEP_SECONDS = 10.0
"""How often a worker looks by itself for runs to cancel, in case Prefect's event got lost."""


class WarmResult(BaseWorkerResult):
    """How a run ended that came by `prefect worker start`."""


class HeadgateWorker(BaseWorker[BaseJobConfiguration, Any, WarmResult]):
    """Prefect's worker for one work pool. Without `runs` it is a plain Prefect worker that runs flows in its process."""

    type = "headgate"
    job_configuration = BaseJobConfiguration
    _description = "Runs Headgate's flows inside a warm process: nothing is started per flow run."
    _display_name = "Headgate"

    def __init__(self, work_pool_name: str, *, runs: Runs | None = None, **options: Any) -> None:
        # a run is asked for when it is due, not before: nothing has to be prepared for it
        super().__init__(work_pool_name, prefetch_seconds=0, **options)
        self.pool = work_pool_name
        self._runs = runs
        self._asking = asyncio.Lock()

    async def run(self, flow_run: FlowRun, configuration: BaseJobConfiguration, task_status: Any = None) -> WarmResult:
        """Run one flow run to its end."""
        if task_status is not None:
            task_status.started(os.getpid())
        flow = FLOWS[(await self.client.read_flow(flow_run.flow_id)).name]
        state = await run_flow_async(flow, flow_run=without_deployment(flow_run), parameters=flow_run.parameters, return_type="state")
        return WarmResult(status_code=0 if state is not None and not state.is_crashed() else 1, identifier=str(os.getpid()))

    async def get_and_submit_flow_runs(self) -> list[FlowRun]:
        """Ask Prefect which runs of this pool may start, and begin them here."""
        if self._runs is None:
            return await super().get_and_submit_flow_runs()
        if not self._has_successfully_synced:
            return []
        async with self._asking:
            if self._runs.room(self.pool) <= 0:
                self._runs.ask_when_room(self.pool, self.get_and_submit_flow_runs)
                return []
            offered = [response.flow_run for response in await self._get_scheduled_flow_runs()]
            begun = [flow_run for flow_run in offered if await self._runs.begin(flow_run, self.pool)]
        if len(begun) < len(offered) or self._runs.room(self.pool) <= 0:
            self._runs.ask_when_room(self.pool, self.get_and_submit_flow_runs)
        return begun


async def _ask_when_told(runtime: Runtime, workers: list[HeadgateWorker]) -> None:
    """Ask at once whenever somebody says that a run was created."""
    async with runtime.store.watch(RUNS_TOPIC) as told:
        while True:
            await told.wait()
            told.clear()
            await asyncio.gather(*(worker.get_and_submit_flow_runs() for worker in workers))


async def _follow_prefect(runs: Runs, workers: list[HeadgateWorker]) -> None:
    """React to what people do in Prefect's UI: cancel, retry, run now; and to schedules."""
    names = EventFilter(event=EventNameFilter(name=[CANCELLING, *STARTABLE]))
    while True:
        try:
            async with get_events_subscriber(filter=names) as events:
                async for event in events:
                    if event.event == CANCELLING:
                        runs.cancel(UUID(event.resource.id.removeprefix("prefect.flow-run.")))
                    else:
                        await asyncio.gather(*(worker.get_and_submit_flow_runs() for worker in workers))
        except (OSError, httpx.HTTPError, websockets.WebSocketException) as problem:
            logger.warning("Prefect's events are out of reach (%s); trying again.", problem)
            await asyncio.sleep(2)


async def _sweep_cancelling(client: PrefectClient, runs: Runs) -> None:
    while True:
        await asyncio.sleep(SWEEP_SECONDS)
        if runs.ids:
            wanted = FlowRunFilter(
                id=FlowRunFilterId(any_=runs.ids), state=FlowRunFilterState(type=FlowRunFilterStateType(any_=[StateType.CANCELLING]))
            )
            try:
                for flow_run in await client.read_flow_runs(flow_run_filter=wanted):
                    runs.cancel(flow_run.id)
            except httpx.HTTPError as problem:
                logger.warning("Prefect is out of reach (%s); trying again.", problem)


async def serve(settings: Settings, stop: asyncio.Event, pools: tuple[str, ...] = tuple(POOLS)) -> None:
    """Run a worker for `pools` until `stop` is set. Raises a `Problem` when the database or Prefect cannot be used."""
    await wait_for_prefect(settings)
    runtime = await Runtime.open(settings)
    set_runtime(runtime)
    worker_id = new_id()
    name = f"worker-{worker_id}"
    lease = await Lease.take(runtime.database_url, name)
    if lease is None:
        raise RuntimeError("a random worker id was taken")
    hostname = socket.gethostname()
    await runtime.store.add_worker(worker_id, lease_key(name), hostname, os.getpid())
    limits = {"changes": settings.worker.changes, "jobs": settings.worker.jobs}
    async with get_client() as client:
        runs = Runs(worker_id, runtime.store, client, {pool: limits[pool] for pool in pools})
        workers = [HeadgateWorker(pool, runs=runs, name=f"{hostname}-{os.getpid()}", create_pool_if_not_found=True) for pool in pools]
        loops = [asyncio.create_task(worker.start(printer=lambda *_: None), name=f"pool {worker.pool}") for worker in workers]
        loops += [
            asyncio.create_task(_ask_when_told(runtime, workers), name="notifications"),
            asyncio.create_task(_follow_prefect(runs, workers), name="Prefect's events"),
            asyncio.create_task(_sweep_cancelling(client, runs), name="cancellations"),
        ]
        waiting = [asyncio.create_task(stop.wait()), asyncio.create_task(lease.lost.wait())]
        try:
            logger.info("Worker %s serves %s.", workers[0].name, ", ".join(pools))
            done, _ = await asyncio.wait([*loops, *waiting], return_when=asyncio.FIRST_COMPLETED)
            for task in done:
                if task in loops:
                    task.result()
        finally:
            await runs.stop()
            for task in [*loops, *waiting]:
                task.cancel()
            await asyncio.gather(*loops, *waiting, return_exceptions=True)
            await lease.release()
            await runtime.close()
