"""Events as connections told them, and which commits the tenants' configuration was read at."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import insert

from headgate.changes import Event
from tasks import tables as t
from tasks.store.base import StoreBase, utc_now
from tasks.store.rows import EVENT, event_values


class EventStore(StoreBase):
    """Events and layouts."""

    async def add_event(self, event: Event) -> bool:
        """Keep an event; False when it was known already."""
        async with self._engine.begin() as connection:
            added = await connection.execute(
                insert(t.events).values(event_values(event)).on_conflict_do_nothing(index_elements=[t.events.c.id]).returning(t.events.c.id)
            )
            if added.first() is None:
                return False
            await self._tell(connection, "events")
            return True

    async def new_events(self) -> list[Event]:
        """Events no pass has handled, in order of arrival."""
        async with self._engine.connect() as connection:
            rows = await connection.execute(sa.select(t.events.c.body).where(t.events.c.handled.is_(None)).order_by(t.events.c.sequence))
            return [EVENT.validate_python(row.body) for row in rows]

    async def last_event(self, connection_name: str) -> datetime | None:
        """When the newest event known of a connection happened, by that server's clock."""
        async with self._engine.connect() as connection:
            newest = await connection.scalar(sa.select(sa.func.max(t.events.c.created)).where(t.events.c.connection == connection_name))
            return newest if isinstance(newest, datetime) else None

    async def publish_layout(self, layout_id: str, tenant: str, branches: Mapping[str, Mapping[str, str]]) -> None:
        """Say which commits a tenant's configuration is read at from now on; told under `layout:TENANT`."""
        async with self._engine.begin() as connection:
            await connection.execute(
                insert(t.layouts)
                .values(id=layout_id, tenant=tenant, branches=branches, created=utc_now())
                .on_conflict_do_update(index_elements=[t.layouts.c.id], set_={"created": utc_now()})
            )
            await self._tell(connection, f"layout:{tenant}")

    async def layout(self, tenant: str) -> tuple[str, dict[str, dict[str, str]]] | None:
        """The newest published layout of a tenant: (id, branches)."""
        async with self._engine.connect() as connection:
            row = (
                await connection.execute(
                    sa.select(t.layouts.c.id, t.layouts.c.branches)
                    .where(t.layouts.c.tenant == tenant)
                    .order_by(t.layouts.c.created.desc())
                    .limit(1)
                )
            ).first()
            return None if row is None else (row.id, row.branches)
