"""Buildsets, and the builds in them."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import insert

from headgate.records import Build, Buildset, Item
from tasks import tables as t
from tasks.store.base import StoreBase, utc_now
from tasks.store.rows import Prefixed, build_of, build_values, buildset_of, buildset_values, item_of


class BuildStore(StoreBase):
    """Buildsets and builds."""

    async def add_buildset(self, buildset: Buildset) -> Buildset:
        """Keep the buildset of its item, or return the one it already has (an item has one; so a second call is harmless)."""
        async with self._engine.begin() as connection:
            await connection.execute(sa.select(t.items.c.id).where(t.items.c.id == buildset.item).with_for_update())
            row = (await connection.execute(sa.select(t.buildsets).where(t.buildsets.c.item == buildset.item))).first()
            if row is not None:
                return buildset_of(row)
            await connection.execute(insert(t.buildsets).values(buildset_values(buildset)))
            await self._tell(connection, "items", f"item:{buildset.item}", f"buildset:{buildset.id}")
            return buildset

    async def buildset(self, buildset_id: str) -> Buildset | None:
        async with self._engine.connect() as connection:
            row = (await connection.execute(sa.select(t.buildsets).where(t.buildsets.c.id == buildset_id))).first()
            return None if row is None else buildset_of(row)

    async def buildsets_of(self, item_ids: Sequence[str]) -> dict[str, Buildset]:
        """Item id to its buildset, for those that have one."""
        async with self._engine.connect() as connection:
            rows = await connection.execute(sa.select(t.buildsets).where(t.buildsets.c.item.in_(item_ids)))
            return {row.item: buildset_of(row) for row in rows}

    async def buildset_of(self, item_id: str) -> Buildset | None:
        async with self._engine.connect() as connection:
            row = (await connection.execute(sa.select(t.buildsets).where(t.buildsets.c.item == item_id))).first()
            return None if row is None else buildset_of(row)

    async def _select_builds(self, query: sa.Select[Any]) -> list[Build]:
        async with self._engine.connect() as connection:
            return [build_of(row) for row in await connection.execute(query)]

    async def builds(self, buildset_id: str) -> list[Build]:
        """Every build of a buildset, oldest first."""
        return await self._select_builds(
            sa.select(t.builds).where(t.builds.c.buildset == buildset_id).order_by(t.builds.c.created, t.builds.c.round, t.builds.c.attempt)
        )

    async def builds_of(self, buildset_ids: Sequence[str]) -> list[Build]:
        return await self._select_builds(sa.select(t.builds).where(t.builds.c.buildset.in_(buildset_ids)).order_by(t.builds.c.created))

    async def find_builds(
        self,
        *,
        tenant: str = "",
        pipeline: str = "",
        project: str = "",
        change: int | None = None,
        job: str = "",
        result: str = "",
        limit: int = 50,
        skip: int = 0,
    ) -> list[tuple[Build, Item]]:
        """Builds with their items, the newest first. Empty values do not filter; `project` may leave out its host."""
        items = t.items.alias()
        query = (
            sa.select(t.builds, *(column.label(f"item_{column.name}") for column in items.c))
            .join(t.buildsets, t.buildsets.c.id == t.builds.c.buildset)
            .join(items, items.c.id == t.buildsets.c.item)
            .order_by(t.builds.c.created.desc(), t.builds.c.id)
            .limit(limit)
            .offset(skip)
        )
        for column, value in ((items.c.tenant, tenant), (items.c.pipeline, pipeline), (t.builds.c.job, job), (t.builds.c.result, result)):
            if value:
                query = query.where(column == value)
        if project:
            query = query.where(sa.or_(items.c.project == project, items.c.project.endswith(f"/{project}", autoescape=True)))
        if change is not None:
            query = query.where(items.c.change["number"].as_integer() == change)
        async with self._engine.connect() as connection:
            return [(build_of(row), item_of(Prefixed(row, "item_"))) for row in await connection.execute(query)]

    async def build(self, build_id: str) -> Build | None:
        """The build with this id, or with this beginning of an id when only one has it."""
        found = await self._select_builds(sa.select(t.builds).where(t.builds.c.id.startswith(build_id, autoescape=True)).limit(2))
        return found[0] if len(found) == 1 else None

    async def begin_build(self, build: Build) -> Build:
        """Keep a new attempt, unless that attempt of that round is known: then that one."""
        async with self._engine.begin() as connection:
            await connection.execute(insert(t.builds).values(build_values(build)).on_conflict_do_nothing())
            row = (
                await connection.execute(
                    sa.select(t.builds).where(
                        t.builds.c.buildset == build.buildset,
                        t.builds.c.job == build.job,
                        t.builds.c.round == build.round,
                        t.builds.c.attempt == build.attempt,
                    )
                )
            ).one()
            await self._tell(connection, f"buildset:{build.buildset}", "items")
            return build_of(row)

    async def set_build(self, build_id: str, **values: Any) -> None:
        async with self._engine.begin() as connection:
            row = (
                await connection.execute(
                    sa.update(t.builds).where(t.builds.c.id == build_id).values(**values).returning(t.builds.c.buildset)
                )
            ).one()
            await self._tell(connection, f"buildset:{row.buildset}", "items")

    async def end_build(self, build_id: str, result: str | None, **values: Any) -> None:
        """Record how a build ended; the first end stands. `result` None: another attempt follows."""
        async with self._engine.begin() as connection:
            row = (
                await connection.execute(
                    sa.update(t.builds)
                    .where(t.builds.c.id == build_id, t.builds.c.ended.is_(None))
                    .values(ended=utc_now(), result=result, **values)
                    .returning(t.builds.c.buildset)
                )
            ).first()
            if row is not None:
                await self._tell(connection, f"buildset:{row.buildset}", "items")

    async def ended_builds(self, build_ids: Sequence[str]) -> list[str]:
        """Those of `build_ids` that have ended, or that there is no build for."""
        async with self._engine.connect() as connection:
            rows = await connection.execute(sa.select(t.builds.c.id).where(t.builds.c.id.in_(build_ids), t.builds.c.ended.is_(None)))
            going = {row.id for row in rows}
            return [build for build in build_ids if build and build not in going]

    async def old_builds(self, older_than: timedelta) -> list[str]:
        """Builds of items that `forget` would delete."""
        limit = utc_now() - older_than
        async with self._engine.connect() as connection:
            rows = await connection.execute(
                sa.select(t.builds.c.id)
                .join(t.buildsets, t.buildsets.c.id == t.builds.c.buildset)
                .join(t.items, t.items.c.id == t.buildsets.c.item)
                .where(t.items.c.dequeued < limit)
            )
            return [row.id for row in rows]

    async def result_of_run(self, flow_run: str, since: datetime) -> Build | None:
        """The build with a result that a flow run has ended since then, if any."""
        found = await self._select_builds(
            sa.select(t.builds)
            .where(t.builds.c.flow_run == flow_run, t.builds.c.ended >= since, t.builds.c.result.is_not(None))
            .order_by(t.builds.c.ended.desc())
            .limit(1)
        )
        return found[0] if found else None
