"""The scheduler: events in, turns over the pipelines, runs started and stopped; and the reconciler that makes crashes normal.

One scheduler works at a time (a lease); another one waits to take over. A turn is short and repeatable: read what is new, decide
(`headgate.gating`), keep all of it at once, then act. It is made when something happened, never by the clock. What was to be done and was
not, because of a crash, is found in the store again.
"""

from __future__ import annotations

import asyncio
import logging
from contextlib import aclosing, suppress
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import httpx
from prefect.exceptions import ObjectNotFound
from sqlalchemy.exc import SQLAlchemyError

from headgate.changes import Change, Event
from headgate.configuration import Layout
from headgate.gating import AskedDequeue, AskedEnqueue, AskedPromote, Key, Tenancy
from headgate.gating.knowledge import Knowledge
from headgate.gating.state import Preparation
from headgate.problems import Problem
from headgate.records import Command, CommandKind
from headgate.refs import change_of_ref
from headgate.timers import TIMERS, event_of, firings, next_moment, timers_of
from services.actions import Actions
from services.reconciler import Reconciler
from services.reruns import rerun_as_asked
from services.turns import Turns
from tasks.connections import Connection, ConnectionProblem
from tasks.database import Lease
from tasks.readings import Readings, TooManyLinks
from tasks.runtime import Runtime
from tasks.store import FACTS, Turn

logger = logging.getLogger("headgate.scheduler")

RETRY_SECONDS = 2.0
"""Pause before a turn that met a broken outside is tried again."""
READING_EVENTS = frozenset({"change-merged", "ref-updated"})
"""Events after which a project's configuration may be another one."""
OUTSIDE = (Problem, ConnectionProblem, OSError, SQLAlchemyError, httpx.HTTPError, ObjectNotFound)
"""What may go wrong with everything outside: said, and tried again."""


