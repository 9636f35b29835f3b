"""What the scheduler does after a turn: runs begun and stopped, reports made that no run makes.

Everything to be done is found in the store, so that after a crash it is found again; each step may be repeated.
"""

from __future__ import annotations

import asyncio
import logging
from collections import defaultdict
from uuid import UUID

import httpx
from sqlalchemy.exc import SQLAlchemyError

from headgate.problems import Problem
from headgate.records import GIVEN_UP, Buildset, Item, StoredReport
from tasks.buildsets import prepare_quietly
from tasks.connections import ConnectionProblem
from tasks.prefect_api import cancel_run, create_run, runs_topic
from tasks.reporting import PAUSES, as_report, comments_of, say
from tasks.runtime import Runtime

logger = logging.getLogger("headgate.scheduler")


class Actions:
    """Does what the store says is to be done. What takes long goes on beside the turns."""

    def __init__(self, runtime: Runtime) -> None:
        self._runtime = runtime
        self._store = runtime.store
        self._beside: dict[str, asyncio.Task[None]] = {}
        self._changes: defaultdict[tuple[str, int], asyncio.Lock] = defaultdict(asyncio.Lock)

    async def act(self) -> None:
        """One look at what is to be done."""
        wanted = await self._store.without_run()
        begun = await asyncio.gather(*(self._begin(buildset, item) for buildset, item in wanted if not item.ahead_only))
        for buildset, item in wanted:
            if item.ahead_only:
                self._do_beside(f"prepare {buildset.id}", self._prepare, buildset.id)
        if begun:
            await self._store.tell(runs_topic("changes"))
        await asyncio.gather(*(self._cancel(*each) for each in await self._store.given_up()))
        for report in await self._store.unsent():
            self._do_beside(f"report {report.id}", self._report, report)

    async def _begin(self, buildset: Buildset, item: Item) -> None:
        change = item.change
        run = await create_run(
            self._runtime.prefect,
            "gerrit-trigger/gerrit-trigger",
            name=f"{item.pipeline} {change.project} {change}",
            parameters={"buildset": buildset.id},
            key=buildset.id,
            tags=[f"change:{change.number}", f"project:{item.project}", f"pipeline:{item.pipeline}", f"tenant:{item.tenant}"],
        )
        await self._store.set_buildset(buildset.id, flow_run=str(run.id))

    async def _cancel(self, buildset: str, flow_run: str) -> None:
        await cancel_run(self._runtime.prefect, UUID(flow_run))
        await self._store.set_buildset(buildset, result=GIVEN_UP)

    # --- beside the turns -------------------------------------------------------------------------------------------------------------

    def _do_beside(self, name: str, work: object, argument: object) -> None:
        """Once at a time under one name."""
        if name not in self._beside:
            assert callable(work)
            self._beside[name] = task = asyncio.create_task(work(argument), name=name)
            task.add_done_callback(lambda _: self._beside.pop(name, None))

    async def _prepare(self, buildset_id: str) -> None:
        for pause in PAUSES:
            try:
                await prepare_quietly(buildset_id)
                return
            except (Problem, OSError, SQLAlchemyError, httpx.HTTPError) as problem:
                logger.warning("A change that others depend on could not be merged yet: %s", problem)
            await asyncio.sleep(pause)

    async def _report(self, report: StoredReport) -> None:
        change = report.change
        assert change is not None
        async with self._changes[(change.connection, change.number)]:
            for pause in PAUSES:
                try:
                    await self._say(report)
                    return
                except (ConnectionProblem, OSError, SQLAlchemyError, httpx.HTTPError) as problem:
                    logger.warning("What is to be said on %s could not be said yet: %s", change, problem)
                await asyncio.sleep(pause)

    async def _say(self, report: StoredReport) -> None:
        item = await self._store.item(report.item)
        if item is None or not await self._store.to_say(report.id, by_flow=False):
            return
        refused = ""
        comments = await comments_of(self._runtime, item, report)
        for reporter in report.reporters:
            refused = await say(self._runtime, reporter.connection, as_report(reporter, item, report, comments)) or refused
        await self._store.report_sent(report.id, refused)
        if refused:
            logger.warning("%s", refused)

    async def stop(self) -> None:
        """Leave off; what was not done is found again."""
        tasks = list(self._beside.values())
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
