"""Events: kept as connections tell them and as timers fire, and heard by the pipelines in the next turn."""

from __future__ import annotations

import asyncio
import logging
from contextlib import aclosing, suppress
from dataclasses import replace
from datetime import UTC, datetime

from sqlalchemy.exc import SQLAlchemyError

from headgate.changes import Change, Event
from headgate.gating.announcing import ZUUL
from headgate.gating.turning import Turning
from headgate.refs import change_of_ref
from headgate.timers import TIMERS, Timer, event_of, firings, next_moment, timers_of
from services.knowing import Known
from services.reruns import rerun_as_asked
from tasks.connections import Connection, ConnectionProblem
from tasks.readings import TooManyLinks
from tasks.runtime import Runtime

logger = logging.getLogger("headgate.scheduler")

RETRY_SECONDS = 2.0
"""Pause before what met a broken outside is tried again."""
READING_EVENTS = frozenset({"change-merged", "ref-updated"})
"""Events after which a project's configuration may be another one."""


class Hearing:
    """`again` is set when events wait for a server that was out of reach."""

    def __init__(self, runtime: Runtime, turning: Turning, known: Known) -> None:
        self.again = False
        self._runtime = runtime
        self._store = runtime.store
        self._turning = turning
        self._known = known
        self._began = datetime.now(UTC)
        self._timers: dict[Timer, datetime] | None = None

    # --- what is told, into the store -------------------------------------------------------------------------------------------------

    async def listen(self, connection: Connection) -> None:
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

    async def fire_timers(self) -> None:
        """Make an event of every timer that fires, and one for what fired last while nobody was here."""
        while True:
            now = datetime.now(UTC)
            timers = [timer for layout in self._known.layouts for timer in timers_of(layout)]
            since = await self._store.last_event(TIMERS) or self._began
            known = self._timers  # one that came while we were here has missed nothing before
            self._timers = {timer: since if known is None else known.get(timer, now) for timer in timers}
            for firing in firings({timer: max(since, moment) for timer, moment in self._timers.items()}, now):
                name = firing.timer.project.partition("/")[2]
                head = (await self._runtime.caches.branches(firing.timer.project)).get(firing.timer.branch, "")
                await self._store.add_event(event_of(firing, name, head))
            following = next_moment(timers, now)
            self._known.layouts_changed.clear()
            with suppress(TimeoutError):
                await asyncio.wait_for(
                    self._known.layouts_changed.wait(), None if following is None else max(0.0, (following - now).total_seconds())
                )

    # --- what is new in the store, to the pipelines -----------------------------------------------------------------------------------

    async def hear_all(self, events: list[Event]) -> dict[str, str]:
        """Event id to what became of it, "" if pipelines hear of it. Events of a server that is out of reach wait, in their order."""
        heard: dict[str, str] = {}
        away: set[str] = set()
        for event in events:
            if event.connection in away:
                continue
            try:
                heard[event.id] = await self._hear(event)
            except ConnectionProblem as problem:
                self.later(problem)
                away.add(event.connection)
        return heard

    def later(self, problem: ConnectionProblem) -> None:
        """A server is out of reach: what needs it waits, everything else goes on."""
        logger.warning("%s; trying again in %.0f s.", problem, RETRY_SECONDS)
        self.again = True

    async def _hear(self, event: Event) -> str:
        """Bring the facts up to date for an event and let the pipelines have it; what became of it if no pipeline hears of it."""
        if event.connection == TIMERS:
            return self._hear_timer(event)
        if event.connection == ZUUL:
            return await self._hear_merge(event)
        connection = self._runtime.connections.get(event.connection)
        if connection is None:
            return "its connection is no longer configured"
        canonical = f"{connection.canonical_hostname}/{event.project}"
        if event.type in READING_EVENTS:
            await self._known.read_layouts(canonical)
        if event.type == "ref-updated" and event.ref.startswith(("refs/heads/", "refs/tags/")):
            return self._hear_ref(event, canonical, change_of_ref(event))
        if event.change is None:
            return "about no change"
        ours = self._known.has(canonical)
        if not ours and self._known.readings.current(event.connection, event.change) is None:
            return "its project is in no tenant"
        if again := await rerun_as_asked(self._runtime, event):
            return f"runs again: {', '.join(again)}"
        try:
            patchset = event.patchset or (await connection.change(event.change)).patchset
            key = (event.connection, event.change, patchset)
            await self._known.read(key)
        except TooManyLinks as problem:
            return str(problem)
        except LookupError:
            return "there is no such change"
        self._turning.hear(event, key)
        return ""

    def _hear_ref(self, event: Event, canonical: str, change: Change) -> str:
        if not self._known.has(canonical):
            return "its project is in no tenant"
        self._known.readings.keep_ref(change)
        self._turning.hear(event, change.key)
        return ""

    async def _hear_merge(self, event: Event) -> str:
        """A change has merged, of the project (its canonical name) that the event names: its open changes hear of it."""
        found = (layout.projects.by_canonical.get(event.project) for layout in self._known.layouts)
        known = next((each for each in found if each is not None), None)
        connection = self._runtime.connections.get(known.settings.connection) if known is not None else None
        if known is None or connection is None:
            return "its project is in no tenant"
        for number in await connection.open_changes(known.name):
            try:
                change = await connection.change(number)
                await self._known.read(change.key)
            except (LookupError, TooManyLinks):
                continue
            about = replace(event, project=change.project, branch=change.branch, ref=change.ref, change=number, patchset=change.patchset)
            self._turning.hear(about, change.key)
        return ""

    def _hear_timer(self, event: Event) -> str:
        """A timer's event is about a branch, on the connection of its project."""
        for layout in self._known.layouts:
            for known in layout.projects.by_canonical.values():
                if known.name == event.project and event.branch in known.branches:
                    change = replace(change_of_ref(event), connection=known.settings.connection)
                    return self._hear_ref(event, known.canonical, change)
        return "its project is in no tenant"
