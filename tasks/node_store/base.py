"""What the store knows of nodes and requests, and the questions one can ask it."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

import sqlalchemy as sa
from pydantic import TypeAdapter
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from headgate.nodes import NodeState
from providers.base import Node
from tasks import tables as t
from tasks.database import CHANNEL

TOPIC = "nodes"
DISCARDED = "nodes discarded"
"""Somebody wants a node to be destroyed now."""
NODE = TypeAdapter(Node)
"""Nodes as JSON."""


def request_topic(request: str) -> str:
    """What is told when a request, or one of its nodes, changed."""
    return f"{TOPIC}:{request}"


def utc_now() -> datetime:
    return datetime.now(UTC)


@dataclass(frozen=True, slots=True)
class StoredNode:
    """A node as the store knows it. `node` is set from the moment it can be logged in to. One that was launched `ahead` of any request has
    a key of its own until it is handed over."""

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
    ahead: bool = False


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


class NodeQueries:
    def __init__(self, engine: AsyncEngine) -> None:
        self._engine = engine

    @staticmethod
    async def _tell(connection: AsyncConnection, *requests: str) -> None:
        for topic in (TOPIC, *(request_topic(request) for request in requests)):
            await connection.execute(sa.select(sa.func.pg_notify(CHANNEL, topic)))

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
                    None if r.node is None else NODE.validate_python(r.node),
                    r.hold_until,
                    r.ahead,
                )
                for r in rows
            ]

    async def nodes_of(self, request_id: str) -> list[StoredNode]:
        return await self.nodes(t.nodes.c.request == request_id)

    async def history(self, since: timedelta) -> list[Past]:
        """Nodes that began within that time, oldest first."""
        async with self._engine.connect() as connection:
            query = sa.select(t.node_history).where(t.node_history.c.created > utc_now() - since).order_by(t.node_history.c.created)
            rows = await connection.execute(query)
            return [Past(r.id, r.label, r.provider, r.created, r.up, r.ended, r.failed) for r in rows]
