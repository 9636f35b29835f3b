"""Buildsets, and the builds in them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import datetime, timedelta
from typing import Any

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import insert

from headgate.builds import SUCCESS
from headgate.records import Build, Buildset, Item
from tasks import tables as t
from tasks.store.base import FACTS, StoreBase, utc_now
from tasks.store.rows import Prefixed, build_of, build_values, buildset_of, item_of, prepared_values


class BuildStore(StoreBase):
    """Buildsets and builds."""

    async def buildset(self, buildset_id: str) -> Buildset | None:
        found = await self._select_buildsets(t.buildsets.c.id == buildset_id)
        return found[0] if found else None

    async def _select_buildsets(self, *where: sa.ColumnElement[bool]) -> list[Buildset]:
        async with self._engine.connect() as connection:
            rows = await connection.execute(sa.select(t.buildsets).where(*where).order_by(t.buildsets.c.created, t.buildsets.c.id))
            return [buildset_of(row) for row in rows]

    async def ended_as(self, buildset_id: str) -> str | None:
        """The buildset's result; None while it has not ended."""
        async with self._engine.connect() as connection:
            over = (t.buildsets.c.id == buildset_id, t.buildsets.c.ended.is_not(None))
            found = await connection.scalar(sa.select(t.buildsets.c.result).where(*over))
            return None if found is None else str(found)

    async def buildsets_of(self, item_ids: Sequence[str]) -> dict[str, Buildset]:
        """Item id to its newest buildset, for those that have one."""
        return {buildset.item: buildset for buildset in await self._select_buildsets(t.buildsets.c.item.in_(item_ids))}

    async def buildset_of(self, item_id: str) -> Buildset | None:
        """The item's newest buildset."""
        return (await self.buildsets_of([item_id])).get(item_id)

    async def prepared(self, buildset: Buildset) -> None:
        """Keep what preparing a buildset found; the first time stands."""
        async with self._engine.begin() as connection:
            this = sa.update(t.buildsets).where(t.buildsets.c.id == buildset.id, t.buildsets.c.prepared.is_(None))
            await connection.execute(this.values(prepared_values(buildset)))
            await self._tell(connection, FACTS, "items", f"item:{buildset.item}", f"buildset:{buildset.id}")

    async def prepared_of(self, buildset_ids: Sequence[str]) -> list[Buildset]:
        """Those of the buildsets that are prepared."""
        return await self._select_buildsets(t.buildsets.c.id.in_(buildset_ids), t.buildsets.c.prepared.is_not(None))

    async def without_run(self) -> list[tuple[Buildset, Item]]:
        """Buildsets nobody has begun to prepare, with their items: they want a flow run, or for items not live just preparing."""
        wanted = await self._select_buildsets(
            t.buildsets.c.ended.is_(None), t.buildsets.c.flow_run.is_(None), t.buildsets.c.prepared.is_(None)
        )
        if not wanted:
            return []
        async with self._engine.connect() as connection:
            rows = await connection.execute(sa.select(t.items).where(t.items.c.id.in_({each.item for each in wanted})))
            items = {row.id: item_of(row) for row in rows}
        return [(buildset, items[buildset.item]) for buildset in wanted]

    async def given_up(self) -> list[tuple[str, str]]:
        """(buildset, flow run) of those that were given up and whose run has not been told yet."""
        over = (t.buildsets.c.ended.is_not(None), t.buildsets.c.result == "", t.buildsets.c.flow_run.is_not(None))
        async with self._engine.connect() as connection:
            rows = await connection.execute(sa.select(t.buildsets.c.id, t.buildsets.c.flow_run).where(*over))
            return [(row.id, row.flow_run) for row in rows]

    async def set_buildset(self, buildset_id: str, **values: Any) -> None:
        """`flow_run` is also its item's from now on."""
        async with self._engine.begin() as connection:
            this = sa.update(t.buildsets).where(t.buildsets.c.id == buildset_id)
            item = await connection.scalar(this.values(**values).returning(t.buildsets.c.item))
            if "flow_run" in values:
                await connection.execute(sa.update(t.items).where(t.items.c.id == item).values(flow_run=values["flow_run"]))
            await self._tell(connection, "items", f"item:{item}")

    async def live_buildsets(self) -> dict[str, str]:
        """Flow run to buildset, of all that have not ended."""
        going = (t.buildsets.c.ended.is_(None), t.buildsets.c.flow_run.is_not(None))
        async with self._engine.connect() as connection:
            rows = await connection.execute(sa.select(t.buildsets.c.id, t.buildsets.c.flow_run).where(*going))
            return {row.flow_run: row.id for row in rows}

    async def _select_builds(self, query: sa.Select[Any]) -> list[Build]:
        async with self._engine.connect() as connection:
            return [build_of(row) for row in await connection.execute(query)]

    async def builds(self, buildset_id: str) -> list[Build]:
        """Every build of a buildset, oldest first."""
        return await self._select_builds(
            sa.select(t.builds).where(t.builds.c.buildset == buildset_id).order_by(t.builds.c.created, t.builds.c.round, t.builds.c.attempt)
        )

    async def marks_of(self, buildset_ids: Sequence[str]) -> dict[str, str]:
        """By buildset that has builds, something that is another as soon as anything was said of any of these builds."""
        build = t.builds.c
        counted = (
            sa.func.count(),
            sa.func.count(build.ended),
            sa.func.max(build.ended),
            sa.func.count(build.failing),
            sa.func.max(build.failing),
            sa.func.sum(build.round),
            sa.func.sum(sa.func.length(sa.cast(build.data, sa.Text))),
        )
        async with self._engine.connect() as connection:
            rows = await connection.execute(
                sa.select(build.buildset, *counted).where(build.buildset.in_(buildset_ids)).group_by(build.buildset)
            )
            return {row[0]: str(row[1:]) for row in rows}

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
            query = query.where(sa.cast(items.c.change["number"].astext, sa.BigInteger) == change)
        async with self._engine.connect() as connection:
            return [(build_of(row), item_of(Prefixed(row, "item_"))) for row in await connection.execute(query)]

    async def rerun_builds(self, since: datetime, job: str = "") -> list[Build]:
        """Every build of the jobs that were run again since then, of all jobs or of one, the runs before included."""
        again, build = t.builds.alias(), t.builds.c
        same = (again.c.buildset == build.buildset, again.c.job == build.job, again.c.position == build.position)
        query = sa.select(t.builds).where(sa.exists().where(*same, again.c.round > 1, again.c.created >= since))
        return await self._select_builds((query.where(build.job == job) if job else query).order_by(build.created))

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
                        t.builds.c.position == build.position,
                        t.builds.c.round == build.round,
                        t.builds.c.attempt == build.attempt,
                    )
                )
            ).one()
            await self._tell(connection, f"buildset:{build.buildset}", "items", *([FACTS] if build.round > 1 else ()))
            return build_of(row)

    async def set_build(self, build_id: str, **values: Any) -> None:
        async with self._engine.begin() as connection:
            row = (
                await connection.execute(
                    sa.update(t.builds).where(t.builds.c.id == build_id).values(**values).returning(t.builds.c.buildset)
                )
            ).one()
            await self._tell(connection, f"buildset:{row.buildset}", "items", *([FACTS] if "data" in values else ()))

    async def note_failing(self, build_id: str) -> None:
        """Record that a build that still runs will fail."""
        async with self._engine.begin() as connection:
            this = sa.update(t.builds).where(t.builds.c.id == build_id, t.builds.c.ended.is_(None), t.builds.c.failing.is_(None))
            row = (await connection.execute(this.values(failing=utc_now()).returning(t.builds.c.buildset))).first()
            if row is not None:
                await self._tell(connection, f"buildset:{row.buildset}", "items", FACTS)

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
                await self._tell(connection, f"buildset:{row.buildset}", "items", FACTS)

    async def start_build(self, build_id: str, flow_run: str | None) -> bool:
        """A flow run begins a build that a pass wanted; False when it may not (any more)."""
        async with self._engine.begin() as connection:
            free = (t.builds.c.flow_run.is_(None), t.builds.c.ended.is_(None), t.builds.c.cancelled.is_(None))
            this = sa.update(t.builds).where(t.builds.c.id == build_id, *free)
            row = (await connection.execute(this.values(flow_run=flow_run).returning(t.builds.c.buildset))).first()
            if row is not None:
                await self._tell(connection, f"buildset:{row.buildset}", "items")
            return row is not None

    async def expected_seconds(self, jobs: Iterable[str]) -> dict[str, float]:
        """How long each job takes: the mean of its last ten successes, for jobs that have any."""
        seconds = sa.func.extract("epoch", t.builds.c.ended - t.builds.c.started)
        place = sa.func.row_number().over(partition_by=t.builds.c.job, order_by=t.builds.c.created.desc())
        ended = (t.builds.c.job.in_(list(jobs)), t.builds.c.result == SUCCESS, t.builds.c.started.is_not(None))
        newest = sa.select(t.builds.c.job, seconds.label("seconds"), place.label("place")).where(*ended).subquery()
        query = sa.select(newest.c.job, sa.func.avg(newest.c.seconds).label("mean")).where(newest.c.place <= 10).group_by(newest.c.job)
        async with self._engine.connect() as connection:
            return {row.job: float(row.mean) for row in await connection.execute(query)}

    async def ended_builds(self, build_ids: Sequence[str]) -> list[str]:
        """Those of `build_ids` that have ended, or that there is no build for."""
        async with self._engine.connect() as connection:
            rows = await connection.execute(sa.select(t.builds.c.id).where(t.builds.c.id.in_(build_ids), t.builds.c.ended.is_(None)))
            going = {row.id for row in rows}
            return [build for build in build_ids if build and build not in going]

    async def unpublished_builds(self) -> list[str]:
        """Builds whose logs are to be published by now and that no run of a worker is about to publish, those first that have waited
        longest. A run whose worker died counts as going on until that was found."""
        claimed = sa.select(t.claims.c.flow_run)
        left = (t.builds.c.unpublished <= utc_now(), t.builds.c.ended.is_not(None), t.builds.c.flow_run.not_in(claimed))
        async with self._engine.connect() as connection:
            return list(await connection.scalars(sa.select(t.builds.c.id).where(*left).order_by(t.builds.c.unpublished)))

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
