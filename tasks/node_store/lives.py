"""What becomes of a request and its nodes, from the first question to the last trace. Each method is one transaction."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import insert

from headgate.nodes import NodeState
from providers.base import Node
from tasks import tables as t
from tasks.database import CHANNEL
from tasks.node_store.base import DISCARDED, NODE, NodeQueries, utc_now

FULL_FOR = timedelta(seconds=60)
"""A provider that said "no room" is asked again after that, even if nothing of ours went away there: strangers share its quota."""


class NodeLives(NodeQueries):
    async def ask(self, request_id: str, labels: Sequence[str], precedence: int, project: str, tenant: str) -> None:
        """Ask for nodes, one per label; repeatable by id. After a failure the same id may ask for others."""
        values = {"labels": list(labels), "precedence": precedence, "project": project, "tenant": tenant, "state": "requested"}
        again = {**values, "declined": [], "failures": 0, "reason": ""}
        async with self._engine.begin() as connection:
            await connection.execute(
                insert(t.node_requests)
                .values(id=request_id, created=utc_now(), **values)
                .on_conflict_do_update(index_elements=[t.node_requests.c.id], set_=again, where=t.node_requests.c.state == "failed")
            )

    async def up(self, node: Node) -> None:
        """The node can be logged in to."""
        async with self._engine.begin() as connection:
            row = (
                await connection.execute(
                    sa.update(t.nodes)
                    .where(t.nodes.c.id == node.id, t.nodes.c.state == NodeState.BUILDING)
                    .values(state=NodeState.READY, node=NODE.dump_python(node, mode="json"), changed=utc_now())
                    .returning(t.nodes.c.request)
                )
            ).first()
            if row is not None:
                await connection.execute(sa.update(t.node_history).where(t.node_history.c.id == node.id).values(up=utc_now()))
            await self._tell(connection, *([row.request] if row is not None else []))

    async def failed(self, node_id: str, message: str) -> None:
        """The node did not come up; its request has one failure more there."""
        async with self._engine.begin() as connection:
            row = (
                await connection.execute(
                    sa.update(t.nodes)
                    .where(t.nodes.c.id == node_id, t.nodes.c.state == NodeState.BUILDING)
                    .values(state=NodeState.FAILED, message=message, changed=utc_now())
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
                sa.update(t.nodes).where(ours, t.nodes.c.provider == provider).values(state=NodeState.DELETING, changed=utc_now())
            )
            said = insert(t.full_providers).values(provider=provider, since=utc_now())
            await connection.execute(said.on_conflict_do_update(index_elements=["provider"], set_={"since": utc_now()}))
            await self._tell(connection, request_id)

    async def full(self) -> set[str]:
        """Providers that said that they have no room, until something goes away there or some time has passed."""
        recent = sa.select(t.full_providers.c.provider).where(t.full_providers.c.since > utc_now() - FULL_FOR)
        async with self._engine.connect() as connection:
            return {row.provider for row in await connection.execute(recent)}

    async def use(self, request_id: str) -> None:
        """The nodes of a fulfilled request are a job's now; from here they only go away."""
        async with self._engine.begin() as connection:
            await connection.execute(
                sa.update(t.nodes)
                .where(t.nodes.c.request == request_id, t.nodes.c.state == NodeState.READY)
                .values(state=NodeState.IN_USE, changed=utc_now())
            )

    async def release(self, request_id: str) -> None:
        """Nobody needs this request's nodes any more, whatever their state; held ones stay. Repeatable."""
        async with self._engine.begin() as connection:
            await connection.execute(sa.update(t.node_requests).where(t.node_requests.c.id == request_id).values(state="released"))
            await connection.execute(
                sa.update(t.nodes)
                .where(t.nodes.c.request == request_id, t.nodes.c.state != NodeState.HOLD)
                .values(state=NodeState.DELETING, changed=utc_now())
            )
            await self._tell(connection)

    async def gone(self, node_id: str) -> None:
        """The provider says that nothing of the node is left."""
        async with self._engine.begin() as connection:
            row = (await connection.execute(sa.delete(t.nodes).where(t.nodes.c.id == node_id).returning(t.nodes.c.provider))).first()
            if row is not None:
                await connection.execute(sa.delete(t.full_providers).where(t.full_providers.c.provider == row.provider))
                await connection.execute(sa.update(t.node_history).where(t.node_history.c.id == node_id).values(ended=utc_now()))
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

    async def discard(self, node_id: str, now: bool = False) -> bool:
        """The node is to go away, whatever its state, also a held one; False when there is none of that id. Who asks for it to be done
        `now` does not do it himself: topic `DISCARDED` tells whoever does."""
        async with self._engine.begin() as connection:
            gone = sa.update(t.nodes).where(t.nodes.c.id == node_id).values(state=NodeState.DELETING, changed=utc_now())
            row = (await connection.execute(gone.returning(t.nodes.c.request))).first()
            if row is not None and now:
                await self._tell(connection, row.request)
                await connection.execute(sa.select(sa.func.pg_notify(CHANNEL, DISCARDED)))
            return row is not None

    async def forget_history(self, age: timedelta) -> None:
        async with self._engine.begin() as connection:
            await connection.execute(sa.delete(t.node_history).where(t.node_history.c.created < utc_now() - age))
