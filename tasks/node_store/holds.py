"""Nodes that are kept for a person: by hand, or because a build that was waited for has failed."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncEngine

from headgate.nodes import NodeState
from tasks import tables as t

HOLDABLE = (NodeState.READY, NodeState.IN_USE, NodeState.HOLD)


@dataclass(frozen=True, slots=True)
class Autohold:
    """The nodes of the next `count` failed builds of `job` are held, each for `hold_seconds` (0: until somebody deletes them).

    `project` is as the change has it. `change` is `number` or `number,patchset`; empty, any. It ends by itself at `expires`.
    """

    id: str
    tenant: str
    project: str
    job: str
    change: str
    count: int
    hold_seconds: int
    reason: str
    created: datetime
    expires: datetime | None


class NodeHolds:
    def __init__(self, engine: AsyncEngine) -> None:
        self._engine = engine

    async def hold(self, node_id: str, reason: str, seconds: int = 0) -> bool:
        """Keep the node after its build, for so long or until it is deleted; False when there is none of that id that is up."""
        now = datetime.now(UTC)
        values = {
            "state": NodeState.HOLD,
            "message": reason,
            "changed": now,
            "hold_until": now + timedelta(seconds=seconds) if seconds else None,
        }
        async with self._engine.begin() as connection:
            done = await connection.execute(
                sa.update(t.nodes).where(t.nodes.c.id == node_id, t.nodes.c.state.in_(HOLDABLE)).values(**values)
            )
            return bool(done.rowcount)

    async def expired(self) -> list[str]:
        """Held nodes whose time is over; they are to go away now."""
        over = sa.update(t.nodes).where(t.nodes.c.state == NodeState.HOLD, t.nodes.c.hold_until < sa.func.now())
        async with self._engine.begin() as connection:
            rows = await connection.execute(over.values(state=NodeState.DELETING, changed=sa.func.now()).returning(t.nodes.c.id))
            return [row.id for row in rows]

    async def add(self, wanted: Autohold) -> None:
        values = {name: getattr(wanted, name) for name in Autohold.__slots__}
        async with self._engine.begin() as connection:
            await connection.execute(insert(t.autoholds).values(**values))

    async def remove(self, autohold_id: str) -> bool:
        """False when there is none of that id. Nodes it holds stay."""
        async with self._engine.begin() as connection:
            return bool((await connection.execute(sa.delete(t.autoholds).where(t.autoholds.c.id == autohold_id))).rowcount)

    async def autoholds(self) -> list[Autohold]:
        """Those that can still hold something, oldest first."""
        live = sa.or_(t.autoholds.c.expires.is_(None), t.autoholds.c.expires > sa.func.now())
        async with self._engine.connect() as connection:
            rows = await connection.execute(sa.select(t.autoholds).where(live, t.autoholds.c.count > 0).order_by(t.autoholds.c.created))
            return [Autohold(**row._mapping) for row in rows]

    async def hold_nodes_of(self, request: str, tenant: str, project: str, job: str, change: str) -> str:
        """If somebody waits for this build's failure, its nodes that are up are held: the autohold's reason, else `""`. `change` is
        `number,patchset`. Repeated for a build whose nodes are held already it does nothing."""
        for each in await self.autoholds():
            wanted = (each.tenant, each.project, each.job) == (tenant, project, job)
            if not wanted or (each.change and change != each.change and change.partition(",")[0] != each.change):
                continue
            reason = f"autohold: {each.reason or f'{job} of {project} {change} failed'}"
            now = datetime.now(UTC)
            until = now + timedelta(seconds=each.hold_seconds) if each.hold_seconds else None
            async with self._engine.begin() as connection:
                mine = sa.update(t.nodes).where(t.nodes.c.request == request, t.nodes.c.state.in_((NodeState.READY, NodeState.IN_USE)))
                held = await connection.execute(mine.values(state=NodeState.HOLD, message=reason, changed=now, hold_until=until))
                if held.rowcount:
                    less = sa.update(t.autoholds).where(t.autoholds.c.id == each.id).values(count=t.autoholds.c.count - 1)
                    await connection.execute(less)
                    return reason
        return ""
