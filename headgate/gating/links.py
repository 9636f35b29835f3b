"""How changes hang together, as of what was read of them: the one place that joins readings of single patchsets.

Law: a change is as its newest reading says, whichever patchset that was of; a link counts if what it leads to was read. What a
change's message depends on means the newest patchset.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace

from headgate.changes import Change, Linked
from headgate.gating.facts import Known
from headgate.gating.state import Key

Place = tuple[str, int]
"""A change whatever its patchset: its connection and number."""


@dataclass(frozen=True, slots=True)
class Reading:
    """One patchset as its server told it, and the changes its message depends on. The one with the highest `turn` is the newest."""

    linked: Linked
    said: tuple[Place, ...] = ()
    turn: int = 0

    @property
    def key(self) -> Key:
        return self.linked.change.key

    @property
    def git_needs(self) -> tuple[Key, ...]:
        return tuple((self.key[0], *each) for each in self.linked.git_needs)

    @property
    def needed_by(self) -> tuple[Key, ...]:
        return tuple((self.key[0], *each) for each in self.linked.needed_by)

    def as_closed(self, before: Reading | None) -> Reading:
        """The reading of a closed change with the links it had when it was open: servers tell them no more."""
        if before is None:
            return replace(self, said=())
        linked = replace(self.linked, git_needs=before.linked.git_needs, needed_by=before.linked.needed_by)
        return replace(self, linked=linked, said=before.said)


class Links:
    """Look-ups over readings that stand still. Raise `LookupError` for a patchset that was not read."""

    def __init__(self, readings: Mapping[Key, Reading]) -> None:
        self._readings = readings
        self._patchsets: dict[Place, list[Key]] = {}
        for key in sorted(readings):
            self._patchsets.setdefault(key[:2], []).append(key)
        self._changes = {key: self._change(reading) for key, reading in readings.items()}
        self._topics: dict[tuple[str, str], list[Key]] = {}
        self._sayers: dict[Place, list[Key]] = {}
        self._children: dict[Key, list[Key]] = {}
        for key in self._current():
            reading, change = readings[key], self._changes[key]
            self._topics.setdefault((change.connection, change.topic), []).append(key)
            for place in reading.said:
                self._sayers.setdefault(place, []).append(key)
            for parent in reading.git_needs:
                self._children.setdefault(parent, []).append(key)
        self._known: dict[Key, Known] = {}

    def _change(self, reading: Reading) -> Change:
        """The patchset with what is the whole change's, which another patchset's reading may know better."""
        change = reading.linked.change
        patchsets = self._patchsets[change.key[:2]]
        newest = max((self._readings[key] for key in patchsets), key=lambda each: each.turn).linked.change
        return replace(
            change, open=newest.open, merged=newest.merged, wip=newest.wip, topic=newest.topic, hashtags=newest.hashtags,
            current=change.current and change.key == patchsets[-1],
        )  # fmt: skip

    def _current(self) -> Iterator[Key]:
        """Open changes at their current patchsets, in order of connection and number."""
        for keys in self._patchsets.values():
            change = self._changes[keys[-1]]
            if change.open and change.current:
                yield change.key

    def current(self, place: Place) -> Key | None:
        """The newest patchset that was read."""
        return next(reversed(self._patchsets.get(place, ())), None)

    def known(self, key: Key) -> Known:
        """Without `needs`."""
        found = self._known.get(key)
        if found is None:
            reading = self._reading(key)
            below = tuple(other for other in reading.git_needs if other in self._changes and not self._changes[other].merged)
            above = tuple(other for other in self._above(key, reading) if (change := self._changes[other]).open and change.current)
            linked = reading.linked
            found = self._known[key] = Known(self._changes[key], below, (), above, linked.missing_labels, linked.unsatisfied)
        return found

    def _reading(self, key: Key) -> Reading:
        reading = self._readings.get(key)
        if reading is None:
            raise LookupError(f"connection {key[0]}: change {key[1]},{key[2]} was never read")
        return reading

    def _above(self, key: Key, reading: Reading) -> Iterable[Key]:
        children = dict.fromkeys((*reading.needed_by, *self._children.get(key, ())))
        return (other for other in children if other in self._changes)

    def said_needs(self, key: Key) -> tuple[Key, ...]:
        """What its message depends on, without what is merged."""
        found = (self.current(place) for place in self._reading(key).said)
        return tuple(other for other in found if other is not None and not self._changes[other].merged)

    def same_topic(self, key: Key) -> tuple[Key, ...]:
        """Open changes of its topic, and of the topics of those they are on in git."""
        self._reading(key)
        topics = [(key[0], self._changes[key].topic)] if self._changes[key].topic else []
        found: dict[Key, None] = {}
        for topic in topics:  # grows while it is walked
            for other in self._topics.get(topic, ()):
                found[other] = None
                for parent in self.known(other).git_needs:
                    above = (parent[0], self._changes[parent].topic)
                    if above[1] and above not in topics:
                        topics.append(above)
        return tuple(found)

    def depending_on(self, key: Key) -> tuple[Key, ...]:
        """Open changes whose message depends on the change, whichever its patchset."""
        return tuple(self._sayers.get(key[:2], ()))

    def together(self, keys: Iterable[Key]) -> set[Key]:
        """Those of the patchsets that were read, and all they hang together with in any way."""
        found: set[Key] = set()
        waiting = [key for key in keys if key in self._readings]
        while waiting:
            key = waiting.pop()
            if key in found:
                continue
            found.add(key)
            reading = self._readings[key]
            said = (other for other in map(self.current, reading.said) if other is not None)
            below = (other for other in reading.git_needs if other in self._changes)
            waiting += [*said, *below, *self._above(key, reading), *self.depending_on(key), *self.same_topic(key)]
        return found
