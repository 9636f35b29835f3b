"""The reconciler: what the store says against which workers live and what Prefect knows, so that nothing that crashed stays forgotten."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Collection
from datetime import UTC, datetime
from uuid import UUID

import httpx
from prefect.client.schemas.filters import (
    FlowRunFilter,
    FlowRunFilterId,
    FlowRunFilterState,
    FlowRunFilterStateType,
    WorkPoolFilter,
    WorkPoolFilterName,
)
from prefect.client.schemas.objects import FlowRun, StateType
from sqlalchemy.exc import SQLAlchemyError

from flows.gerrit_trigger import leave
from flows.registry import POOLS
from headgate.builds import SUCCESS
from tasks.prefect_api import ALL_RUNS, create_run, finish_run, mark_crashed, start_again
from tasks.runtime import Runtime

logger = logging.getLogger("headgate.reconciler")

LOOK_SECONDS = 3.0
"""How often it looks for workers that died. One small query; the issue asks for a restart within 15 s."""
SLOW_LOOKS = 10
"""Every so many looks it also compares what Prefect calls running with what workers claim."""


class Reconciler:
    """Looks, and mends by the same repeatable steps as everybody else."""

    def __init__(self, runtime: Runtime) -> None:
        self._runtime = runtime
        self._store = runtime.store
        self._suspects: set[UUID] = set()
        self.hurry = asyncio.Event()

    async def run(self) -> None:
        looks = 0
        while True:
            try:
                async with asyncio.timeout(LOOK_SECONDS):
                    await self.hurry.wait()
            except TimeoutError:
                pass
            self.hurry.clear()
            looks += 1
            try:
                await self.look(thorough=looks % SLOW_LOOKS == 0)
            except (OSError, SQLAlchemyError, httpx.HTTPError) as problem:
                logger.warning("The reconciler could not look: %s", problem)

    async def look(self, thorough: bool = True) -> None:
        """One look. `thorough` also asks Prefect."""
        again = await self._dead_workers()
        again |= await self._new_evidence()
        if thorough:
            again |= await self._unclaimed()
            again |= await self._stuck_items()
            await self._unsaid()
        if again:
            await self._store.tell(*ALL_RUNS)

    async def _dead_workers(self) -> bool:
        """Runs of workers that are gone are marked as crashed and start again."""
        found = False
        for worker in await self._store.dead_workers():
            claims = await self._store.claims_of(worker)
            logger.warning("Worker %s is gone; %d of its runs start again.", worker, len(claims))
            for flow_run, claimed in claims:
                await self._again(UUID(flow_run), "The worker that ran it is gone.", claimed)
                await self._store.unclaim(flow_run, worker)
            # what it had of nodes and was not using for a run that starts again
            await create_run(
                self._runtime.prefect,
                "housekeeping/housekeeping",
                name="housekeeping after a crash",
                parameters={},
                key=f"housekeeping/{worker}",
            )
            await self._store.worker_gone(worker)
            found = True
        return found

    async def _again(self, flow_run: UUID, reason: str, since: datetime) -> None:
        """Start a crashed run again; a job's run that had recorded its result `since` then is only marked as what it was."""
        build = await self._store.result_of_run(str(flow_run), since)
        if build is not None:
            await self._runtime.nodes.release(build.id)
            await finish_run(self._runtime.prefect, flow_run, build.result == SUCCESS, f"{build.result}. {reason}")
        elif await mark_crashed(self._runtime.prefect, flow_run, reason):
            await start_again(self._runtime.prefect, flow_run, reason)

    async def _new_evidence(self) -> bool:
        """Builds that were run again after their change was reported: its run starts again, to add up and report."""
        found = False
        for item in await self._store.items_with_new_evidence():
            if item.flow_run is not None and await self._is_over(UUID(item.flow_run)):
                logger.info("A job of %s ran again; its results are added up again.", item.change)
                found |= await start_again(self._runtime.prefect, UUID(item.flow_run), "A job ran again.")
        return found

    async def _is_over(self, flow_run: UUID) -> bool:
        runs = await self._runtime.prefect.read_flow_runs(flow_run_filter=FlowRunFilter(id=FlowRunFilterId(any_=[flow_run])))
        return any(run.state is not None and run.state.is_final() for run in runs)

    async def _unclaimed(self) -> bool:
        """Runs Prefect calls pending or running that no worker claims, seen twice in a row: the claim is gone, so is the run."""
        going = FlowRunFilterState(type=FlowRunFilterStateType(any_=[StateType.RUNNING, StateType.PENDING, StateType.CANCELLING]))
        runs = await self._runtime.prefect.read_flow_runs(
            flow_run_filter=FlowRunFilter(state=going), work_pool_filter=WorkPoolFilter(name=WorkPoolFilterName(any_=list(POOLS)))
        )
        claimed = await self._store.claimed()
        lost = {run.id: run for run in runs if str(run.id) not in claimed}
        found = False
        for flow_run in lost.keys() & self._suspects:
            logger.warning("No worker knows of the run %s that Prefect calls running; it starts again.", flow_run)
            state = lost[flow_run].state
            await self._again(flow_run, "No worker knows of it.", state.timestamp if state is not None else datetime.now(UTC))
            found = True
        self._suspects = lost.keys() - self._suspects
        return found

    async def _stuck_items(self) -> bool:
        """Buildsets under test whose run has ended: it starts again, unless somebody cancelled it before it began; then the item goes."""
        live = {UUID(run): buildset for run, buildset in (await self._store.live_buildsets()).items()}
        if not live:
            return False
        found = False
        for run in await self._ended(live):
            if run.state is not None and run.state.is_cancelled():
                await leave(self._runtime, live[run.id])
                continue
            logger.warning("The run '%s' ended without a report; it starts again.", run.name)
            found |= await start_again(self._runtime.prefect, run.id, "It ended without a report.")
        return found

    async def _unsaid(self) -> None:
        """Reports whose run has ended and left them unsaid (it was cancelled in that moment, or had tried for too long): the scheduler
        takes them over."""
        unsaid = {UUID(run): buildset for run, buildset in (await self._store.unsaid_by_runs()).items()}
        for run in await self._ended(unsaid) if unsaid else ():
            logger.warning("The run '%s' ended before all was said; it is said without it.", run.name)
            await self._store.hand_over(unsaid[run.id])

    async def _ended(self, runs: Collection[UUID]) -> list[FlowRun]:
        """Those of the runs that have ended and will not start again by themselves."""
        over = FlowRunFilterState(
            type=FlowRunFilterStateType(any_=[StateType.FAILED, StateType.CRASHED, StateType.COMPLETED, StateType.CANCELLED])
        )
        return await self._runtime.prefect.read_flow_runs(flow_run_filter=FlowRunFilter(id=FlowRunFilterId(any_=list(runs)), state=over))
