"""Which provider serves which node request now.

Law: requests are considered by precedence, then relative priority (fair share), then age. A request gets all its nodes from
one provider and zone, or none yet. Ready nodes are used first. A request that cannot be served now stops nobody behind it
in that order, until it has waited `PATIENCE`: from then on one provider's freed room is kept for it (one such request per
provider), so those behind it cannot starve it either. A provider that can never serve a request, or failed it as often as
it may, is passed over; when none is left the request is refused (NODE_FAILURE).

Room is what `Capacity` allows minus every node that is recorded, whatever its state: what may exist takes room. A tenant at its limit
waits without standing in anybody's way.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from operator import attrgetter
from types import MappingProxyType

from headgate.nodes import Action, Capacity, Decline, Destroy, Grant, Launch, NodeRecord, NodeState, Offer, Plan, Refuse, Request, Size

PATIENCE = timedelta(minutes=5)


def decide(
    requests: Sequence[Request],
    nodes: Sequence[NodeRecord],
    offers: Sequence[Offer],
    now: datetime,
    tenants: Mapping[str, Capacity] = MappingProxyType({}),
) -> Plan:
    """One pass over every open request; `tenants` are limits over all providers. Repeating it after its actions are recorded decides
    nothing twice."""
    own: dict[str, list[NodeRecord]] = {}
    for node in nodes:
        if node.request:
            own.setdefault(node.request, []).append(node)
    market = _Market(offers, nodes, tenants)
    actions: list[Action] = []
    waiting: dict[str, str] = {}
    for request in in_order(requests):
        if request.provider:
            taken, why = _follow(request, own.get(request.id, []), market.offers.get(request.provider))
        else:
            taken, why = market.place(request, impatient=now - request.created >= PATIENCE)
        actions += taken
        if why:
            waiting[request.id] = why
    return Plan(tuple(actions), waiting)


def in_order(requests: Sequence[Request]) -> list[Request]:
    """As they are considered."""
    return sorted(requests, key=attrgetter("precedence", "relative_priority", "created", "id"))


def share_fairly(requests: Sequence[Request], projects: Mapping[str, str]) -> list[Request]:
    """Each request with its relative priority: how many older ones its project has among those that wait. `projects` is by request."""
    ahead: Counter[str] = Counter()
    shared = []
    for request in sorted(requests, key=attrgetter("created", "id")):
        project = projects[request.id]
        shared.append(replace(request, relative_priority=ahead[project]))
        ahead[project] += 1
    return shared


def _follow(request: Request, nodes: Sequence[NodeRecord], offer: Offer | None) -> tuple[list[Action], str]:
    """A request that has its provider: complete it, replace what failed, or give up there."""
    failed = [node for node in nodes if node.state is NodeState.FAILED]
    if offer is None or request.failures >= offer.launch_attempts:
        return [Decline(request.id, request.provider, tuple(node.id for node in nodes))], ""
    alive = [node for node in nodes if node.state in (NodeState.BUILDING, NodeState.READY)]
    missing = Counter(request.labels)
    missing.subtract(node.label for node in alive)
    if lost := tuple(missing.elements()):
        again = Launch(request.id, request.provider, request.zone, lost)
        return [*(Destroy(node.id) for node in failed), again], f"{len(lost)} of {len(request.labels)} nodes are launched again"
    if all(node.state is NodeState.READY for node in alive):
        return [Grant(request.id, request.provider, _in_order(request.labels, alive))], ""
    building = sum(node.state is NodeState.BUILDING for node in alive)
    return [], f"{building} of {len(request.labels)} nodes are starting at {request.provider}"


def _in_order(labels: Iterable[str], nodes: Iterable[NodeRecord]) -> tuple[str, ...]:
    shelf: dict[str, list[str]] = {}
    for node in nodes:
        shelf.setdefault(node.label, []).append(node.id)
    return tuple(shelf[label].pop(0) for label in labels)


def _limits(capacity: Capacity) -> dict[str, int]:
    named = {
        "nodes": capacity.nodes,
        "cores": capacity.cores,
        "MiB ram": capacity.ram,
        "volumes": capacity.volumes,
        "GiB volumes": capacity.volume_gb,
    }
    named |= {f"label {label}": count for label, count in capacity.labels.items()}
    return {name: value for name, value in named.items() if value is not None}


def _shortage(limits: Mapping[str, int], used: Mapping[str, int], needed: Mapping[str, int]) -> str:
    """What is lacking, or `""`."""
    for name, limit in limits.items():
        amount = needed.get(name, 0)
        if amount and used.get(name, 0) + amount > limit:
            return f"{name}: {used.get(name, 0)} of {limit} taken, {amount} needed"
    return ""


class _Room:
    """What one provider can still take during this pass."""

    def __init__(self, offer: Offer, nodes: Sequence[NodeRecord]) -> None:
        self.offer = offer
        self.limits = _limits(offer.capacity)
        self.used: Counter[str] = Counter()
        self.ready: dict[tuple[str, str], list[str]] = {}
        self.kept_for = ""
        self.launching = 0
        self._needs: dict[tuple[str, ...], Mapping[str, int]] = {}
        for node in nodes:
            self.used.update(self.needs((node.label,)))
            if node.state is NodeState.READY and not node.request:
                self.ready.setdefault((node.zone, node.label), []).append(node.id)
            self.launching += node.state is NodeState.BUILDING

    def needs(self, labels: tuple[str, ...]) -> Mapping[str, int]:
        if labels not in self._needs:
            total: Counter[str] = Counter()
            for label in labels:
                size = self.offer.labels.get(label, Size())
                total.update({"nodes": 1, f"label {label}": 1, "cores": size.cores, "MiB ram": size.ram})
                total.update({"volumes": size.volumes, "GiB volumes": size.volume_gb})
            self._needs[labels] = total
        return self._needs[labels]

    def shortage(self, labels: tuple[str, ...], empty: bool = False) -> str:
        """What is lacking for `labels` (were nothing else here, if `empty`), or `""`."""
        return _shortage(self.limits, {} if empty else self.used, self.needs(labels))

    def lack(self, rest: tuple[str, ...]) -> str:
        """Why `rest` cannot be launched here now, or `""`."""
        if not rest:
            return ""
        if self.offer.full:
            return "it said so"
        if lack := self.shortage(rest):
            return lack
        most = self.offer.max_concurrency
        if most and self.launching and self.launching + len(rest) > most:
            return f"{self.launching} of at most {most} launches are under way"
        return f"kept for request {self.kept_for}, which waits longer" if self.kept_for else ""

    def split(self, labels: Sequence[str], zone: str) -> tuple[tuple[str, ...], tuple[str, ...]]:
        """Ready nodes of `zone` that fit, and the labels that must be launched besides."""
        if not self.ready or (self.offer.separate_networks and len(labels) > 1):
            return (), tuple(labels)
        shelf = {label: list(self.ready.get((zone, label), ())) for label in set(labels)}
        reuse: list[str] = []
        rest: list[str] = []
        for label in labels:
            if shelf[label]:
                reuse.append(shelf[label].pop(0))
            else:
                rest.append(label)
        return tuple(reuse), tuple(rest)

    def take(self, reuse: tuple[str, ...], rest: tuple[str, ...]) -> None:
        for shelf in self.ready.values() if reuse else ():
            shelf[:] = [node for node in shelf if node not in reuse]
        self.used.update(self.needs(rest))
        self.launching += len(rest)


class _Market:
    """All providers during one pass. Room only shrinks in a pass, so a shape that found none is not tried again."""

    def __init__(self, offers: Sequence[Offer], nodes: Sequence[NodeRecord], tenants: Mapping[str, Capacity]) -> None:
        self.offers = {offer.name: offer for offer in offers}
        by_provider: dict[str, list[NodeRecord]] = {}
        for node in nodes:
            by_provider.setdefault(node.provider, []).append(node)
        self.rooms = [_Room(offer, by_provider.get(offer.name, [])) for offer in offers]
        self.blocked: dict[tuple[tuple[str, ...], frozenset[str], str], tuple[str, list[_Room]]] = {}
        self.able: dict[tuple[tuple[str, ...], frozenset[str]], tuple[list[_Room], str]] = {}
        self.tenants = {name: _limits(limit) for name, limit in tenants.items()}
        self.tenants_use: dict[str, Counter[str]] = {name: Counter() for name in tenants}
        rooms = {room.offer.name: room for room in self.rooms}
        for node in nodes:
            if node.tenant in self.tenants and node.provider in rooms:
                self.tenants_use[node.tenant].update(rooms[node.provider].needs((node.label,)))

    def place(self, request: Request, impatient: bool) -> tuple[list[Action], str]:
        """Start the request where it is served best now; or say why it waits."""
        limited = request.tenant if request.tenant in self.tenants else ""
        shape = (request.labels, request.declined, limited)
        if shape not in self.blocked:
            able, why_not = self._able(request)
            if not able:
                return [Refuse(request.id, why_not)], ""
            if limited and (lack := self._over(request, able)):
                if never := self._over(request, able, empty=True):
                    return [Refuse(request.id, f"for ever: {never}")], ""
                return [], lack
            found, reason = self._best(request, able)
            if found is not None:
                return [found], ""
            self.blocked[shape] = (reason, able)
        reason, able = self.blocked[shape]
        if impatient and any(not room.kept_for for room in able) and not (limited and self._over(request, able)):
            self._keep(able, request)
        return [], reason

    def _over(self, request: Request, able: Sequence[_Room], empty: bool = False) -> str:
        """What the tenant lacks of its limit wherever the request would go, or `""`."""
        used = Counter[str]() if empty else self.tenants_use[request.tenant]
        lacks = [_shortage(self.tenants[request.tenant], used, room.needs(request.labels)) for room in able]
        return f"tenant {request.tenant} is at its limit ({lacks[0]})" if all(lacks) else ""

    def _best(self, request: Request, able: Sequence[_Room]) -> tuple[Launch | Grant | None, str]:
        """Most ready nodes first, then the provider's priority, then the one with fewest nodes."""
        best: tuple[tuple[int, int, int], _Room, str, tuple[str, ...], tuple[str, ...]] | None = None
        reason = ""
        limited = request.tenant in self.tenants
        for room in able:
            if limited and self._over(request, [room]):
                continue
            for zone in room.offer.zones:
                reuse, rest = room.split(request.labels, zone)
                lack = room.lack(rest)
                if lack:
                    reason = reason or f"{room.offer.name} has no room ({lack})"
                    continue
                rank = (len(rest), room.offer.priority, room.used["nodes"])
                if best is None or rank < best[0]:
                    best = (rank, room, zone, reuse, rest)
        if best is None:
            return None, reason
        _, room, zone, reuse, rest = best
        room.take(reuse, rest)
        if limited:
            self.tenants_use[request.tenant].update(room.needs(request.labels))
        name = room.offer.name
        return (Launch(request.id, name, zone, rest, reuse) if rest else Grant(request.id, name, reuse)), ""

    def _able(self, request: Request) -> tuple[list[_Room], str]:
        """Providers that could serve it were they empty; or the sentence why none can."""
        shape = (request.labels, request.declined)
        if shape not in self.able:
            self.able[shape] = self._find_able(request)
        return self.able[shape]

    def _find_able(self, request: Request) -> tuple[list[_Room], str]:
        named = [room for room in self.rooms if all(label in room.offer.labels for label in request.labels)]
        if not named:
            unknown = sorted(label for label in set(request.labels) if not any(label in room.offer.labels for room in self.rooms))
            together = ", ".join(sorted(set(request.labels)))
            return [], f"no provider has the label {', '.join(unknown)}" if unknown else f"no one provider has all of the labels {together}"
        willing = [room for room in named if room.offer.name not in request.declined]
        if not willing:
            return [], f"every provider failed to launch it ({', '.join(sorted(request.declined))})"
        lacks = {room.offer.name: room.shortage(request.labels, empty=True) for room in willing}
        able = [room for room in willing if not lacks[room.offer.name]]
        return able, "; ".join(f"{name} can never hold it ({lack})" for name, lack in lacks.items() if lack)

    @staticmethod
    def _keep(able: Sequence[_Room], request: Request) -> None:
        """Keep one provider's freed room for a request that has waited long; what is free now is promised with it."""
        if any(room.kept_for == request.id for room in able):
            return
        free = [room for room in able if not room.kept_for]
        if free:
            min(free, key=lambda room: (room.offer.priority, room.used["nodes"])).kept_for = request.id
