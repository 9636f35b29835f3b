"""About how long requests will still wait, from how long nodes took to come up, and lived, lately.

Law: a request that has its provider waits until nodes of that provider are usually up. Any other waits for room: while as many nodes run
as there is room for, one ends each (mean life / number that run), counting the providers that could serve the request; it gets its nodes
when as many have ended as it and all before it that could be served there ask for, and then they must come up. Held nodes do not end.
It is a guess for people: nothing is decided by it, and where nothing has been seen yet nothing is guessed.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta


@dataclass(frozen=True, slots=True)
class Waiting:
    """A request: how many nodes it wants, where they could come from, and, if it has its provider, since when they are starting."""

    id: str
    nodes: int
    providers: frozenset[str]
    starting_since: datetime | None = None


@dataclass(frozen=True, slots=True)
class Life:
    """A node of the past: when it was asked for, could be logged in to, and was gone."""

    provider: str
    created: datetime
    up: datetime
    ended: datetime | None


def estimates(waiting: Sequence[Waiting], running: Mapping[str, int], past: Sequence[Life], now: datetime) -> dict[str, timedelta]:
    """How long each request waits still; `waiting` in the order they are served, `running` the nodes by provider that will end."""
    found: dict[str, timedelta] = {}
    for position, request in enumerate(waiting):
        here = [life for life in past if life.provider in request.providers]
        boot = _mean([life.up - life.created for life in here])
        if request.starting_since is not None:
            if boot is not None:
                found[request.id] = max(request.starting_since + boot - now, timedelta())
            continue
        life = _mean([life.ended - life.created for life in here if life.ended is not None])
        count = sum(running.get(provider, 0) for provider in request.providers)
        before = [other for other in waiting[:position] if other.starting_since is None and other.providers & request.providers]
        if life is not None and boot is not None and count:
            found[request.id] = life / count * (request.nodes + sum(other.nodes for other in before)) + boot
    return found


def _mean(spans: Sequence[timedelta]) -> timedelta | None:
    return sum(spans, timedelta()) / len(spans) if spans else None