class Scheduler:
    """Drives one installation. `run` returns when its lease is lost or it is cancelled."""

    def __init__(self, runtime: Runtime) -> None:
        self._runtime = runtime
        self._store = runtime.store
        self._readings = Readings(runtime.connections)
        self._turns = Turns(runtime.settings.web_url)
        self._actions = Actions(runtime)
        self.reconciler = Reconciler(runtime)
        self.ready = asyncio.Event()
        self._began = datetime.now(UTC)
        self._loaded = False
        self._again = False
        self._reread = asyncio.Event()
        self._links: dict[str, tuple[bool, bool]] = {}

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
            loops.append(asyncio.create_task(self._make_turns(), name="turns"))
            loops.append(asyncio.create_task(self._fire_timers(), name="timers"))
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
            former = self._turns.turning.facts.get(tenant.name)
            if former is not None and former.layout is layout:
                continue
            self._links[tenant.name] = _links_wanted(layout)
            self._reread.set()
            self._turns.turning.know(tenant.name, Knowledge(layout, self._readings, f"{self._runtime.settings.web_url}/"))
            self._say_errors(layout)

    @staticmethod
    def _say_errors(layout: Layout) -> None:
        errors = [problem for problem in layout.problems if problem.severity == "error"]
        logger.info("Tenant %s: %d pipelines, %d errors.", layout.tenant.name, len(layout.pipelines), len(errors))
        for problem in errors:
            logger.warning("%s", problem)

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

    async def _hear_all(self, events: list[Event]) -> dict[str, str]:
        """Event id to what became of it, "" if pipelines hear of it. Events of a server that is out of reach wait, in their order."""
        heard: dict[str, str] = {}
        away: set[str] = set()
        for event in events:
            if event.connection in away:
                continue
            try:
                heard[event.id] = await self._hear(event)
            except ConnectionProblem as problem:
                self._later(problem)
                away.add(event.connection)
        return heard

    def _later(self, problem: ConnectionProblem) -> None:
        """A server is out of reach: what needs it waits, everything else goes on."""
        logger.warning("%s; trying again in %.0f s.", problem, RETRY_SECONDS)
        self._again = True

    async def _hear(self, event: Event) -> str:
        """Bring the facts up to date for an event and let the pipelines have it; what became of it if no pipeline hears of it."""
        if event.connection == TIMERS:
            return self._hear_timer(event)
        connection = self._runtime.connections.get(event.connection)
        if connection is None:
            return "its connection is no longer configured"
        canonical = f"{connection.canonical_hostname}/{event.project}"
        if event.type in READING_EVENTS:
            await self._read_layouts(canonical)
        if event.type == "ref-updated" and event.ref.startswith(("refs/heads/", "refs/tags/")):
            return self._hear_ref(event, canonical, change_of_ref(event))
        if event.change is None:
            return "about no change"
        ours = any(canonical in facts.layout.projects.by_canonical for facts in self._turns.turning.facts.values())
        if not ours and self._readings.current(event.connection, event.change) is None:
            return "its project is in no tenant"
        if again := await rerun_as_asked(self._runtime, event):
            return f"runs again: {', '.join(again)}"
        try:
            patchset = event.patchset or (await connection.change(event.change)).patchset
            key = (event.connection, event.change, patchset)
            await self._read(key)
        except TooManyLinks as problem:
            return str(problem)
        except LookupError:
            return "there is no such change"
        self._turns.turning.hear(event, key)
        return ""

    def _hear_ref(self, event: Event, canonical: str, change: Change) -> str:
        if not any(canonical in facts.layout.projects.by_canonical for facts in self._turns.turning.facts.values()):
            return "its project is in no tenant"
        self._readings.keep_ref(change)
        self._turns.turning.hear(event, change.key)
        return ""

    def _hear_timer(self, event: Event) -> str:
        """A timer's event is about a branch, on the connection of its project."""
        for facts in self._turns.turning.facts.values():
            for known in facts.layout.projects.by_canonical.values():
                if known.name == event.project and event.branch in known.branches:
                    change = replace(change_of_ref(event), connection=known.settings.connection)
                    return self._hear_ref(event, known.canonical, change)
        return "its project is in no tenant"

    # --- timers -----------------------------------------------------------------------------------------------------------------------

    async def _fire_timers(self) -> None:
        """Make an event of every timer that fires, and one for what fired last while nobody was here."""
        while True:
            now = datetime.now(UTC)
            timers = [timer for facts in self._turns.turning.facts.values() for timer in timers_of(facts.layout)]
            since = await self._store.last_event(TIMERS) or self._began
            for firing in firings(timers, since, now):
                name = firing.timer.project.partition("/")[2]
                head = (await self._runtime.caches.branches(firing.timer.project)).get(firing.timer.branch, "")
                await self._store.add_event(event_of(firing, name, head))
            following = next_moment(timers, now)
            self._reread.clear()
            with suppress(TimeoutError):
                await asyncio.wait_for(self._reread.wait(), None if following is None else max(0.0, (following - now).total_seconds()))

    async def _read(self, key: Key) -> None:
        if key[2] == 0:
            return  # a branch or tag: all there is to know of it was in its event
        topics, gates = (any(each) for each in zip(*self._links.values(), strict=True)) if self._links else (False, False)
        await self._readings.read(key, topics=topics, search=gates)
        for facts in self._turns.turning.facts.values():
            if isinstance(facts, Knowledge):
                facts.forget_links()

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
                    await asyncio.wait_for(happened.wait(), RETRY_SECONDS if self._again else None)

    async def make_turn(self) -> None:
        """Everything there is to decide now, and to do."""
        if not self._loaded:
            await self._load()
            self._loaded = True
        events = await self._store.new_events()
        commands = await self._store.new_commands()
        self._again = False
        heard = await self._hear_all(events)
        obeyed = {command.id: await self._obey(command) for command in commands}
        await self._take_results()
        turn = self._turns.make(datetime.now(UTC))
        for event in events:
            if event.id not in heard:
                continue
            places = [f"{item.tenant}/{item.pipeline}" for item in turn.entered if item.event == event.id and not item.ahead_only]
            turn.heard[event.id] = heard[event.id] or (f"entered {', '.join(places)}" if places else "entered no pipeline")
            logger.info("%s %s %s: %s", event.type, event.project, event.change or event.ref, turn.heard[event.id])
        for command in commands:
            turn.commanded[command.id] = obeyed[command.id] or self._outcome(command, turn)
        if turn:
            await self._store.keep_turn(turn)
        self._readings.forget(self._turns.changes())
        await self._actions.act()

    async def _load(self) -> None:
        """The pipelines as the last turn left them, with every change in them read anew."""
        for tenant in self._runtime.tenants.tenants():
            if tenant.name not in self._turns.turning.facts:
                await self._read_layouts()
        seed = self._runtime.owner
        tenancies: dict[str, Tenancy] = {}
        for name, facts in self._turns.turning.facts.items():
            tenancies[name] = await self._store.tenancy(name, list(facts.layout.pipelines), f"{seed}/{name}")
        self._turns.load(tenancies, (await self._store.live_buildsets()).values())
        for change in (each for item in await self._store.live_items() for each in item.changes if each.is_ref):
            self._readings.keep_ref(change)
        for key in sorted(self._turns.changes()):
            try:
                await self._read(key)
            except LookupError:
                logger.warning("The change %s,%s of %s is no longer there.", key[1], key[2], key[0])

    async def _take_results(self) -> None:
        """What became of everything that the pipelines wait for."""
        items = [item for _, _, item in self._turns.items()]
        asked = [item.buildset.id for item in items if item.buildset.preparation == Preparation.ASKED]
        for buildset in await self._store.prepared_of(asked) if asked else ():
            self._turns.take_prepared(buildset)
        going = [item.buildset.id for item in items if item.live and item.buildset.builds]
        builds = await self._store.builds_of(going) if going else []
        for buildset_id in dict.fromkeys(build.buildset for build in builds):
            self._turns.take_builds(buildset_id, [build for build in builds if build.buildset == buildset_id])
        reporting = {item.buildset.id: item.changes for item in items if item.reporting}
        for buildset_id, reports in (await self._store.answers(list(reporting)) if reporting else {}).items():
            try:
                for key in reporting[buildset_id]:
                    await self._read(key)
            except ConnectionProblem as problem:
                self._later(problem)
            except LookupError as gone:
                logger.warning("A change that was to merge is no longer there: %s", gone)
                self._turns.take_answers(buildset_id, reports)
            else:
                self._turns.take_answers(buildset_id, reports)

    async def _obey(self, command: Command) -> str:
        """Give a command to its pipeline; why not, if that cannot be."""
        facts = self._turns.turning.facts.get(command.tenant)
        if facts is None:
            return f"there is no tenant {command.tenant}"
        if command.pipeline not in facts.layout.pipelines:
            return f"tenant {command.tenant} has no pipeline {command.pipeline}"
        if command.kind == CommandKind.RESUME:
            return await self._resume(command)
        for key in command.changes:
            try:
                await self._read(key)
            except KeyError:
                return f"there is no connection {key[0]}"
            except TooManyLinks as problem:
                return str(problem)
            except LookupError:
                return f"there is no change {key[1]},{key[2]} at {key[0]}"
        if command.kind == CommandKind.PROMOTE:
            self._turns.turning.ask(command.tenant, command.pipeline, AskedPromote(command.changes))
            return ""
        for key in command.changes:
            if command.kind == CommandKind.DEQUEUE:
                self._turns.reasons[key] = command.reason or "dequeued by hand"
                self._turns.turning.ask(command.tenant, command.pipeline, AskedDequeue(key))
            else:
                self._turns.turning.ask(command.tenant, command.pipeline, AskedEnqueue(key))
        return ""

    async def _resume(self, command: Command) -> str:
        item = await self._store.item_state(command.item)
        if item is None:
            return f"there is no item {command.item}"
        for key in item.changes:
            await self._read(key)
        pipeline = self._turns.turning.facts[command.tenant].layout.pipelines[command.pipeline]
        if pipeline.manager == "independent" and not item.base:
            self._turns.resume(command.tenant, command.pipeline, item)
        else:
            for key in item.changes:
                self._turns.turning.ask(command.tenant, command.pipeline, AskedEnqueue(key, item.event, again=True))
        return ""

    @staticmethod
    def _outcome(command: Command, turn: Turn) -> str:
        """What became of a command, for who gave it."""
        if command.kind == CommandKind.RESUME:
            return "resumed" if command.item in turn.resumed else "enqueued anew" if turn.entered else "it is there again by itself"
        if command.kind == CommandKind.DEQUEUE:
            return "dequeued" if turn.left else "it was not there"
        return "done" if turn.states else "nothing changed"


def _links_wanted(layout: Layout) -> tuple[bool, bool]:
    """Does any queue count topics as dependencies; does any pipeline let in what waited for a change?"""
    queues = (found.value for (kind, _), found in layout.state.named.items() if kind == "queue")
    gates = any(pipeline.manager == "dependent" for pipeline in layout.pipelines.values())
    return any(queue.dependencies_by_topic for queue in queues), gates
