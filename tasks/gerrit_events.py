"""Every event of a Gerrit, once, whatever happens to the connection.

Law: the stream is a hint. A line about a change means: read that change, and tell what was not told yet. After every
(re)connection, and again when Gerrit surely listens, the changes updated since the last event are read the same way.
"""

from __future__ import annotations

import asyncio
import json
import logging
import random
from collections.abc import AsyncGenerator
from datetime import UTC, datetime, timedelta
from typing import Any

from headgate.changes import Event
from headgate.gerrit_facts import EVENT_OPTIONS, changed_by, event_from_stream, events_of, needs_comments
from tasks.connection_settings import GerritSettings
from tasks.connections import ConnectionProblem
from tasks.gerrit_rest import GerritRest
from tasks.gerrit_ssh import event_stream

log = logging.getLogger(__name__)

FIRST_DELAY, LONGEST_DELAY = 0.5, 60.0
"""Seconds between attempts to connect, doubled each time; each wait is drawn from half of that to all of it."""
SETTLED = 3.0
"""Seconds after which a Gerrit that answered `stream-events` surely listens: it says yes a moment before."""
OVERLAP = timedelta(seconds=10)
"""How far before the last event a catch-up read begins: writes overlap, and may be heard out of the order of their times."""
PAGE = 100
REMEMBERED = 100_000


class Told:
    """Which events were told. Of those before `base` it knows nothing, and says they were."""

    def __init__(self, base: datetime) -> None:
        self.base = self.last = base
        self._ids: dict[str, datetime] = {}

    def new(self, events: list[Event]) -> list[Event]:
        """Those not told before; they count as told from now on."""
        fresh = [event for event in events if event.created >= self.base and event.id not in self._ids]
        for event in fresh:
            self._ids[event.id] = event.created
            self.last = max(self.last, event.created)
        while len(self._ids) > REMEMBERED:
            oldest = next(iter(self._ids))
            self.base = max(self.base, self._ids.pop(oldest) + timedelta(seconds=1))
        return fresh


class GerritEvents:
    """One run of `Connection.events`."""

    def __init__(self, settings: GerritSettings, rest: GerritRest) -> None:
        self.settings, self.rest = settings, rest

    async def follow(self, since: datetime | None) -> AsyncGenerator[Event, None]:
        told: Told | None = None
        delay = FIRST_DELAY
        while True:
            try:
                if told is None:
                    await self.rest.get("config/server/version")
                    told = Told(since - OVERLAP if since else self.rest.now or datetime.now(UTC))
                async with event_stream(self.settings) as lines:
                    log.info("connection %s: listening to Gerrit's events", self.settings.name)
                    settled: float | None = asyncio.get_running_loop().time() + SETTLED
                    line: str | None = None
                    while line != "":
                        for event in told.new(await self._read(line, told)):
                            yield event
                        try:
                            async with asyncio.timeout_at(settled):
                                line = await lines.readline()
                        except TimeoutError:
                            line = settled = None
                            delay = FIRST_DELAY
                log.warning("connection %s: Gerrit ended the stream of events; connecting again", self.settings.name)
            except ConnectionProblem as problem:
                log.warning("%s", problem)
            await asyncio.sleep(random.uniform(delay / 2, delay))  # noqa: S311 - jitter, no secret
            delay = min(2 * delay, LONGEST_DELAY)

    async def _read(self, line: str | None, told: Told) -> list[Event]:
        """What a line of the stream leads to; None stands for: anything may have happened."""
        if line is None:
            return await self._since(told.last - OVERLAP, told)
        try:
            hint = json.loads(line)
        except ValueError:
            raise ConnectionProblem(f"connection {self.settings.name}: Gerrit answered stream-events with: {line.strip()}") from None
        if hint.get("type") == "dropped-output":
            return await self._since(told.last - OVERLAP, told)
        number = changed_by(hint)
        if number is None:
            event = event_from_stream(self.settings.name, hint)
            return [event] if event else []
        try:
            return await self._events_of(await self.rest.get(f"changes/{number}", o=EVENT_OPTIONS), told)
        except LookupError:
            return []  # deleted meanwhile, or not ours to see

    async def _events_of(self, info: dict[str, Any], told: Told) -> list[Event]:
        comments: list[Any] = []
        if needs_comments(info, told.base):
            comments = (await self.rest.get(f"changes/{info['_number']}/comments")).get("/PATCHSET_LEVEL", [])
        try:
            return events_of(self.settings.name, info, comments)
        except (KeyError, TypeError, ValueError) as problem:  # one change in a form nobody foresaw must not end all events
            log.error("connection %s: change %s cannot be read: %r", self.settings.name, info["_number"], problem)
            return []

    async def _since(self, start: datetime, told: Told) -> list[Event]:
        """All events of all changes updated since `start`, in order of time."""
        events: list[Event] = []
        first = 0
        while True:
            query = f'since:"{max(start, told.base):%Y-%m-%d %H:%M:%S} +0000"'
            page = await self.rest.get("changes/", q=query, o=EVENT_OPTIONS, n=PAGE, S=first)
            for info in page:
                events += await self._events_of(info, told)
            if not page or not page[-1].get("_more_changes"):
                return sorted(events, key=lambda event: event.created)
            first += len(page)
