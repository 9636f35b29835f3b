"""The scheduler: events in, turns over the pipelines, runs started and stopped; and the reconciler that makes crashes normal.

One scheduler works at a time (a lease); another one waits to take over. A turn is short and repeatable: read what is new, decide
(`headgate.gating`), keep all of it at once, then act. It is made when something happened, never by the clock. What was to be done and was
not, because of a crash, is found in the store again.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from contextlib import suppress
from datetime import UTC, datetime
from typing import Any

import httpx
from prefect.exceptions import ObjectNotFound
from sqlalchemy.exc import SQLAlchemyError

from headgate.gating import Tenancy
from headgate.gating.state import Preparation
from headgate.problems import Problem
from headgate.records import Build
from services.actions import Actions
from services.commands import Commands
from services.hearing import RETRY_SECONDS, Hearing
from services.knowing import Known
from services.reconciler import Reconciler
from services.turns import Turns
from tasks.connections import ConnectionProblem
from tasks.database import Lease
from tasks.hurrying import destroy_discarded, fill_soon
from tasks.runtime import Runtime
from tasks.store import FACTS, new_id

logger = logging.getLogger("headgate.scheduler")

OUTSIDE = (Problem, ConnectionProblem, OSError, SQLAlchemyError, httpx.HTTPError, ObjectNotFound)
"""What may go wrong with everything outside: said, and tried again."""

ANOTHER = "Another `headgate up` works with this database: this one waits until it ends, and takes over. Stop one, or change `database:`."


class Scheduler:
    """Drives one installation. `run` returns when its lease is lost or it is cancelled. `say` tells a person one line."""

    def __init__(self, runtime: Runtime, say: Callable[[str], None] = logger.info) -> None:
        self._say = say
        self._runtime = runtime
        self._store = runtime.store
        self._turns = Turns(runtime.settings.web_url)
        self._known = Known(runtime, self._turns.turning)
        self._hearing = Hearing(runtime, self._turns.turning, self._known)
        self._commands = Commands(runtime.store, self._turns, self._known)
        self._actions = Actions(runtime)
        self.reconciler = Reconciler(runtime)
        self.ready = asyncio.Event()
        self._loaded = False
        self._marks: dict[str, str] = {}

    async def run(self) -> None:
        """Wait for the lease, then work until cancelled. Raises a `Problem` when the configuration cannot be read at all."""
        lease = await self._take_lease()
        try:
            await self._known.read_layouts()
            await self.reconciler.look()
            await fill_soon(self._runtime, "at the start", new_id())
            loops: list[asyncio.Task[Any]] = [
                asyncio.create_task(self._hearing.listen(connection), name=f"events of {name}")
                for name, connection in self._runtime.connections.items()
            ]
            loops.append(asyncio.create_task(self._make_turns(), name="turns"))
            loops.append(asyncio.create_task(self._hearing.fire_timers(), name="timers"))
            loops.append(asyncio.create_task(self.reconciler.run(), name="reconciler"))
            loops.append(asyncio.create_task(destroy_discarded(self._runtime), name="nodes to destroy"))
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
                await self._actions.stop()
        finally:
            await lease.release()

    async def _take_lease(self) -> Lease:
        said = False
        while True:
            lease = await Lease.take(self._runtime.database_url, "scheduler")
            if lease is not None:
                return lease
            if not said:
                self._say(ANOTHER)
                said = True
            await asyncio.sleep(RETRY_SECONDS)

    # --- turns ------------------------------------------------------------------------------------------------------------------------

    async def _make_turns(self) -> None:
        async with self._store.watch("events", FACTS) as happened:
            while True:
                happened.clear()
                try:
                    await self.make_turn()
                except OUTSIDE as problem:
                    logger.error("A turn did not finish and will be repeated: %s", problem)
                    self._loaded = False  # what was decided and not kept is decided again
                    await asyncio.sleep(RETRY_SECONDS)
                    continue
                with suppress(TimeoutError):
                    await asyncio.wait_for(happened.wait(), RETRY_SECONDS if self._hearing.again else None)

    async def make_turn(self) -> None:
        """Everything there is to decide now, and to do."""
        if not self._loaded:
            await self._load()
            self._loaded = True
        events = await self._store.new_events()
        commands = await self._store.new_commands()
        self._hearing.again = False
        heard = await self._hearing.hear_all(events)
        await self._take_results()  # first, so that nobody takes out by hand what has just merged
        obeyed = {command.id: await self._commands.obey(command) for command in commands}
        turn = self._turns.make(datetime.now(UTC))
        for event in events:
            if event.id not in heard:
                continue
            places = [f"{item.tenant}/{item.pipeline}" for item in turn.entered if item.event == event.id and not item.ahead_only]
            turn.heard[event.id] = heard[event.id] or (f"entered {', '.join(places)}" if places else "entered no pipeline")
            logger.info("%s %s %s: %s", event.type, event.project, event.change or event.ref, turn.heard[event.id])
        for command in commands:
            turn.commanded[command.id] = obeyed[command.id] or self._commands.outcome(command, turn)
        if turn:
            await self._store.keep_turn(turn)
        self._known.readings.forget(self._turns.changes())
        await self._actions.act()

    async def _load(self) -> None:
        """The pipelines as the last turn left them, with every change in them read anew."""
        await self._known.read_all()
        seed = self._runtime.owner
        tenancies: dict[str, Tenancy] = {}
        for name, facts in self._turns.turning.facts.items():
            tenancies[name] = await self._store.tenancy(name, list(facts.layout.pipelines), f"{seed}/{name}")
        self._marks = {}
        self._turns.load(tenancies, (await self._store.live_buildsets()).values())
        self._known.keep_refs(each for item in await self._store.live_items() for each in item.changes if each.is_ref)
        for key in sorted(self._turns.changes()):
            try:
                await self._known.read(key)
            except LookupError:
                logger.warning("The change %s,%s of %s is no longer there.", key[1], key[2], key[0])

    async def _take_results(self) -> None:
        """What became of everything that the pipelines wait for."""
        items = [item for _, _, item in self._turns.items()]
        asked = [item.buildset.id for item in items if item.buildset.preparation == Preparation.ASKED]
        for buildset in await self._store.prepared_of(asked) if asked else ():
            self._turns.take_prepared(buildset)
        going = [item.buildset.id for item in items if item.live and item.buildset.builds]
        marks = await self._store.marks_of(going) if going else {}
        news = [buildset for buildset, mark in marks.items() if self._marks.get(buildset) != mark]
        by_buildset: dict[str, list[Build]] = {}
        for build in await self._store.builds_of(news) if news else ():
            by_buildset.setdefault(build.buildset, []).append(build)
        for buildset_id, builds in by_buildset.items():
            self._turns.take_builds(buildset_id, builds)
        self._marks = marks
        reporting = {item.buildset.id: item.changes for item in items if item.reporting}
        for buildset_id, reports in (await self._store.answers(list(reporting)) if reporting else {}).items():
            try:
                for key in reporting[buildset_id]:
                    await self._known.read(key)
            except ConnectionProblem as problem:
                self._hearing.later(problem)
            except LookupError as gone:
                logger.warning("A change that was to merge is no longer there: %s", gone)
                self._turns.take_answers(buildset_id, reports)
            else:
                self._turns.take_answers(buildset_id, reports)
