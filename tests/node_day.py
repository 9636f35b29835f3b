"""A day of node requests, generated and played against the rules of `headgate.node_allocation` on clouds that always obey.

Every pass of it is checked: nobody exceeds a limit, a request's nodes are together, nobody is served before one who is first.
"""

from __future__ import annotations

import heapq
import random
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta

from headgate.node_allocation import PATIENCE, decide, in_order, share_fairly
from headgate.node_pools import Fill, Pool, keep_ready
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
)

START = datetime(2026, 11, 23, tzinfo=UTC)
SIZES = {"small": Size(2, 2048), "standard": Size(8, 8192), "large": Size(16, 16384)}
OFFERS = (
    Offer("east", SIZES, Capacity(nodes=160, cores=1200), zones=("one", "two", "three")),
    Offer("west", SIZES, Capacity(nodes=110, ram=850_000), 110),
    Offer("spot", {"standard": SIZES["standard"]}, Capacity(nodes=40), 50),
)
TICK = timedelta(seconds=30)
LARGE = 5
"""Nodes of a request that is called large."""
TENANTS = {"bounded": Capacity(nodes=30, cores=220)}
"""What each tenant that has a limit may have at once."""
POOLS = (Pool("small", 8, timedelta(hours=2)), Pool("standard", 6))


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
    or ten; from a few minutes to two hours. A project in four is of the tenant `bounded`."""
    chance = random.Random(seed)
    found = []
    for number in range(count):
        hour = chance.choices(range(24), [3, 3, 4, 2, 2, 2, 9, 3, 3, 4, 4, 4, 5, 6, 7, 7, 6, 5, 4, 4, 3, 3, 3, 3])[0]
        created = START + timedelta(hours=hour, seconds=chance.uniform(0, 3600 if hour != 6 else 300))
        nodes = chance.choices((1, 2, 5, 10), (88, 10, 1.5, 0.5))[0]
        label = chance.choices(("small", "standard", "large"), (15, 80, 5))[0]
        precedence = "low" if hour == 6 else chance.choices(("high", "normal"), (20, 80))[0]
        project = min(int(chance.paretovariate(0.8)), 60)
        tenant = "bounded" if project % 4 == 3 and label != "large" else "free"
        labels = (label,) * (min(nodes, 5) if tenant == "bounded" else nodes)
        runs = timedelta(minutes=min(2 + chance.lognormvariate(2.0, 0.8), 120))
        found.append(Asked(Request(f"{number:05}", labels, created, PRECEDENCES[precedence], tenant=tenant), f"project-{project}", runs))
    return sorted(found, key=lambda asked: asked.request.created)


class Day:
    """Who is served when. A launched node is ready at once and lives as long as its job runs; a pass every `TICK`."""

    def __init__(self, day: Sequence[Asked], offers: Sequence[Offer] = OFFERS) -> None:
        self.offers = {offer.name: offer for offer in offers}
        self.asked = {one.request.id: one for one in day}
        self.coming = list(reversed(day))
        self.waiting: dict[str, Request] = {}
        self.nodes: dict[str, NodeRecord] = {}
        self.ends: list[tuple[datetime, str, tuple[str, ...]]] = []
        self.served: list[Served] = []
        self.refused: list[Refuse] = []
        self.given: set[str] = set()
        self.went_past = 0
        """Requests that were served while a large one, before them in the order, waited and was not impatient yet."""
        self.overtaken: Counter[str] = Counter()
        """For each large request the nodes that went to others behind it in the order once it was impatient."""
        self.count = 0

    def play(self) -> None:
        now = START
        while self.coming or self.waiting:
            now += TICK
            while self.coming and self.coming[-1].request.created <= now:
                one = self.coming.pop()
                self.waiting[one.request.id] = one.request
            while self.ends and self.ends[0][0] <= now:
                for node in heapq.heappop(self.ends)[2]:
                    del self.nodes[node]
            shared = share_fairly(list(self.waiting.values()), {name: self.asked[name].project for name in self.waiting})
            before = len(self.served)
            for action in decide(shared, list(self.nodes.values()), list(self.offers.values()), now, TENANTS).actions:
                if isinstance(action, Refuse):
                    self.waiting.pop(action.request)
                    self.refused.append(action)
                else:
                    assert isinstance(action, Launch | Grant)
                    self.serve(action, now)
            now_served = {one.asked.request.id for one in self.served[before:]}
            self.check_order(shared, now_served)
            self.count_overtaking(shared, now_served, now)
            self.fill(now)
            self.check_limits()

    def new_node(self, label: str, provider: str, zone: str, now: datetime, request: str = "", tenant: str = "") -> str:
        self.count += 1
        state = NodeState.IN_USE if request else NodeState.READY
        self.nodes[f"node-{self.count}"] = NodeRecord(f"node-{self.count}", label, provider, state, zone, request, tenant, now)
        return f"node-{self.count}"

    def serve(self, action: Launch | Grant, now: datetime) -> None:
        request = self.waiting.pop(action.request)
        reused = action.reuse if isinstance(action, Launch) else action.nodes
        launched = action.labels if isinstance(action, Launch) else ()
        assert not self.given & set(reused), "a ready node was given twice"
        self.given |= set(reused)
        zone = action.zone if isinstance(action, Launch) else ""
        made = [self.new_node(label, action.provider, zone, now, request.id, request.tenant) for label in launched]
        for node in reused:
            self.nodes[node] = replace(self.nodes[node], request=request.id, tenant=request.tenant, state=NodeState.IN_USE)
        mine = [self.nodes[node] for node in (*reused, *made)]
        assert sorted(node.label for node in mine) == sorted(request.labels)
        assert len({(node.provider, node.zone) for node in mine}) == 1, "a request's nodes are in two places"
        heapq.heappush(self.ends, (now + self.asked[request.id].runs, request.id, tuple(node.id for node in mine)))
        self.served.append(Served(self.asked[request.id], now - request.created))

    def fill(self, now: datetime) -> None:
        """What is to be kept ready."""
        for action in keep_ready(POOLS, list(self.waiting.values()), list(self.nodes.values()), list(self.offers.values()), now):
            if isinstance(action, Fill):
                self.new_node(action.label, action.provider, action.zone, now)
            else:
                del self.nodes[action.node]

    def check_order(self, shared: Sequence[Request], served: set[str]) -> None:
        """Of requests that want the same and may have it, those that go on waiting come after those that were served."""
        last: dict[tuple[object, ...], tuple[object, ...]] = {}
        for request in shared:
            if request.id in served:
                shape, rank = (request.labels, request.tenant), (request.precedence, request.relative_priority, request.created)
                last[shape] = max(last.get(shape, rank), rank)
        for request in shared:
            if request.id in self.waiting and (reached := last.get((request.labels, request.tenant))):
                assert (request.precedence, request.relative_priority, request.created) > reached, "somebody was served out of turn"

    def count_overtaking(self, shared: Sequence[Request], served: set[str], now: datetime) -> None:
        waiting: list[Request] = []
        for request in in_order(shared):
            if request.id in self.waiting and len(request.labels) >= LARGE and request.tenant not in TENANTS:
                waiting.append(request)
            elif request.id in served:
                self.went_past += any(now - large.created < PATIENCE for large in waiting)
                for large in waiting:
                    if now - large.created >= PATIENCE and large.labels[0] == request.labels[0]:
                        self.overtaken[large.id] += len(request.labels)

    def check_limits(self) -> None:
        used: dict[str, Counter[str]] = {}
        for node in self.nodes.values():
            size = self.offers[node.provider].labels[node.label]
            for whose in (node.provider, f"tenant {node.tenant}"):
                used.setdefault(whose, Counter()).update(nodes=1, cores=size.cores, ram=size.ram)
        limits = {name: offer.capacity for name, offer in self.offers.items()} | {
            f"tenant {name}": limit for name, limit in TENANTS.items()
        }
        for whose, limit in limits.items():
            for what in ("nodes", "cores", "ram"):
                most = getattr(limit, what)
                assert most is None or used.get(whose, Counter())[what] <= most, f"{whose} has more {what} than {most}"
