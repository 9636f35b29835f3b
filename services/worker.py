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
from prefect.context import AsyncClientContext
from prefect.events.clients import get_events_subscriber
from prefect.events.filters import EventFilter, EventNameFilter
from prefect.flow_engine import run_flow_async
from prefect.workers.base import BaseJobConfiguration, BaseWorker, BaseWorkerResult
from sqlalchemy.exc import SQLAlchemyError

from flows.housekeeping import tidy
from flows.registry import FLOWS, POOLS
from headgate.settings import Settings
from services.prefect_server import wait_for_prefect
from services.runs import Runs, without_deployment
from tasks.database import Lease, lease_key
from tasks.prefect_api import runs_topic
from tasks.runtime import Runtime, set_runtime
from tasks.store import new_id

logger = logging.getLogger("headgate.worker")

CANCELLING = "prefect.flow-run.Cancelling"
SCHEDULED = "prefect.flow-run.Scheduled"
STARTABLE = [SCHEDULED, "prefect.flow-run.AwaitingRetry", "prefect.flow-run.Late"]
FOREIGN_SECONDS = 1.0
"""Runs that Headgate creates are begun by its own notification; only after this is an event about a new run taken for somebody else's."""
SWEEP_SECONDS = 10.0
"""How often a worker looks by itself for runs to cancel, in case Prefect's event got lost."""

TIDY_SECONDS = 3600.0
"""How often a worker looks for what killed ones left on its machine."""


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
        self._wanted = asyncio.Event()

    async def run(self, flow_run: FlowRun, configuration: BaseJobConfiguration, task_status: Any = None) -> WarmResult:
        """Run one flow run to its end."""
        if task_status is not None:
            task_status.started(os.getpid())
        flow = FLOWS[(await self.client.read_flow(flow_run.flow_id)).name]
        state = await run_flow_async(flow, flow_run=without_deployment(flow_run), parameters=flow_run.parameters, return_type="state")
        return WarmResult(status_code=0 if state is not None and not state.is_crashed() else 1, identifier=str(os.getpid()))

    async def get_and_submit_flow_runs(self) -> list[FlowRun]:
        """Called by Prefect's own poll."""
        if self._runs is None:
            return await super().get_and_submit_flow_runs()
        self.want()
        return []

    def want(self) -> None:
        """Ask for runs soon: many wishes at once are one question."""
        self._wanted.set()

    async def keep_asking(self) -> None:
        """Whenever it is wanted, ask Prefect which runs of this pool may start, and begin them here."""
        assert self._runs is not None
        while True:
            await self._wanted.wait()
            self._wanted.clear()
            if not self._has_successfully_synced:
                continue
            try:
                await self._ask(self._runs)
            except (httpx.HTTPError, SQLAlchemyError) as problem:
                logger.warning("Runs of %s cannot be asked for (%s); trying again.", self.pool, problem)
                await asyncio.sleep(1)
                self.want()

    async def _ask(self, runs: Runs) -> None:
        offered: list[FlowRun] = []
        begun = 0
        if runs.room(self.pool) > 0:
            # Prefect counts what is Pending or Running: between its answer and that state no other worker may ask
            async with runs.alone(self.pool):
                offered = [response.flow_run for response in await self._get_scheduled_flow_runs()]
                begun = sum(await asyncio.gather(*(runs.begin(flow_run, self.pool) for flow_run in offered)))
        # whatever limits the pool, here or at Prefect, may let another run in when one has ended
        if begun < len(offered) or runs.room(self.pool) <= 0 or self.work_pool.concurrency_limit is not None:
            runs.tell_when_ended(self.pool)


async def _ask_when_told(runtime: Runtime, worker: HeadgateWorker) -> None:
    """Ask at once whenever somebody says that a run of the pool was created, or could start now."""
    async with runtime.store.watch(runs_topic(worker.pool)) as told:
        while True:
            await told.wait()
            told.clear()
            worker.want()


