"""Nodes kept ready ahead of any request, and nodes that are kept too long.

Law: of each label `min_ready` nodes are ready or on their way that belong to no request. They are launched where the label is cheapest and
there is room that nobody waits for; a request that waits goes before. A ready node older than `max_ready_age` goes away (its successor
comes by the first sentence), and so does what failed or was left by a launcher that is gone.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from headgate.node_allocation import decide
from headgate.nodes import Destroy, Launch, NodeRecord, NodeState, Offer, Request
from headgate.settings import LabelSettings

POOL_PRECEDENCE = 900
"""After every request of a pipeline; Nodepool's number."""


@dataclass(frozen=True, slots=True)
class Pool:
    """How many nodes of a label wait for requests, and for how long at most (None: for ever)."""

    label: str
    min_ready: int
    max_ready_age: timedelta | None = None


@dataclass(frozen=True, slots=True)
class Fill:
    """Launch a node of the label that belongs to no request."""

    label: str
    provider: str
    zone: str


def keep_ready(
    pools: Sequence[Pool], requests: Sequence[Request], nodes: Sequence[NodeRecord], offers: Sequence[Offer], now: datetime
) -> tuple[Fill | Destroy, ...]:
    """What the pools need now. `requests` are those that wait: nothing is launched for a pool while one of them could have that room."""
    spare = [node for node in nodes if not node.request]
    old = _too_old(pools, spare, now)
    gone = [Destroy(node.id) for node in spare if node.state is NodeState.FAILED or node.id in old]
    present = Counter(node.label for node in spare if node.state in (NodeState.READY, NodeState.BUILDING) and node.id not in old)
    wanted = [
        Request(f"pool {pool.label} {number}", (pool.label,), now, POOL_PRECEDENCE)
        for pool in pools
        for number in range(pool.min_ready - present[pool.label])
    ]
    # without the ready nodes: a pool's request is for one more
    taken = [node for node in nodes if node.request or node.state is not NodeState.READY]
    taken += [
        NodeRecord(node.id, node.label, node.provider, NodeState.IN_USE, node.zone) for node in spare if node.state is NodeState.READY
    ]
    plan = decide([*requests, *wanted], taken, offers, now)
    names = {request.id: request.labels[0] for request in wanted}
    fills = [
        Fill(names[action.request], action.provider, action.zone)
        for action in plan.actions
        if isinstance(action, Launch) and action.request in names
    ]
    return (*gone, *fills)


def _too_old(pools: Sequence[Pool], spare: Sequence[NodeRecord], now: datetime) -> set[str]:
    ages: Mapping[str, timedelta | None] = {pool.label: pool.max_ready_age for pool in pools}
    old = set()
    for node in spare:
        age = ages.get(node.label)
        if node.state is NodeState.READY and age is not None and node.changed is not None and now - node.changed > age:
            old.add(node.id)
    return old


def pools_of(labels: Sequence[LabelSettings]) -> list[Pool]:
    """The pools that the configuration file asks for."""
    return [Pool(label.name, label.min_ready, timedelta(seconds=label.max_ready_age) if label.max_ready_age else None) for label in labels]
