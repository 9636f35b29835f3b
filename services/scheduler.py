"""The scheduler: events in, passes over the queues, runs started and stopped; and the reconciler that makes crashes normal.

One scheduler works at a time (a lease); another one waits to take over. A pass is short and repeatable: load what is new and what is live,
decide (`headgate.queues`), save, then act. It runs when something changed, never by the clock. The reconciler compares the store with what
Prefect knows and with which workers are alive.
"""

from __future__ import annotations

import asyncio
import logging
from contextlib import aclosing
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

import httpx
from prefect.exceptions import ObjectNotFound
from sqlalchemy.exc import SQLAlchemyError

from headgate.changes import Change, Event
from headgate.configuration import Layout
from headgate.problems import Problem
from headgate.queues import MANAGERS, CancelItem, StartItem, actions, decide
from headgate.records import Item
from services.reconciler import Reconciler
from tasks.connections import Connection, ConnectionProblem
from tasks.database import Lease
from tasks.prefect_api import cancel_run, create_run, runs_topic
from tasks.runtime import Runtime
from tasks.store import new_id

logger = logging.getLogger("headgate.scheduler")

RETRY_SECONDS = 2.0
"""Pause before a pass that met a broken outside is tried again."""
READING_EVENTS = frozenset({"change-merged", "ref-updated"})
"""Events after which a project's configuration may be another one."""


class Scheduler:
    """Drives one installation. `run` returns when its lease is lost or it is cancelled."""

    def __init__(self, runtime: Runtime) -> None:
        self._runtime = runtime
        self._store = runtime.store
        self._layouts: dict[str, Layout] = {}
        self.reconciler = Reconciler(runtime)
        self.ready = asyncio.Event()
        self._began = datetime.now(UTC)

    async def run(self) -> None:
        """Wait for the lease, then work until cancelled. Raises a `Problem` when the configuration cannot be read at all."""
        lease = await self._take_lease()
        try:
            await self._read_layouts()
            await self.reconciler.look()
            loops: list[asyncio.Task[Any]] = [
                asyncio.create_task(self._listen(connection), name=f"events of {name}")
                for name, connection in self._runtime.connections.items()
            ]
            loops.append(asyncio.create_task(self._passes(), name="passes"))
            loops.append(asyncio.create_task(self.reconciler.run(), name="reconciler"))
            loops.append(asyncio.create_task(lease.lost.wait(), name="lease"))
            self.ready.set()
            try:
                done, _ = await asyncio.wait(loops, return_when=asyncio.FIRST_COMPLETED)
                for task in done:
                    task.result()
            finally:
                for task in loops:
                    task.cancel()
                await asyncio.gather(*loops, return_exceptions=True)
        finally:
            await lease.release()

    async def _take_lease(self) -> Lease:
        said = False
        while True:
            lease = await Lease.take(self._runtime.database_url, "scheduler")
            if lease is not None:
                return lease
            if not said:
                logger.info("Another scheduler is at work on this database; waiting to take over.")
                said = True
            await asyncio.sleep(RETRY_SECONDS)

    # --- configuration ----------------------------------------------------------------------------------------------------------------

    async def _read_layouts(self, project: str | None = None) -> None:
        """Read every tenant's configuration, or only tenants that have `project` (a canonical name), fetching only that."""
        tenants = self._runtime.tenants
        for tenant in tenants.tenants():
            if project is not None and project not in {tenants.canonical(each) for each in tenant.projects}:
                continue
            layout = await tenants.read(tenant, None if project is None else [project])
            self._layouts[tenant.name] = layout
            errors = [problem for problem in layout.problems if problem.severity == "error"]
            logger.info("Tenant %s: %d pipelines, %d errors.", tenant.name, len(layout.pipelines), len(errors))
            for problem in errors:
                logger.warning("%s", problem)
            for pipeline in layout.pipelines.values():
                if pipeline.manager not in MANAGERS:
                    logger.warning("Pipeline %s of tenant %s is not run: its manager is %s.", pipeline.name, tenant.name, pipeline.manager)

    # --- events -----------------------------------------------------------------------------------------------------------------------

    async def _listen(self, connection: Connection) -> None:
        """Keep every event of a connection; it reconnects by itself, and a refusal is said and tried again."""
        delay = RETRY_SECONDS
        while True:
            try:
                # for one that has told nothing yet: from when we said we were there, not from when it is first reached
                since = await self._store.last_event(connection.name) or self._began
                async with aclosing(connection.events(since)) as events:
                    async for event in events:
                        await self._store.add_event(event)
                        delay = RETRY_SECONDS
            except ConnectionProblem as problem:
                logger.error("%s", problem)
            except (OSError, SQLAlchemyError) as problem:
                logger.error("Events of %s are not being kept: %s", connection.name, problem)
            await asyncio.sleep(delay)
            delay = min(delay * 2, 60)

    async def _change(self, event: Event) -> Change | None:
        """The change an event is about, as it is now; at the event's patchset where it names one."""
        if event.change is None:
            return None
        try:
            return await self._runtime.connections[event.connection].change(event.change, event.patchset)
        except LookupError:
            return None

    async def handle(self, event: Event) -> None:
        """One event, decided and recorded."""
        connection = self._runtime.connections.get(event.connection)
        if connection is None:
            await self._store.apply(event, (), (), "its connection is no longer configured")
            return
        canonical = f"{connection.canonical_hostname}/{event.project}"
        if event.type in READING_EVENTS:
            await self._read_layouts(canonical)
        change = await self._change(event)
        live = await self._store.live_items()
        decision = decide(event, change, self._layouts, canonical, live, datetime.now(UTC), new_id)
        await self._store.apply(event, decision.enqueue, decision.dequeue, decision.outcome)
        logger.info("%s %s %s: %s", event.type, event.project, change or event.ref, decision.outcome)

    # --- passes -----------------------------------------------------------------------------------------------------------------------

    async def _passes(self) -> None:
        async with self._store.watch("events", "queues") as changed:
            while True:
                changed.clear()
                try:
                    await self.run_pass()
                except (Problem, ConnectionProblem, OSError, SQLAlchemyError, httpx.HTTPError, ObjectNotFound) as problem:
                    logger.error("A pass did not finish and will be repeated: %s", problem)
                    await asyncio.sleep(RETRY_SECONDS)
                    continue
                await changed.wait()

    async def run_pass(self) -> None:
        """Everything there is to do now."""
        for event in await self._store.new_events():
            await self.handle(event)
        todo = actions(await self._store.unfinished_items())
        await asyncio.gather(*(self._act(action) for action in todo))
        if any(isinstance(action, StartItem) for action in todo):
            await self._store.tell(runs_topic("changes"))

    async def _act(self, action: StartItem | CancelItem) -> None:
        if isinstance(action, StartItem):
            await self._start(action.item)
        else:
            assert action.item.flow_run is not None
            await cancel_run(self._runtime.prefect, UUID(action.item.flow_run))
            await self._store.set_item(action.item.id, cancelled=datetime.now(UTC))

    async def _start(self, item: Item) -> None:
        change = item.change
        run = await create_run(
            self._runtime.prefect,
            "gerrit-trigger/gerrit-trigger",
            name=f"{item.pipeline} {change.project} {change}",
            parameters={"item": item.id},
            key=item.id,
            tags=[f"change:{change.number}", f"project:{item.project}", f"pipeline:{item.pipeline}", f"tenant:{item.tenant}"],
        )
        await self._store.set_item(item.id, flow_run=str(run.id))