def _want_unknown(runs: Runs, workers: list[HeadgateWorker], flow_run: UUID) -> None:
    """Ask for a run that somebody else than Headgate scheduled."""
    if flow_run not in runs.recent:
        for worker in workers:
            worker.want()


async def _follow_prefect(runs: Runs, workers: list[HeadgateWorker]) -> None:
    """React to what people do in Prefect's UI: cancel, retry, run now; and to schedules."""
    names = EventFilter(event=EventNameFilter(name=[CANCELLING, *STARTABLE]))
    while True:
        try:
            async with get_events_subscriber(filter=names) as events:
                async for event in events:
                    if event.event == CANCELLING:
                        runs.cancel(UUID(event.resource.id.removeprefix("prefect.flow-run.")))
                    elif event.event == SCHEDULED:
                        flow_run = UUID(event.resource.id.removeprefix("prefect.flow-run."))
                        asyncio.get_running_loop().call_later(FOREIGN_SECONDS, _want_unknown, runs, workers, flow_run)
                    else:
                        for worker in workers:
                            worker.want()
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


async def _keep_tidy(runtime: Runtime) -> None:
    while True:
        try:
            await tidy(runtime)
        except (OSError, SQLAlchemyError) as problem:
            logger.warning("What an earlier worker left on this machine stays for now: %s", problem)
        await asyncio.sleep(TIDY_SECONDS)


async def serve(settings: Settings, stop: asyncio.Event, pools: tuple[str, ...] = tuple(POOLS)) -> None:
    """Run a worker for `pools` until `stop` is set. Raises a `Problem` when the database or Prefect cannot be used."""
    await wait_for_prefect(settings)
    # without it Prefect's engine opens a client for each flow run: a TLS context and connections of its own, a quarter of a run's CPU here
    async with AsyncClientContext.get_or_create():
        await _serve(settings, stop, pools)


async def _serve(settings: Settings, stop: asyncio.Event, pools: tuple[str, ...]) -> None:
    runtime = await Runtime.open(settings)
    set_runtime(runtime)
    if runtime.home is not None:
        await runtime.home.check()
    worker_id = new_id()
    name = f"worker-{worker_id}"
    lease = await Lease.take(runtime.database_url, name)
    if lease is None:
        raise RuntimeError("a random worker id was taken")
    hostname = socket.gethostname()
    await runtime.store.add_worker(worker_id, lease_key(name), hostname, os.getpid())
    limits = {"changes": settings.worker.changes, "jobs": settings.worker.jobs, "images": settings.worker.images}
    async with get_client() as client:
        runs = Runs(worker_id, runtime.store, client, {pool: limits[pool] for pool in pools})
        workers = [HeadgateWorker(pool, runs=runs, name=f"{hostname}-{os.getpid()}", create_pool_if_not_found=True) for pool in pools]
        loops = [asyncio.create_task(worker.start(printer=lambda *_: None), name=f"pool {worker.pool}") for worker in workers]
        loops += [
            *(asyncio.create_task(_ask_when_told(runtime, worker), name=f"notifications of {worker.pool}") for worker in workers),
            *(asyncio.create_task(worker.keep_asking(), name=f"runs of {worker.pool}") for worker in workers),
            asyncio.create_task(_follow_prefect(runs, workers), name="Prefect's events"),
            asyncio.create_task(_sweep_cancelling(client, runs), name="cancellations"),
            asyncio.create_task(_keep_tidy(runtime), name="tidying"),
        ]
        waiting = [asyncio.create_task(stop.wait()), asyncio.create_task(lease.lost.wait())]
        try:
            logger.info("Worker %s serves %s.", workers[0].name, ", ".join(pools))
            done, _ = await asyncio.wait([*loops, *waiting], return_when=asyncio.FIRST_COMPLETED)
            for task in done:
                if task in loops:
                    task.result()
        finally:
            runtime.stopping = True
            await runs.stop()
            for task in [*loops, *waiting]:
                task.cancel()
            await asyncio.gather(*loops, *waiting, return_exceptions=True)
            await lease.release()
            await runtime.close()
