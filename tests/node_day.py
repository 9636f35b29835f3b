"""A day of node requests, generated and played against the rules of `headgate.nodes` on clouds that always obey."""

from __future__ import annotations

import heapq
import random
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from headgate.nodes import (
    PRECEDENCES,
    Capacity,
    Grant,
    Launch,
    NodeRecord,
    NodeState,
    Offer,
    Refuse,
    Request,
    Size,
    decide,
    share_fairly,
)

START = datetime(2026, 11, 23, tzinfo=UTC)
SIZES = {"small": Size(2, 2048), "standard": Size(8, 8192), "large": Size(16, 16384)}
OFFERS = (
    Offer("east", SIZES, Capacity(nodes=160, cores=1200)),
    Offer("west", SIZES, Capacity(nodes=110, ram=850_000), 110),
    Offer("spot", {"standard": SIZES["standard"]}, Capacity(nodes=40), 50),
)
TICK = timedelta(seconds=30)


@dataclass(frozen=True)
class Asked:
    request: Request
    project: str
    runs: timedelta


@dataclass(frozen=True)
class Served:
    asked: Asked
    waited: timedelta


def generate(count: int = 20_000, seed: int = 6) -> list[Asked]:
    """Requests over 24 hours with a rush in the afternoon and at the hour of the periodic jobs; one node mostly, sometimes two, rarely five
    or ten; from a few minutes to two hours."""
    chance = random.Random(seed)
    found = []
    for number in range(count):
        hour = chance.choices(range(24), [3, 3, 4, 2, 2, 2, 9, 3, 3, 4, 4, 4, 5, 6, 7, 7, 6, 5, 4, 4, 3, 3, 3, 3])[0]
        created = START + timedelta(hours=hour, seconds=chance.uniform(0, 3600 if hour != 6 else 300))
        nodes = chance.choices((1, 2, 5, 10), (88, 10, 1.5, 0.5))[0]
        label = chance.choices(("small", "standard", "large"), (15, 80, 5))[0]
        precedence = "low" if hour == 6 else chance.choices(("high", "normal"), (20, 80))[0]
        project = f"project-{min(int(chance.paretovariate(0.8)), 60)}"
        runs = timedelta(minutes=min(2 + chance.lognormvariate(2.0, 0.8), 120))
        found.append(Asked(Request(f"{number:05}", (label,) * nodes, created, PRECEDENCES[precedence]), project, runs))
    return sorted(found, key=lambda asked: asked.request.created)


def play(day: Sequence[Asked], offers: Sequence[Offer] = OFFERS) -> tuple[list[Served], list[Refuse]]:
    """Who was served when. A launched node is ready at once and lives as long as its job runs; a pass every `TICK`."""
    asked = {one.request.id: one for one in day}
    waiting: dict[str, Request] = {}
    coming = list(reversed(day))
    nodes: dict[str, list[NodeRecord]] = {}
    ends: list[tuple[datetime, str]] = []
    served: list[Served] = []
    refused: list[Refuse] = []
    now = START
    while coming or waiting:
        now += TICK
        while coming and coming[-1].request.created <= now:
            one = coming.pop()
            waiting[one.request.id] = one.request
        while ends and ends[0][0] <= now:
            nodes.pop(heapq.heappop(ends)[1])
        shared = share_fairly(list(waiting.values()), {name: asked[name].project for name in waiting})
        for action in decide(shared, [node for group in nodes.values() for node in group], offers, now).actions:
            if isinstance(action, Launch):
                request = waiting.pop(action.request)
                nodes[request.id] = [
                    NodeRecord(f"{request.id}-{n}", label, action.provider, NodeState.IN_USE, request=request.id)
                    for n, label in enumerate(request.labels)
                ]
                _check(nodes, offers)
                heapq.heappush(ends, (now + asked[request.id].runs, request.id))
                served.append(Served(asked[request.id], now - request.created))
            elif isinstance(action, Refuse):
                waiting.pop(action.request)
                refused.append(action)
            else:
                assert not isinstance(action, Grant), "nothing is ready ahead in this day"
    return served, refused


def _check(nodes: dict[str, list[NodeRecord]], offers: Sequence[Offer]) -> None:
    for offer in offers:
        count = sum(len(group) for group in nodes.values() if group and group[0].provider == offer.name)
        assert offer.capacity.nodes is None or count <= offer.capacity.nodes
