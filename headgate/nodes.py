"""Nodes, requests for them and the places they come from, as the rules see them, and what the rules may decide about them.

The rules: `headgate.node_allocation`, `headgate.node_pools`, `headgate.node_estimates`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum

PRECEDENCES: Mapping[str, int] = {"high": 100, "normal": 200, "low": 300}
"""A pipeline's precedence as a number that sorts (Zuul's own numbers; pools of ready nodes ask with 900)."""


class NodeState(StrEnum):
    """`building` until it can be logged in to; `ready` belongs to a request or waits in the pool; `in-use` by a build;
    `hold` is kept for a person; `failed` did not come up; `deleting` goes away. A node never returns to `ready`."""

    BUILDING = "building"
    READY = "ready"
    IN_USE = "in-use"
    HOLD = "hold"
    FAILED = "failed"
    DELETING = "deleting"


@dataclass(frozen=True, slots=True)
class Size:
    """What one node takes. `ram` is MiB, `volume_gb` GiB of block storage besides what its flavor brings."""

    cores: int = 0
    ram: int = 0
    volumes: int = 0
    volume_gb: int = 0


@dataclass(frozen=True, slots=True)
class Capacity:
    """How much may ever exist at once, `None` for no limit. `ram` is MiB, `volume_gb` GiB; `labels` limits single labels.

    What strangers take of a quota today is not in it: a provider answers `AtCapacity` then, and its offer is `full`."""

    nodes: int | None = None
    cores: int | None = None
    ram: int | None = None
    volumes: int | None = None
    volume_gb: int | None = None
    labels: Mapping[str, int] = field(default_factory=dict)

    def within(self, other: Capacity) -> Capacity:
        """Both limits at once: the lesser of each."""

        def lesser(one: int | None, two: int | None) -> int | None:
            return min((value for value in (one, two) if value is not None), default=None)

        labels = {
            label: value
            for label in {*self.labels, *other.labels}
            if (value := lesser(self.labels.get(label), other.labels.get(label))) is not None
        }
        return Capacity(
            lesser(self.nodes, other.nodes),
            lesser(self.cores, other.cores),
            lesser(self.ram, other.ram),
            lesser(self.volumes, other.volumes),
            lesser(self.volume_gb, other.volume_gb),
            labels,
        )


@dataclass(frozen=True, slots=True)
class Offer:
    """A provider as the rules see it: what its labels take, its limits now, and how it is preferred (lower is first).

    `full` says that it answered "no room" since it last gave something back, whatever the counting says. A request may
    fail `launch_attempts` nodes here before it goes elsewhere. Without zones everything is in the one zone `""`. At most
    `max_concurrency` nodes (0: any number) are launching at once, but a request that is larger than that may still start alone. With
    `separate_networks`, a ready node serves only requests of one node.
    """

    name: str
    labels: Mapping[str, Size]
    capacity: Capacity = Capacity()
    priority: int = 100
    zones: tuple[str, ...] = ("",)
    launch_attempts: int = 3
    full: bool = False
    max_concurrency: int = 0
    separate_networks: bool = False


@dataclass(frozen=True, slots=True)
class NodeRecord:
    """A node we know of. `request` and `tenant` are empty for a node of the ready pool. `changed` is when it came into its state."""

    id: str
    label: str
    provider: str
    state: NodeState
    zone: str = ""
    request: str = ""
    tenant: str = ""
    changed: datetime | None = None


@dataclass(frozen=True, slots=True)
class Request:
    """Nodes one build waits for, one label per node. `provider` is set from the first `Launch` on; `failures` counts the
    nodes that failed there for it; `declined` names providers that have given up on it."""

    id: str
    labels: tuple[str, ...]
    created: datetime
    precedence: int = PRECEDENCES["normal"]
    relative_priority: int = 0
    provider: str = ""
    zone: str = ""
    failures: int = 0
    declined: frozenset[str] = frozenset()
    tenant: str = ""


@dataclass(frozen=True, slots=True)
class Launch:
    """Record a `building` node of `request` for each of `labels`, take the ready nodes `reuse` for it, and launch."""

    request: str
    provider: str
    zone: str
    labels: tuple[str, ...]
    reuse: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Grant:
    """The request is complete: hand it its nodes, in the order of its labels."""

    request: str
    provider: str
    nodes: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Decline:
    """`provider` will not serve `request`: destroy what it launched for it, and remember not to ask there again."""

    request: str
    provider: str
    nodes: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Refuse:
    """Nobody can ever serve the request: NODE_FAILURE, and why."""

    request: str
    reason: str


@dataclass(frozen=True, slots=True)
class Destroy:
    """Take this node away."""

    node: str


Action = Launch | Grant | Decline | Refuse | Destroy


@dataclass(frozen=True, slots=True)
class Plan:
    """What to do now, in order, and for each request that still waits one sentence why."""

    actions: tuple[Action, ...]
    waiting: Mapping[str, str]
