"""Node requests and nodes in the store, and the pass that applies the rules of `headgate.nodes` to them.

A pass runs in whichever process needs one, under one lease, and writes down what it decided before anybody acts on it. A node is in the
table before it can exist outside and leaves it after it is gone there, so nothing that exists is ever unknown. Topics: `nodes` and
`nodes:REQUEST`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from types import MappingProxyType

import sqlalchemy as sa
from pydantic import TypeAdapter
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from headgate.node_pools import Fill, Pool, keep_ready
from headgate.nodes import (
    Capacity,
    Decline,
    Destroy,
    Grant,
    Launch,
    NodeRecord,
    NodeState,
    Offer,
    Plan,
    Refuse,
    Request,
    decide,
    share_fairly,
)
from providers.base import Node
from tasks import tables as t
from tasks.database import CHANNEL, lease_key
from tasks.node_holds import NodeHolds

TOPIC = "nodes"
FULL_FOR = timedelta(seconds=60)
"""A provider that said "no room" is asked again after that, even if nothing of ours went away there: strangers share its quota."""
_node = TypeAdapter(Node)


def request_topic(request: str) -> str:
    """What is told when a request, or one of its nodes, changed."""
    return f"{TOPIC}:{request}"


@dataclass(frozen=True, slots=True)
class StoredNode:
    """A node as the store knows it. `node` is set from the moment it can be logged in to."""

    id: str
    request: str
    label: str
    provider: str
    zone: str
    state: NodeState
    message: str
    created: datetime
    changed: datetime
    node: Node | None
    hold_until: datetime | None = None


@dataclass(frozen=True, slots=True)
class StoredRequest:
    """`state`: requested, fulfilled, failed (for ever; `reason` says why), released. `reason` also says why one still waits."""

    id: str
    labels: tuple[str, ...]
    state: str
    provider: str
    reason: str
    created: datetime
    project: str = ""
    tenant: str = ""
    precedence: int = 200


@dataclass(frozen=True, slots=True)
class Past:
    """What became of a node: when it was `up`, when it had `ended`, or why it `failed` to come up."""

    id: str
    label: str
    provider: str
    created: datetime
    up: datetime | None
    ended: datetime | None
    failed: str


def _now() -> datetime:
    return datetime.now(UTC)


class NodeStore:
    """Everything Headgate remembers about nodes."""

    def __init__(self, engine: AsyncEngine) -> None:
        self._engine = engine
        self.holds = NodeHolds(engine)

    @staticmethod
    async def _tell(connection: AsyncConnection, *requests: str) -> None:
        for topic in (TOPIC, *(request_topic(request) for request in requests)):
            await connection.execute(sa.select(sa.func.pg_notify(CHANNEL, topic)))

    async def ask(self, request_id: str, labels: Sequence[str], precedence: int, project: str, tenant: str) -> None:
        """Ask for nodes, one per label; repeatable by id. After a failure the same id may ask for others."""
        values = {"labels": list(labels), "precedence": precedence, "project": project, "tenant": tenant, "state": "requested"}
        again = {**values, "declined": [], "failures": 0, "reason": ""}
        async with self._engine.begin() as connection:
            await connection.execute(
                insert(t.node_requests)
                .values(id=request_id, created=_now(), **values)
                .on_conflict_do_update(index_elements=[t.node_requests.c.id], set_=again, where=t.node_requests.c.state == "failed")
            )

    async def decide(
        self, offers: Sequence[Offer], new_id: Callable[[], str], tenants: Mapping[str, Capacity] = MappingProxyType({})
    ) -> Plan:
        """One pass over all open requests, recorded. `offers` are the providers as they are now; `new_id()` names a node."""
        async with self._engine.begin() as connection:
            await connection.execute(sa.select(sa.func.pg_advisory_xact_lock(lease_key("nodes"))))
            requests, reasons = await self._open_requests(connection)
            if not requests:
                return Plan((), {})
            plan = decide(requests, await self._records(connection), offers, _now(), tenants)
            for action in plan.actions:
                await self._record(connection, action, new_id)
            changed: dict[str, list[str]] = {}
            for request_id, reason in plan.waiting.items():
                if reasons[request_id] != reason:
                    changed.setdefault(reason, []).append(request_id)
            for reason, ids in changed.items():
                await connection.execute(sa.update(t.node_requests).where(t.node_requests.c.id.in_(ids)).values(reason=reason))
            if plan.actions:
                await self._tell(connection, *{action.request for action in plan.actions if not isinstance(action, Destroy)})
            return plan

    async def fill_pools(self, pools: Sequence[Pool], offers: Sequence[Offer], new_id: Callable[[], str]) -> list[StoredNode]:
        """What the pools need, recorded: returns their nodes to launch. Only for the holder of the lease `ready nodes`: a node of a pool
        that is launching when it comes here was left by somebody who is gone."""
        async with self._engine.begin() as connection:
            await connection.execute(sa.select(sa.func.pg_advisory_xact_lock(lease_key("nodes"))))
            left = sa.update(t.nodes).where(t.nodes.c.request == "", t.nodes.c.state == NodeState.BUILDING)
            await connection.execute(left.values(state=NodeState.DELETING, changed=_now()))
            requests, _ = await self._open_requests(connection)
            ids: list[str] = []
            for action in keep_ready(pools, requests, await self._records(connection), offers, _now()):
                if isinstance(action, Fill):
                    ids.append(await self._new_node(connection, new_id(), "", action.label, action.provider, action.zone))
                else:
                    await self._state(connection, [action.node], NodeState.DELETING)
        return await self.nodes(t.nodes.c.id.in_(ids)) if ids else []

    @staticmethod
    async def _records(connection: AsyncConnection) -> list[NodeRecord]:
        query = sa.select(t.nodes, sa.func.coalesce(t.node_requests.c.tenant, "").label("tenant")).join(
            t.node_requests, t.node_requests.c.id == t.nodes.c.request, isouter=True
        )
        rows = await connection.execute(query)
        return [NodeRecord(r.id, r.label, r.provider, NodeState(r.state), r.zone, r.request, r.tenant, r.changed) for r in rows]

    @staticmethod
    async def _open_requests(connection: AsyncConnection) -> tuple[list[Request], dict[str, str]]:
        """Those that wait, with their shares, and why each waited last time."""
        rows = (await connection.execute(sa.select(t.node_requests).where(t.node_requests.c.state == "requested"))).all()
        requests = [
            Request(
                id=row.id,
                labels=tuple(row.labels),
                created=row.created,
                precedence=row.precedence,
                provider=row.provider,
                zone=row.zone,
                failures=row.failures,
                declined=frozenset(row.declined),
                tenant=row.tenant,
            )
            for row in rows
        ]
        return share_fairly(requests, {row.id: row.project for row in rows}), {row.id: row.reason for row in rows}

    @staticmethod
    async def _new_node(connection: AsyncConnection, node_id: str, request: str, label: str, provider: str, zone: str) -> str:
        now = _now()
        values = {"id": node_id, "label": label, "provider": provider, "created": now}
        await connection.execute(insert(t.nodes).values(**values, request=request, zone=zone, state=NodeState.BUILDING, changed=now))
        await connection.execute(insert(t.node_history).values(**values))
        return node_id

    async def _record(
        self, connection: AsyncConnection, action: Launch | Grant | Decline | Refuse | Destroy, new_id: Callable[[], str]
    ) -> None:
        request = sa.update(t.node_requests)
        if isinstance(action, Launch):
            await connection.execute(
                request.where(t.node_requests.c.id == action.request).values(provider=action.provider, zone=action.zone)
            )
            for label in action.labels:
                await self._new_node(connection, new_id(), action.request, label, action.provider, action.zone)
            await self._assign(connection, action.reuse, action.request)
        elif isinstance(action, Grant):
            await self._assign(connection, action.nodes, action.request)
            await connection.execute(
                request.where(t.node_requests.c.id == action.request).values(state="fulfilled", provider=action.provider, reason="")
            )
        elif isinstance(action, Decline):
            row = (await connection.execute(sa.select(t.node_requests.c.declined).where(t.node_requests.c.id == action.request))).one()
            declined = sorted({*row.declined, action.provider})
            await connection.execute(
                request.where(t.node_requests.c.id == action.request).values(provider="", zone="", failures=0, declined=declined)
            )
            await self._state(connection, action.nodes, NodeState.DELETING)
        elif isinstance(action, Refuse):
            await connection.execute(request.where(t.node_requests.c.id == action.request).values(state="failed", reason=action.reason))
        else:
            await self._state(connection, [action.node], NodeState.DELETING)

    @staticmethod
    async def _assign(connection: AsyncConnection, nodes: Iterable[str], request: str) -> None:
        await connection.execute(sa.update(t.nodes).where(t.nodes.c.id.in_(list(nodes))).values(request=request, changed=_now()))

    @staticmethod
    async def _state(connection: AsyncConnection, nodes: Iterable[str], state: NodeState) -> None:
        await connection.execute(sa.update(t.nodes).where(t.nodes.c.id.in_(list(nodes))).values(state=state, changed=_now()))

    async def request(self, request_id: str) -> StoredRequest | None:
        found = await self.requests(t.node_requests.c.id == request_id)
        return found[0] if found else None

    async def open_requests(self) -> list[StoredRequest]:
        """Requests that still wait, oldest first."""
        return await self.requests(t.node_requests.c.state == "requested")

    async def requests(self, *where: sa.ColumnElement[bool]) -> list[StoredRequest]:
        """Requests that match, oldest first."""
        async with self._engine.connect() as connection:
            rows = await connection.execute(sa.select(t.node_requests).where(*where).order_by(t.node_requests.c.created))
            return [
                StoredRequest(r.id, tuple(r.labels), r.state, r.provider, r.reason, r.created, r.project, r.tenant, r.precedence)
                for r in rows
            ]

    async def nodes(self, *where: sa.ColumnElement[bool]) -> list[StoredNode]:
        """Nodes that match, oldest first."""
        async with self._engine.connect() as connection:
            rows = await connection.execute(sa.select(t.nodes).where(*where).order_by(t.nodes.c.created, t.nodes.c.id))
            return [
                StoredNode(
                    r.id,
                    r.request,
                    r.label,
                    r.provider,
                    r.zone,
                    NodeState(r.state),
                    r.message,
                    r.created,
                    r.changed,
                    None if r.node is None else _node.validate_python(r.node),
                    r.hold_until,
                )
                for r in rows
            ]

    async def nodes_of(self, request_id: str) -> list[StoredNode]:
        return await self.nodes(t.nodes.c.request == request_id)

    async def up(self, node: Node) -> None:
        """The node can be logged in to."""
        async with self._engine.begin() as connection:
            row = (
                await connection.execute(
                    sa.update(t.nodes)
                    .where(t.nodes.c.id == node.id, t.nodes.c.state == NodeState.BUILDING)
                    .values(state=NodeState.READY, node=_node.dump_python(node, mode="json"), changed=_now())
                    .returning(t.nodes.c.request)
                )
            ).first()
            if row is not None:
                await connection.execute(sa.update(t.node_history).where(t.node_history.c.id == node.id).values(up=_now()))
            await self._tell(connection, *([row.request] if row is not None else []))

    async def failed(self, node_id: str, message: str) -> None:
        """The node did not come up; its request has one failure more there."""
        async with self._engine.begin() as connection:
            row = (
                await connection.execute(
                    sa.update(t.nodes)
                    .where(t.nodes.c.id == node_id, t.nodes.c.state == NodeState.BUILDING)
                    .values(state=NodeState.FAILED, message=message, changed=_now())
                    .returning(t.nodes.c.request)
                )
            ).first()
            if row is not None:
                await connection.execute(
                    sa.update(t.node_requests)
                    .where(t.node_requests.c.id == row.request)
                    .values(failures=t.node_requests.c.failures + 1, reason=message)
                )
                await connection.execute(sa.update(t.node_history).where(t.node_history.c.id == node_id).values(failed=message))
            await self._tell(connection, *([row.request] if row is not None else []))

    async def no_room(self, request_id: str, provider: str) -> None:
        """The provider has no room after all: the request waits again, nothing counted; the provider is asked again once it gave
        something back."""
        async with self._engine.begin() as connection:
            await connection.execute(
                sa.update(t.node_requests)
                .where(t.node_requests.c.id == request_id)
                .values(provider="", zone="", reason=f"{provider} is full")
            )
            ours = (t.nodes.c.request == request_id) if request_id else (t.nodes.c.request == "") & (t.nodes.c.state == NodeState.BUILDING)
            await connection.execute(
                sa.update(t.nodes).where(ours, t.nodes.c.provider == provider).values(state=NodeState.DELETING, changed=_now())
            )
            said = insert(t.full_providers).values(provider=provider, since=_now())
            await connection.execute(said.on_conflict_do_update(index_elements=["provider"], set_={"since": _now()}))
            await self._tell(connection, request_id)

    async def full(self) -> set[str]:
        """Providers that said that they have no room, until something goes away there or some time has passed."""
        recent = sa.select(t.full_providers.c.provider).where(t.full_providers.c.since > _now() - FULL_FOR)
        async with self._engine.connect() as connection:
            return {row.provider for row in await connection.execute(recent)}

    async def use(self, request_id: str) -> None:
        """The nodes of a fulfilled request are a job's now; from here they only go away."""
        async with self._engine.begin() as connection:
            await connection.execute(
                sa.update(t.nodes)
                .where(t.nodes.c.request == request_id, t.nodes.c.state == NodeState.READY)
                .values(state=NodeState.IN_USE, changed=_now())
            )

    async def release(self, request_id: str) -> None:
        """Nobody needs this request's nodes any more, whatever their state; held ones stay. Repeatable."""
        async with self._engine.begin() as connection:
            await connection.execute(sa.update(t.node_requests).where(t.node_requests.c.id == request_id).values(state="released"))
            await connection.execute(
                sa.update(t.nodes)
                .where(t.nodes.c.request == request_id, t.nodes.c.state != NodeState.HOLD)
                .values(state=NodeState.DELETING, changed=_now())
            )
            await self._tell(connection)

    async def gone(self, node_id: str) -> None:
        """The provider says that nothing of the node is left."""
        async with self._engine.begin() as connection:
            row = (await connection.execute(sa.delete(t.nodes).where(t.nodes.c.id == node_id).returning(t.nodes.c.provider))).first()
            if row is not None:
                await connection.execute(sa.delete(t.full_providers).where(t.full_providers.c.provider == row.provider))
                await connection.execute(sa.update(t.node_history).where(t.node_history.c.id == node_id).values(ended=_now()))
            await self._tell(connection)

    async def reject(self, node_id: str, message: str) -> None:
        """A node of a request that was about to be handed over is no good after all: the request goes on without it."""
        async with self._engine.begin() as connection:
            failed = sa.update(t.nodes).where(t.nodes.c.id == node_id, t.nodes.c.state == NodeState.READY)
            row = (await connection.execute(failed.values(state=NodeState.FAILED, message=message).returning(t.nodes.c.request))).first()
            if row is not None:
                again = sa.update(t.node_requests).where(t.node_requests.c.id == row.request)
                await connection.execute(again.values(state="requested", failures=t.node_requests.c.failures + 1, reason=message))
                await self._tell(connection, row.request)

    async def discard(self, node_id: str) -> bool:
        """The node is to go away, whatever its state, also a held one; False when there is none of that id."""
        async with self._engine.begin() as connection:
            gone = sa.update(t.nodes).where(t.nodes.c.id == node_id).values(state=NodeState.DELETING, changed=_now())
            return bool((await connection.execute(gone)).rowcount)

    async def history(self, since: timedelta) -> list[Past]:
        """Nodes that began within that time, oldest first."""
        async with self._engine.connect() as connection:
            query = sa.select(t.node_history).where(t.node_history.c.created > _now() - since).order_by(t.node_history.c.created)
            rows = await connection.execute(query)
            return [Past(r.id, r.label, r.provider, r.created, r.up, r.ended, r.failed) for r in rows]

    async def forget_history(self, age: timedelta) -> None:
        async with self._engine.begin() as connection:
            await connection.execute(sa.delete(t.node_history).where(t.node_history.c.created < _now() - age))
