"""The store: the record of every event, item, buildset, build, node and report, in PostgreSQL.

Each method is one transaction, repeatable where its docstring says so, and tells whoever watches (`Store.watch`) what it changed.
Topics are `events`, `queues` (an item entered or left), `items` (anything of any item), `item:ID`, `buildset:ID`, `layout:TENANT`.
Values in and out are those of `headgate.records`.
"""

from __future__ import annotations

import uuid
from collections.abc import AsyncIterator, Iterable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from datetime import UTC, datetime, timedelta
from typing import Any

import sqlalchemy as sa
from pydantic import TypeAdapter
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from headgate.builds import CANCELED
from headgate.changes import Change, Event
from headgate.jobs import JobGraph
from headgate.queues import CANCELLED
from headgate.records import Build, Buildset, FrozenProject, Item, StoredReport
from tasks import tables as t
from tasks.database import CHANNEL, Listener, lease_key

_change = TypeAdapter(Change)
_event = TypeAdapter(Event)
_graph = TypeAdapter(JobGraph)
_projects = TypeAdapter(dict[str, FrozenProject])


def new_id() -> str:
    """A fresh unique name, 32 hexadecimal digits, as Zuul writes its ids."""
    return uuid.uuid4().hex


def _now() -> datetime:
    return datetime.now(UTC)


def change_key(change: Change) -> str:
    return f"{change.connection}/{change.number}/{change.patchset}"


class _Prefixed:
    """A row's columns whose names begin with a prefix, as if they did not."""

    def __init__(self, row: Any, prefix: str) -> None:
        self._row = row
        self._prefix = prefix

    def __getattr__(self, name: str) -> Any:
        return getattr(self._row, self._prefix + name)


