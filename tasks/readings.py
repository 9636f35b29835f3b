"""Changes as last read from their servers, and all they hang together with: what the gate's rules know (headgate.gating.knowledge).

Law: a change is read when it is first met and again when somebody says that something happened to it; a reading leads on through
git, `Depends-On`, and topics if asked, to whatever was never read. What is half read when a server fails is not kept. Who needs
too much is not read at all; who is needed by too many is read without those, so that nobody can flood another one's change.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Coroutine, Iterable, Mapping, Sequence
from collections.abc import Set as AbstractSet
from typing import Any, TypeVar

from headgate.changes import Change
from headgate.depends_on import addresses_in, is_change_id
from headgate.gating import Key, Known
from headgate.gating.links import Links, Place, Reading
from headgate.problems import Problem
from tasks.connections import Connection

log = logging.getLogger(__name__)
T = TypeVar("T")
Wanted = tuple[str, int, int | None]
"""A change at a patchset, or at its current one."""

MOST_CHANGES = 1000
"""Changes that one reading may lead to that were never read, and addresses that one message may have."""
AT_ONCE = 8
"""Changes asked for at the same time, each with two requests; a Gerrit lets an account have some tens."""


class TooManyLinks(Problem, LookupError):
    """A change needs more others than anybody would want tested together: to the gate it is not there, now and later."""


class Readings:
    """What was read of changes of all connections, by name. It is `headgate.gating.knowledge.Read`: answers between two calls of
    `read` or `forget` are always the same. Look-ups raise `LookupError` for a patchset that was never read."""

    def __init__(self, connections: Mapping[str, Connection]) -> None:
        self.connections = connections
        self.readings: Mapping[Key, Reading] = {}
        self.searched: frozenset[Place] = frozenset()
        """Changes that are kept and whose dependents were searched for: later ones are found when they are read themselves."""
        self.turn = 0
        self._links = Links({})
        self._refs: dict[Key, Known] = {}

    async def read(self, key: Key, *, topics: bool = False, search: bool = False) -> None:
        """Read the patchset again, and whatever it leads to that was never read; with `topics` what shares a topic with any of
        it, with `search` what says it depends on any of it.

        Raises `ConnectionProblem` when a server cannot be asked, and `LookupError` when the patchset is not there or when it needs
        too many (`TooManyLinks`, one sentence); then all is as it was before.
        """
        self.turn += 1
        walk = _Walk(self, topics, search)
        await walk.go(key)
        readings = dict(self.readings)
        for each in walk.seen:
            meanwhile = readings.get(each)
            if meanwhile is None or meanwhile.turn <= walk.readings[each].turn:
                readings[each] = walk.readings[each]
        self._keep(readings, self.searched | walk.searched)

    def forget(self, keep: Iterable[Key]) -> None:
        """Drop every reading but those of `keep` and of what these hang together with."""
        keep = set(keep)
        self._refs = {key: known for key, known in self._refs.items() if key in keep}
        kept = self._links.together(keep)
        self._keep({key: reading for key, reading in self.readings.items() if key in kept}, self.searched)

    def _keep(self, readings: Mapping[Key, Reading], searched: AbstractSet[Place]) -> None:
        self.readings = readings
        self.searched = frozenset(searched & {key[:2] for key in readings})
        self._links = Links(readings)

    def keep_ref(self, change: Change) -> None:
        """Know a moved branch or tag (`headgate.refs`): it is all in the change, and hangs together with nothing."""
        self._refs[change.key] = Known(change)

    def current(self, connection: str, number: int) -> Key | None:
        """The newest patchset read of a change; None if nothing hangs on it: what happens to it need not be read."""
        return self._links.current((connection, number))

    def known(self, key: Key) -> Known:
        if key in self._refs:
            return self._refs[key]
        return self._links.known(key)

    def project(self, key: Key) -> str:
        change = self.known(key).change
        return f"{self.connections[change.connection].canonical_hostname}/{change.project}"

    def said_needs(self, key: Key) -> tuple[Key, ...]:
        if key in self._refs:
            return ()
        return self._links.said_needs(key)

    def same_topic(self, key: Key) -> tuple[Key, ...]:
        if key in self._refs:
            return ()
        return self._links.same_topic(key)

    def depending_on(self, key: Key) -> tuple[Key, ...]:
        if key in self._refs:
            return ()
        return self._links.depending_on(key)


class _Walk:
    """One `Readings.read`: in waves, each of all that the one before led to, asked for at once."""

    def __init__(self, known: Readings, topics: bool, search: bool) -> None:
        self.readings = dict(known.readings)
        self.searched = set(known.searched)
        self.turn = known.turn
        self.seen: set[Key] = set()
        self._connections, self._topics, self._search = known.connections, topics, search
        self._newest: dict[Place, int] = {}
        for key in self.readings:
            self._newest[key[:2]] = max(key[2], self._newest.get(key[:2], 0))
        self._absent: set[Wanted] = set()
        self._topics_asked: set[tuple[str, str]] = set()
        self._asked = 0
        self._slots = asyncio.Semaphore(AT_ONCE)

    async def go(self, start: Key) -> None:
        await self._read(start)
        self.searched.discard(start[:2])
        await self._follow_needs([start], start)
        followers = await self._followers(self.seen)
        while followers:
            readings, seen, searched = dict(self.readings), set(self.seen), set(self.searched)
            try:
                await self._read_new(followers, start)
                await self._follow_needs([key for key in map(self._found, followers) if key is not None], start)
                followers = await self._followers(self.seen - seen)
            except TooManyLinks as problem:
                log.warning("%s; what needs it comes in by itself", problem)
                self.readings, self.seen, self.searched = readings, seen, searched
                return

    async def _followers(self, keys: Iterable[Key]) -> list[Wanted]:
        """What needs these: in git, and, where that is searched and was not found before, by its message."""
        changes = [self.readings[key].linked.change for key in keys]
        new = [change for change in changes if change.open and change.key[:2] not in self.searched] if self._search else []
        self.searched.update(change.key[:2] for change in new)
        asked = [(name, connection, change) for change in new for name, connection in self._connections.items()]
        found = await _together(self._in_turn(connection.depending_on(change)) for _, connection, change in asked)
        sayers: list[Wanted] = [(name, number, None) for (name, _, _), numbers in zip(asked, found, strict=True) for number in numbers]
        return [*(each for key in keys for each in self.readings[key].needed_by), *sayers]

    async def _in_turn(self, asked: Coroutine[Any, Any, T]) -> T:
        async with self._slots:
            return await asked

    async def _follow_needs(self, wave: Sequence[Key], start: Key) -> None:
        """Read all that these need, however far."""
        while wave := [key for key in dict.fromkeys(wave) if key not in self.seen]:
            self.seen.update(wave)
            wanted = [*(each for key in wave for each in self._needs(key)), *await self._of_topics(wave)]
            await self._read_new(wanted, start)
            wave = [key for key in map(self._found, wanted) if key is not None]

    def _found(self, wanted: Wanted) -> Key | None:
        connection, number, patchset = wanted
        key = (connection, number, patchset or self._newest.get((connection, number), 0))
        return key if key in self.readings else None

    def _needs(self, key: Key) -> Iterable[Wanted]:
        reading = self.readings[key]
        return (*reading.git_needs, *((*place, None) for place in reading.said))

    async def _read_new(self, wanted: Iterable[Wanted], start: Key) -> None:
        new = [each for each in dict.fromkeys(wanted) if self._found(each) is None and each not in self._absent]
        self._asked += len(new)
        if self._asked > MOST_CHANGES:
            raise TooManyLinks(
                f"connection {start[0]}: change {start[1]},{start[2]} leads to more than {MOST_CHANGES} others through git, "
                "Depends-On and topics"
            )
        await _together(self._read_if_there(each) for each in new)

    async def _read_if_there(self, wanted: Wanted) -> None:
        try:
            await self._read(wanted)
        except TooManyLinks:
            raise
        except LookupError:
            self._absent.add(wanted)

    async def _read(self, wanted: Wanted) -> None:
        connection = self._connections[wanted[0]]
        async with self._slots:
            linked = await connection.linked(*wanted[1:])
            said = await self._said(connection, linked.change) if linked.change.open else ()
        reading = Reading(linked, said, self.turn)
        key = reading.key
        self.readings[key] = reading if linked.change.open else reading.as_closed(self.readings.get(key))
        self._newest[key[:2]] = max(key[2], self._newest.get(key[:2], 0))

    async def _said(self, connection: Connection, change: Change) -> tuple[Place, ...]:
        """The changes its message means: those by Change-Id first, as Zuul has them; itself is none."""
        addresses = addresses_in(change.message)
        if len(addresses) > MOST_CHANGES:
            raise TooManyLinks(f"connection {connection.name}: change {change} has more than {MOST_CHANGES} Depends-On")
        by_id = [each for each in addresses if is_change_id(each)]
        found = [(connection.name, number) for each in by_id for number in await connection.with_change_id(each)]
        for address in addresses:
            place = None if address in by_id else await self._place(address)
            found += [] if place is None else [place]
        return tuple(dict.fromkeys(place for place in found if place != change.key[:2]))

    async def _place(self, address: str) -> Place | None:
        for name, connection in self._connections.items():
            number = await connection.find_change(address)
            if number is not None:
                return (name, number)
        return None

    async def _of_topics(self, wave: Iterable[Key]) -> list[Wanted]:
        """Changes of those topics of the wave's that this walk has not asked for."""
        changes = [self.readings[key].linked.change for key in wave] if self._topics else []
        topics = {(change.connection, change.topic): None for change in changes if change.open and change.topic}
        new = [topic for topic in topics if topic not in self._topics_asked]
        self._topics_asked.update(new)
        found = await _together(self._in_turn(self._connections[name].same_topic(topic)) for name, topic in new)
        return [(name, number, None) for (name, _), numbers in zip(new, found, strict=True) for number in numbers]


async def _together(asked: Iterable[Coroutine[Any, Any, T]]) -> list[T]:
    """All answers, or the first error; nothing goes on behind it."""
    tasks = [asyncio.create_task(each) for each in asked]
    try:
        return await asyncio.gather(*tasks)
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
