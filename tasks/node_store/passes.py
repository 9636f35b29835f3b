"""Passes: what `headgate.node_allocation` and `headgate.node_pools` decide is written down in the transaction that they decided in."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from types import MappingProxyType

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncConnection

from headgate.node_allocation import decide, share_fairly
from headgate.node_pools import Fill, Pool, keep_ready
from headgate.nodes import Capacity, Decline, Destroy, Grant, Launch, NodeRecord, NodeState, Offer, Plan, Refuse, Request
from tasks import tables as t
from tasks.database import lease_key
from tasks.node_store.base import NodeQueries, StoredNode, utc_now


class NodePasses(NodeQueries):
    async def decide(
        self, offers: Sequence[Offer], new_id: Callable[[], str], tenants: Mapping[str, Capacity] = MappingProxyType({})
    ) -> Plan:
        """One pass over all open requests, recorded. `offers` are the providers as they are now; `new_id()` names a node."""
        async with self._engine.begin() as connection:
            await connection.execute(sa.select(sa.func.pg_advisory_xact_lock(lease_key("nodes"))))
            requests, reasons = await self._open_requests(connection)
            if not requests:
                return Plan((), {})
            plan = decide(requests, await self._records(connection), offers, utc_now(), tenants)
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
            await connection.execute(left.values(state=NodeState.DELETING, changed=utc_now()))
            requests, _ = await self._open_requests(connection)
            ids: list[str] = []
            for action in keep_ready(pools, requests, await self._records(connection), offers, utc_now()):
                if isinstance(action, Fill):
                    ids.append(await self._new_node(connection, new_id(), "", action.label, action.provider, action.zone))
                else:
                    await self._state(connection, [action.node], NodeState.DELETING)
        return await self.nodes(t.nodes.c.id.in_(ids)) if ids else []

    async def waiting(self) -> list[Request]:
        """Open requests as the rules see them, with their shares."""
        async with self._engine.connect() as connection:
            return (await self._open_requests(connection))[0]

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
        now = utc_now()
        values = {"id": node_id, "label": label, "provider": provider, "created": now}
        more = {"request": request, "zone": zone, "state": NodeState.BUILDING, "changed": now, "ahead": not request}
        await connection.execute(insert(t.nodes).values(**values, **more))
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
        await connection.execute(sa.update(t.nodes).where(t.nodes.c.id.in_(list(nodes))).values(request=request, changed=utc_now()))

    @staticmethod
    async def _state(connection: AsyncConnection, nodes: Iterable[str], state: NodeState) -> None:
        await connection.execute(sa.update(t.nodes).where(t.nodes.c.id.in_(list(nodes))).values(state=state, changed=utc_now()))
