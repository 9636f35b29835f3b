"""Items: changes in pipelines, live and gone."""

from __future__ import annotations

from datetime import timedelta

import sqlalchemy as sa

from headgate.records import REPORTED, Item
from tasks import tables as t
from tasks.store.base import StoreBase, utc_now
from tasks.store.rows import item_of


class ItemStore(StoreBase):
    """Items."""

    async def items(self, *where: sa.ColumnElement[bool], limit: int = 10_000) -> list[Item]:
        """Items that match, oldest first."""
        async with self._engine.connect() as connection:
            rows = await connection.execute(sa.select(t.items).where(*where).order_by(t.items.c.enqueued, t.items.c.id).limit(limit))
            return [item_of(row) for row in rows]

    async def live_items(self) -> list[Item]:
        """Items in some pipeline now, those among them that are there only for others."""
        return await self.items(t.items.c.dequeued.is_(None))

    async def item(self, item_id: str) -> Item | None:
        found = await self.items(t.items.c.id == item_id)
        return found[0] if found else None

    async def items_of_change(self, number: int) -> list[Item]:
        """Every item there ever was for a change number, oldest first."""
        return await self.items(sa.cast(t.items.c.change["number"].astext, sa.BigInteger) == number)

    async def told_items(self) -> list[Item]:
        """Items that have left and of which all there was to say has been said."""
        mine = t.reports.c.item == t.items.c.id
        silent = ~sa.exists().where(mine, t.reports.c.sent.is_(None))
        return await self.items(t.items.c.reason == REPORTED, sa.exists().where(mine), silent)

    async def items_with_new_evidence(self) -> list[Item]:
        """Reported items of which a build was run again and ended after the last report, with none still going."""
        again = (
            sa.select(t.builds.c.buildset)
            .where(t.builds.c.round > 1, t.builds.c.result.is_not(None))
            .where(~sa.exists().where(t.reports.c.buildset == t.builds.c.buildset, t.reports.c.created >= t.builds.c.ended))
        )
        going = sa.select(t.builds.c.buildset).where(t.builds.c.ended.is_(None))
        buildset = sa.select(t.buildsets.c.item).where(t.buildsets.c.id.in_(again), t.buildsets.c.id.not_in(going))
        return await self.items(t.items.c.id.in_(buildset), t.items.c.reason == REPORTED)

    async def forget(self, older_than: timedelta) -> int:
        """Delete handled events and left items (with their buildsets, builds and reports) older than that; how many items went."""
        limit = utc_now() - older_than
        async with self._engine.begin() as connection:
            await connection.execute(sa.delete(t.events).where(t.events.c.handled < limit))
            gone = await connection.execute(sa.delete(t.items).where(t.items.c.dequeued < limit))
            return gone.rowcount
