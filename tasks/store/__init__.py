"""The store: the record of every event, item, buildset, build, node and report, in PostgreSQL.

Each method is one transaction, repeatable where its docstring says so, and tells whoever watches (`Store.watch`) what it changed.
Topics are `events`, `queues` (an item entered or left), `facts` (what a pass has to take
in), `items` (anything of any item), `item:ID`, `buildset:ID`, `layout:TENANT`.
Values in and out are those of `headgate.records`.
"""

from __future__ import annotations

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import insert

from tasks import tables as t
from tasks.store.base import FACTS, new_id, utc_now
from tasks.store.builds import BuildStore
from tasks.store.events import EventStore
from tasks.store.items import ItemStore
from tasks.store.pipelines import PipelineStore, Turn
from tasks.store.reports import ReportStore
from tasks.store.workers import WorkerStore

__all__ = ["FACTS", "Store", "Turn", "new_id"]


class Store(EventStore, PipelineStore, ItemStore, BuildStore, ReportStore, WorkerStore):
    """Everything Headgate remembers. Safe to use from any number of coroutines."""

    async def owner(self) -> str:
        """This installation's name on all it owns outside; made once."""
        async with self._engine.begin() as connection:
            found = (await connection.execute(sa.select(t.installation.c.id))).scalar()
            if found is None:
                found = f"headgate-{new_id()[:12]}"
                await connection.execute(insert(t.installation).values(id=found, created=utc_now()))
            return str(found)
