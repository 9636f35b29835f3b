"""Workers, and the flow runs each of them claims."""

from __future__ import annotations

from datetime import datetime

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import insert

from tasks import tables as t
from tasks.store.base import StoreBase, utc_now


class WorkerStore(StoreBase):
    """Workers and claims."""

    async def add_worker(self, worker_id: str, lease: int, hostname: str, process: int) -> None:
        async with self._engine.begin() as connection:
            await connection.execute(
                insert(t.workers).values(id=worker_id, lease=lease, hostname=hostname, process=process, started=utc_now())
            )

    async def worker_gone(self, worker_id: str) -> None:
        async with self._engine.begin() as connection:
            await connection.execute(sa.update(t.workers).where(t.workers.c.id == worker_id).values(gone=utc_now()))

    async def dead_workers(self) -> list[str]:
        """Workers that have not said goodbye and whose lease nobody holds."""
        async with self._engine.begin() as connection:
            # a bigint advisory lock appears in pg_locks as its high and low halves
            held = (
                "select 1 from pg_locks where locktype = 'advisory' and granted and (classid::bigint << 32 | objid::bigint) = workers.lease"
            )
            rows = await connection.execute(sa.select(t.workers.c.id).where(t.workers.c.gone.is_(None), sa.text(f"not exists ({held})")))
            return [row.id for row in rows]

    async def claim(self, flow_run: str, worker_id: str) -> bool:
        """Write down that a worker is about to run a flow run; False when another one holds it (dead or alive)."""
        async with self._engine.begin() as connection:
            claimed = await connection.execute(
                insert(t.claims)
                .values(flow_run=flow_run, worker=worker_id, claimed=utc_now())
                .on_conflict_do_nothing(index_elements=[t.claims.c.flow_run])
                .returning(t.claims.c.flow_run)
            )
            return claimed.first() is not None

    async def unclaim(self, flow_run: str, worker_id: str) -> None:
        async with self._engine.begin() as connection:
            await connection.execute(sa.delete(t.claims).where(t.claims.c.flow_run == flow_run, t.claims.c.worker == worker_id))

    async def claims_of(self, worker_id: str) -> list[tuple[str, datetime]]:
        """The flow runs a worker claims, and since when."""
        async with self._engine.connect() as connection:
            rows = await connection.execute(
                sa.select(t.claims.c.flow_run, t.claims.c.claimed).where(t.claims.c.worker == worker_id).order_by(t.claims.c.claimed)
            )
            return [(row.flow_run, row.claimed) for row in rows]

    async def claimed(self) -> set[str]:
        """Every flow run that some worker claims."""
        async with self._engine.connect() as connection:
            return {row.flow_run for row in await connection.execute(sa.select(t.claims.c.flow_run))}
