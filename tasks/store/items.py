"""Items: changes in pipelines, live and gone."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import timedelta
from typing import Any

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import insert

from headgate.builds import CANCELED
from headgate.changes import Event
from headgate.queues import CANCELLED
from headgate.records import Item
from tasks import tables as t
from tasks.store.base import StoreBase, utc_now
from tasks.store.rows import item_of, item_values


class ItemStore(StoreBase):
    """Items."""

    async def apply(self, event: Event | None, enqueue: Iterable[Item], dequeue: Iterable[tuple[str, str]], outcome: str = "") -> None:
        """What a pass decided of one event, with the event's being handled, in one transaction. `dequeue` is (item id, reason)."""
        now = utc_now()
        topics = {"items", "queues"}
        async with self._engine.begin() as connection:
            for item in enqueue:
                await connection.execute(insert(t.items).values(item_values(item)).on_conflict_do_nothing(index_elements=[t.items.c.id]))
            for item_id, reason in dequeue:
                await connection.execute(
                    sa.update(t.items).where(t.items.c.id == item_id, t.items.c.dequeued.is_(None)).values(dequeued=now, reason=reason)
                )
                topics.add(f"item:{item_id}")
            if event is not None:
                await connection.execute(sa.update(t.events).where(t.events.c.id == event.id).values(handled=now, outcome=outcome))
            await self._tell(connection, *sorted(topics))

    async def items(self, *where: sa.ColumnElement[bool], limit: int = 10_000) -> list[Item]:
        """Items that match, oldest first."""
        async with self._engine.connect() as connection:
            rows = await connection.execute(sa.select(t.items).where(*where).order_by(t.items.c.enqueued, t.items.c.id).limit(limit))
            return [item_of(row) for row in rows]

    async def live_items(self) -> list[Item]:
        return await self.items(t.items.c.dequeued.is_(None))

    async def unfinished_items(self) -> list[Item]:
        """What a pass must look at: live items, and those that left while their run may still be going."""
        left = sa.and_(
            t.items.c.dequeued.is_not(None), t.items.c.flow_run.is_not(None), t.items.c.cancelled.is_(None), t.items.c.reason != "reported"
        )
        return await self.items(sa.or_(t.items.c.dequeued.is_(None), left))

    async def item(self, item_id: str) -> Item | None:
        found = await self.items(t.items.c.id == item_id)
        return found[0] if found else None

    async def items_of_change(self, number: int) -> list[Item]:
        """Every item there ever was for a change number, oldest first."""
        return await self.items(t.items.c.change["number"].as_integer() == number)

    async def leave_cancelled(self, item_id: str) -> None:
        """Let a live item go whose run somebody cancelled; nothing to do for one that has left."""
        async with self._engine.begin() as connection:
            left = sa.update(t.items).where(t.items.c.id == item_id, t.items.c.dequeued.is_(None))
            await connection.execute(left.values(dequeued=utc_now(), reason=CANCELLED, cancelled=utc_now()))
            await self._tell(connection, "items", "queues", f"item:{item_id}")

    async def come_back(self, item_id: str) -> bool:
        """Make an item live again that left by `leave_cancelled`, its cancelled builds counting for nothing; False when its change is in
        the pipeline again by another item."""
        buildset = sa.select(t.buildsets.c.id).where(t.buildsets.c.item == item_id)
        other = t.items.alias()
        same = [other.c[name] == t.items.c[name] for name in ("tenant", "pipeline", "change_key")]
        async with self._engine.begin() as connection:
            back = await connection.execute(
                sa.update(t.items)
                .where(t.items.c.id == item_id, t.items.c.reason == CANCELLED)
                .where(~sa.exists().where(*same, other.c.id != t.items.c.id, other.c.dequeued.is_(None)))
                .values(dequeued=None, reason="", cancelled=None)
                .returning(t.items.c.id)
            )
            if back.first() is None:
                return False
            await connection.execute(
                sa.update(t.builds)
                .where(t.builds.c.buildset.in_(buildset), t.builds.c.result == CANCELED)
                .values(result=None, message=CANCELLED)
            )
            await self._tell(connection, "items", f"item:{item_id}")
            return True

    async def set_item(self, item_id: str, **values: Any) -> None:
        async with self._engine.begin() as connection:
            await connection.execute(sa.update(t.items).where(t.items.c.id == item_id).values(**values))
            await self._tell(connection, "items", f"item:{item_id}")

    async def items_with_new_evidence(self) -> list[Item]:
        """Reported items of which a build was run again and ended after the last report, with none still going."""
        again = (
            sa.select(t.builds.c.buildset)
            .where(t.builds.c.round > 1, t.builds.c.result.is_not(None))
            .where(~sa.exists().where(t.reports.c.buildset == t.builds.c.buildset, t.reports.c.created >= t.builds.c.ended))
        )
        going = sa.select(t.builds.c.buildset).where(t.builds.c.ended.is_(None))
        buildset = sa.select(t.buildsets.c.item).where(t.buildsets.c.id.in_(again), t.buildsets.c.id.not_in(going))
        return await self.items(t.items.c.id.in_(buildset), t.items.c.reason == "reported")

    async def forget(self, older_than: timedelta) -> int:
        """Delete handled events and left items (with their buildsets, builds and reports) older than that; how many items went."""
        limit = utc_now() - older_than
        async with self._engine.begin() as connection:
            await connection.execute(sa.delete(t.events).where(t.events.c.handled < limit))
            gone = await connection.execute(sa.delete(t.items).where(t.items.c.dequeued < limit))
            return gone.rowcount