class Store:
    """Everything Headgate remembers. Safe to use from any number of coroutines."""

    def __init__(self, engine: AsyncEngine, listener: Listener) -> None:
        self._engine = engine
        self._listener = listener

    def watch(self, *topics: str) -> AbstractAsyncContextManager[Any]:
        """An `asyncio.Event` set whenever something under one of `topics` changed; it may also be set without need."""
        return self._listener.watch(*topics)

    async def close(self) -> None:
        await self._listener.close()
        await self._engine.dispose()

    async def tell(self, *topics: str) -> None:
        """Wake the watchers of `topics` everywhere."""
        async with self._engine.begin() as connection:
            await self._tell(connection, *topics)

    @staticmethod
    async def _tell(connection: AsyncConnection, *topics: str) -> None:
        for topic in topics:
            await connection.execute(sa.select(sa.func.pg_notify(CHANNEL, topic)))

    @asynccontextmanager
    async def alone(self, name: str) -> AsyncIterator[None]:
        """Only one coroutine of all processes is inside for `name`. It keeps one connection of this process's few: no long work in it."""
        async with self._engine.begin() as connection:
            await connection.execute(sa.select(sa.func.pg_advisory_xact_lock(lease_key(name))))
            yield

    # --- the installation -------------------------------------------------------------------------------------------------------------

    async def owner(self) -> str:
        """This installation's name on all it owns outside; made once."""
        async with self._engine.begin() as connection:
            found = (await connection.execute(sa.select(t.installation.c.id))).scalar()
            if found is None:
                found = f"headgate-{new_id()[:12]}"
                await connection.execute(insert(t.installation).values(id=found, created=_now()))
            return str(found)

    # --- events -----------------------------------------------------------------------------------------------------------------------

    async def add_event(self, event: Event) -> bool:
        """Keep an event; False when it was known already."""
        async with self._engine.begin() as connection:
            added = await connection.execute(
                insert(t.events)
                .values(
                    id=event.id,
                    connection=event.connection,
                    type=event.type,
                    created=event.created,
                    body=_event.dump_python(event, mode="json"),
                )
                .on_conflict_do_nothing(index_elements=[t.events.c.id])
                .returning(t.events.c.id)
            )
            if added.first() is None:
                return False
            await self._tell(connection, "events")
            return True

    async def new_events(self) -> list[Event]:
        """Events no pass has handled, in order of arrival."""
        async with self._engine.connect() as connection:
            rows = await connection.execute(sa.select(t.events.c.body).where(t.events.c.handled.is_(None)).order_by(t.events.c.sequence))
            return [_event.validate_python(row.body) for row in rows]

    async def last_event(self, connection_name: str) -> datetime | None:
        """When the newest event known of a connection happened, by that server's clock."""
        async with self._engine.connect() as connection:
            newest = await connection.scalar(sa.select(sa.func.max(t.events.c.created)).where(t.events.c.connection == connection_name))
            return newest if isinstance(newest, datetime) else None

    # --- items ------------------------------------------------------------------------------------------------------------------------

    async def apply(self, event: Event | None, enqueue: Iterable[Item], dequeue: Iterable[tuple[str, str]], outcome: str = "") -> None:
        """What a pass decided of one event, with the event's being handled, in one transaction. `dequeue` is (item id, reason)."""
        now = _now()
        topics = {"items", "queues"}
        async with self._engine.begin() as connection:
            for item in enqueue:
                await connection.execute(
                    insert(t.items)
                    .values(
                        id=item.id,
                        tenant=item.tenant,
                        pipeline=item.pipeline,
                        project=item.project,
                        change=_change.dump_python(item.change, mode="json"),
                        change_key=change_key(item.change),
                        enqueued=item.enqueued,
                        event=item.event,
                    )
                    .on_conflict_do_nothing(index_elements=[t.items.c.id])
                )
            for item_id, reason in dequeue:
                await connection.execute(
                    sa.update(t.items).where(t.items.c.id == item_id, t.items.c.dequeued.is_(None)).values(dequeued=now, reason=reason)
                )
                topics.add(f"item:{item_id}")
            if event is not None:
                await connection.execute(sa.update(t.events).where(t.events.c.id == event.id).values(handled=now, outcome=outcome))
            await self._tell(connection, *sorted(topics))

    @staticmethod
    def _item(row: Any) -> Item:
        return Item(
            id=row.id,
            tenant=row.tenant,
            pipeline=row.pipeline,
            project=row.project,
            change=_change.validate_python(row.change),
            enqueued=row.enqueued,
            event=row.event,
            flow_run=row.flow_run,
            dequeued=row.dequeued,
            reason=row.reason,
            cancelled=row.cancelled,
        )

    async def items(self, *where: sa.ColumnElement[bool], limit: int = 10_000) -> list[Item]:
        """Items that match, oldest first."""
        async with self._engine.connect() as connection:
            rows = await connection.execute(sa.select(t.items).where(*where).order_by(t.items.c.enqueued, t.items.c.id).limit(limit))
            return [self._item(row) for row in rows]

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
            await connection.execute(left.values(dequeued=_now(), reason=CANCELLED, cancelled=_now()))
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

    # --- layouts ----------------------------------------------------------------------------------------------------------------------

    async def publish_layout(self, layout_id: str, tenant: str, branches: Mapping[str, Mapping[str, str]]) -> None:
        """Say which commits a tenant's configuration is read at from now on; told under `layout:TENANT`."""
        async with self._engine.begin() as connection:
            await connection.execute(
                insert(t.layouts)
                .values(id=layout_id, tenant=tenant, branches=branches, created=_now())
                .on_conflict_do_update(index_elements=[t.layouts.c.id], set_={"created": _now()})
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

    # --- buildsets --------------------------------------------------------------------------------------------------------------------

    async def add_buildset(self, buildset: Buildset) -> Buildset:
        """Keep the buildset of its item, or return the one it already has (an item has one; so a second call is harmless)."""
        async with self._engine.begin() as connection:
            await connection.execute(sa.select(t.items.c.id).where(t.items.c.id == buildset.item).with_for_update())
            row = (await connection.execute(sa.select(t.buildsets).where(t.buildsets.c.item == buildset.item))).first()
            if row is not None:
                return self._buildset(row)
            await connection.execute(
                insert(t.buildsets).values(
                    id=buildset.id,
                    item=buildset.item,
                    created=buildset.created,
                    projects=_projects.dump_python(dict(buildset.projects), mode="json"),
                    graph=None if buildset.graph is None else _graph.dump_python(buildset.graph, mode="json"),
                    problem=buildset.problem,
                    messages=list(buildset.messages),
                    secrets=dict(buildset.secrets),
                )
            )
            await self._tell(connection, "items", f"item:{buildset.item}", f"buildset:{buildset.id}")
            return buildset

    @staticmethod
    def _buildset(row: Any) -> Buildset:
        return Buildset(
            id=row.id,
            item=row.item,
            created=row.created,
            projects=_projects.validate_python(row.projects),
            graph=None if row.graph is None else _graph.validate_python(row.graph),
            problem=row.problem,
            messages=tuple(row.messages),
            secrets=row.secrets,
        )

    async def buildset(self, buildset_id: str) -> Buildset | None:
        async with self._engine.connect() as connection:
            row = (await connection.execute(sa.select(t.buildsets).where(t.buildsets.c.id == buildset_id))).first()
            return None if row is None else self._buildset(row)

    async def buildsets_of(self, item_ids: Sequence[str]) -> dict[str, Buildset]:
        """Item id to its buildset, for those that have one."""
        async with self._engine.connect() as connection:
            rows = await connection.execute(sa.select(t.buildsets).where(t.buildsets.c.item.in_(item_ids)))
            return {row.item: self._buildset(row) for row in rows}

    async def buildset_of(self, item_id: str) -> Buildset | None:
        async with self._engine.connect() as connection:
            row = (await connection.execute(sa.select(t.buildsets).where(t.buildsets.c.item == item_id))).first()
            return None if row is None else self._buildset(row)

    # --- builds -----------------------------------------------------------------------------------------------------------------------

    @staticmethod
    def _build(row: Any) -> Build:
        return Build(
            id=row.id,
            buildset=row.buildset,
            job=row.job,
            attempt=row.attempt,
            voting=row.voting,
            created=row.created,
            flow_run=row.flow_run,
            started=row.started,
            ended=row.ended,
            result=row.result,
            message=row.message,
            nodes=tuple(row.nodes),
            data=row.data,
            warnings=tuple(row.warnings),
            round=row.round,
        )

    async def _select_builds(self, query: sa.Select[Any]) -> list[Build]:
        async with self._engine.connect() as connection:
            return [self._build(row) for row in await connection.execute(query)]

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
            return [(self._build(row), self._item(_Prefixed(row, "item_"))) for row in await connection.execute(query)]

    async def build(self, build_id: str) -> Build | None:
        """The build with this id, or with this beginning of an id when only one has it."""
        found = await self._select_builds(sa.select(t.builds).where(t.builds.c.id.startswith(build_id, autoescape=True)).limit(2))
        return found[0] if len(found) == 1 else None

    async def begin_build(self, build: Build) -> Build:
        """Keep a new attempt, unless that attempt of that round is known: then that one."""
        async with self._engine.begin() as connection:
            await connection.execute(
                insert(t.builds)
                .values(
                    id=build.id,
                    buildset=build.buildset,
                    job=build.job,
                    round=build.round,
                    attempt=build.attempt,
                    voting=build.voting,
                    flow_run=build.flow_run,
                    created=build.created,
                    started=build.started,
                    ended=build.ended,
                    result=build.result,
                    message=build.message,
                )
                .on_conflict_do_nothing()
            )
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
            return self._build(row)

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
                    .values(ended=_now(), result=result, **values)
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
        limit = _now() - older_than
        async with self._engine.connect() as connection:
            rows = await connection.execute(
                sa.select(t.builds.c.id)
                .join(t.buildsets, t.buildsets.c.id == t.builds.c.buildset)
                .join(t.items, t.items.c.id == t.buildsets.c.item)
                .where(t.items.c.dequeued < limit)
            )
            return [row.id for row in rows]

    # --- reports ----------------------------------------------------------------------------------------------------------------------

    async def add_report(self, report: StoredReport) -> StoredReport:
        """Write down what is about to be said; a report of that id that is there already is returned as it is."""
        async with self._engine.begin() as connection:
            await connection.execute(
                insert(t.reports)
                .values(
                    id=report.id,
                    item=report.item,
                    buildset=report.buildset,
                    kind=report.kind,
                    message=report.message,
                    labels=dict(report.labels),
                    created=report.created,
                )
                .on_conflict_do_nothing()
            )
            row = (await connection.execute(sa.select(t.reports).where(t.reports.c.id == report.id))).one()
            return self._report(row)

    @staticmethod
    def _report(row: Any) -> StoredReport:
        return StoredReport(
            id=row.id,
            item=row.item,
            buildset=row.buildset,
            kind=row.kind,
            message=row.message,
            labels=row.labels,
            created=row.created,
            sent=row.sent,
            refused=row.refused,
        )

    async def reports(self, item_id: str) -> list[StoredReport]:
        async with self._engine.connect() as connection:
            rows = await connection.execute(sa.select(t.reports).where(t.reports.c.item == item_id).order_by(t.reports.c.created))
            return [self._report(row) for row in rows]

    async def report_sent(self, report_id: str, refused: str = "") -> None:
        async with self._engine.begin() as connection:
            row = (
                await connection.execute(
                    sa.update(t.reports).where(t.reports.c.id == report_id).values(sent=_now(), refused=refused).returning(t.reports.c.item)
                )
            ).one()
            await self._tell(connection, "items", f"item:{row.item}")

    # --- workers and their claims -----------------------------------------------------------------------------------------------------

    async def add_worker(self, worker_id: str, lease: int, hostname: str, process: int) -> None:
        async with self._engine.begin() as connection:
            await connection.execute(
                insert(t.workers).values(id=worker_id, lease=lease, hostname=hostname, process=process, started=_now())
            )

    async def worker_gone(self, worker_id: str) -> None:
        async with self._engine.begin() as connection:
            await connection.execute(sa.update(t.workers).where(t.workers.c.id == worker_id).values(gone=_now()))

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
                .values(flow_run=flow_run, worker=worker_id, claimed=_now())
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

    async def result_of_run(self, flow_run: str, since: datetime) -> Build | None:
        """The build with a result that a flow run has ended since then, if any."""
        found = await self._select_builds(
            sa.select(t.builds)
            .where(t.builds.c.flow_run == flow_run, t.builds.c.ended >= since, t.builds.c.result.is_not(None))
            .order_by(t.builds.c.ended.desc())
            .limit(1)
        )
        return found[0] if found else None

    async def claimed(self) -> set[str]:
        """Every flow run that some worker claims."""
        async with self._engine.connect() as connection:
            return {row.flow_run for row in await connection.execute(sa.select(t.claims.c.flow_run))}

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

    # --- housekeeping -----------------------------------------------------------------------------------------------------------------

    async def forget(self, older_than: timedelta) -> int:
        """Delete handled events and left items (with their buildsets, builds and reports) older than that; how many items went."""
        limit = _now() - older_than
        async with self._engine.begin() as connection:
            await connection.execute(sa.delete(t.events).where(t.events.c.handled < limit))
            gone = await connection.execute(sa.delete(t.items).where(t.items.c.dequeued < limit))
            return gone.rowcount
