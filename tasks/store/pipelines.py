"""What the pipelines hold, and what people and flows ask of them. A turn of the scheduler is kept in one transaction."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncConnection

from headgate import gating
from headgate.builds import CANCELED
from headgate.changes import Event
from headgate.gating.state import Holder
from headgate.records import CANCELLED, Build, Buildset, Command, Item, StoredReport
from tasks import tables as t
from tasks.store.base import FACTS, StoreBase, utc_now
from tasks.store.rows import (
    CHANGES,
    GRAPH,
    HOLDERS,
    PIPELINE,
    build_values,
    buildset_values,
    command_of,
    event_values,
    item_values,
    report_values,
    state_of,
    state_values,
)


@dataclass(slots=True)
class Turn:
    """All that one turn of the scheduler decided. Ids are of items, buildsets and builds; what is given twice is kept once."""

    heard: dict[str, str] = field(default_factory=dict)
    """Event id to what became of it."""
    commanded: dict[str, str] = field(default_factory=dict)
    """Command id to what became of it."""
    states: dict[tuple[str, str], gating.PipelineState] = field(default_factory=dict)
    """(tenant, pipeline) to its state; items that changed are in `items`."""
    semaphores: dict[str, Mapping[str, tuple[Holder, ...]]] = field(default_factory=dict)
    entered: list[Item] = field(default_factory=list)
    items: dict[str, gating.Item] = field(default_factory=dict)
    left: dict[str, str] = field(default_factory=dict)
    """Item id to why it left."""
    buildsets: list[Buildset] = field(default_factory=list)
    ended: dict[str, str] = field(default_factory=dict)
    """Buildset id to its result, "" for one that was given up."""
    resumed: dict[str, str] = field(default_factory=dict)
    """Item id to its buildset: both live again."""
    builds: list[Build] = field(default_factory=list)
    cancelled: list[str] = field(default_factory=list)
    """Builds that have to stop."""
    reports: list[StoredReport] = field(default_factory=list)
    announced: list[Event] = field(default_factory=list)
    """What pipelines tell each other and what has to be read first; heard in the next turn."""

    def __bool__(self) -> bool:
        return any(getattr(self, name) for name in self.__slots__)


class PipelineStore(StoreBase):
    """Pipelines, semaphores, commands."""

    async def keep_turn(self, turn: Turn) -> None:
        """Keep it whole or not at all, and tell who has to do something about it."""
        now = utc_now()
        async with self._engine.begin() as connection:
            for event, outcome in turn.heard.items():
                await connection.execute(sa.update(t.events).where(t.events.c.id == event).values(handled=now, outcome=outcome))
            for command, outcome in turn.commanded.items():
                await connection.execute(sa.update(t.commands).where(t.commands.c.id == command).values(handled=now, outcome=outcome))
            await self._keep_states(connection, turn)
            await self._keep_items(connection, turn)
            await self._keep_buildsets(connection, turn)
            if turn.reports:
                await connection.execute(insert(t.reports), [report_values(report) for report in turn.reports])
            if turn.announced:
                await connection.execute(insert(t.events).on_conflict_do_nothing(), [event_values(event) for event in turn.announced])
                await self._tell(connection, "events")
            topics = {"items", "queues"} | {f"item:{item}" for item in [*turn.left, *turn.items]}
            topics |= {f"buildset:{each}" for each in (*turn.ended, *(build.buildset for build in turn.builds))}
            topics |= {f"buildset:{report.buildset}" for report in turn.reports if report.buildset}
            if turn.cancelled:
                rows = await connection.execute(sa.select(t.builds.c.buildset).where(t.builds.c.id.in_(turn.cancelled)))
                topics |= {f"buildset:{row.buildset}" for row in rows}
            await self._tell(connection, *sorted(topics))

    @staticmethod
    async def _keep_states(connection: AsyncConnection, turn: Turn) -> None:
        for (tenant, pipeline), state in turn.states.items():
            values = PIPELINE.dump_python(replace(state, items={}), mode="json")
            statement = insert(t.pipelines).values(tenant=tenant, pipeline=pipeline, state=values)
            await connection.execute(statement.on_conflict_do_update(index_elements=["tenant", "pipeline"], set_={"state": values}))
        for tenant, semaphores in turn.semaphores.items():
            held = HOLDERS.dump_python(dict(semaphores), mode="json")
            taken = insert(t.semaphores).values(tenant=tenant, holders=held)
            await connection.execute(taken.on_conflict_do_update(index_elements=["tenant"], set_={"holders": held}))

    @staticmethod
    async def _keep_items(connection: AsyncConnection, turn: Turn) -> None:
        now = utc_now()
        if turn.entered:
            await connection.execute(insert(t.items).on_conflict_do_nothing(), [item_values(item) for item in turn.entered])
        for item_id in turn.resumed:
            await connection.execute(sa.update(t.items).where(t.items.c.id == item_id).values(dequeued=None, reason="", cancelled=None))
        for item_id, item in turn.items.items():
            await connection.execute(sa.update(t.items).where(t.items.c.id == item_id).values(state=state_values(item)))
        for item_id, reason in turn.left.items():
            left = sa.update(t.items).where(t.items.c.id == item_id, t.items.c.dequeued.is_(None))
            await connection.execute(left.values(dequeued=now, reason=reason))

    @staticmethod
    async def _keep_buildsets(connection: AsyncConnection, turn: Turn) -> None:
        now = utc_now()
        if turn.buildsets:
            await connection.execute(insert(t.buildsets).on_conflict_do_nothing(), [buildset_values(each) for each in turn.buildsets])
        for buildset in turn.resumed.values():
            await connection.execute(sa.update(t.buildsets).where(t.buildsets.c.id == buildset).values(ended=None, result=""))
            # what was cancelled with it counts for nothing
            cancelled = sa.update(t.builds).where(t.builds.c.buildset == buildset, t.builds.c.result == CANCELED)
            await connection.execute(cancelled.values(result=None, message=CANCELLED, cancelled=None))
        if turn.builds:
            await connection.execute(insert(t.builds).on_conflict_do_nothing(), [build_values(build) for build in turn.builds])
        for buildset, result in turn.ended.items():
            over = sa.update(t.buildsets).where(t.buildsets.c.id == buildset, t.buildsets.c.ended.is_(None))
            await connection.execute(over.values(ended=now, result=result))
        if turn.cancelled:
            stopped = sa.update(t.builds).where(t.builds.c.id.in_(turn.cancelled), t.builds.c.ended.is_(None))
            await connection.execute(stopped.values(cancelled=now))
            # one whose run was not created yet never will be
            await connection.execute(stopped.where(t.builds.c.flow_run.is_(None)).values(ended=now, result=CANCELED))

    async def tenancy(self, tenant: str, pipelines: Sequence[str], seed: str) -> gating.Tenancy:
        """What the tenant's pipelines hold, as the last turn left it. `seed` names what is created in a pipeline seen first."""
        async with self._engine.connect() as connection:
            rows = await connection.execute(sa.select(t.pipelines).where(t.pipelines.c.tenant == tenant))
            known = {row.pipeline: PIPELINE.validate_python(row.state) for row in rows}
            live = await connection.execute(
                sa.select(t.items.c.pipeline, t.items.c.state).where(t.items.c.tenant == tenant, t.items.c.dequeued.is_(None))
            )
            kept = [(row.pipeline, row.state) for row in live if row.state is not None]
            wanted = [state["buildset"]["id"] for _, state in kept]
            graphs = await connection.execute(sa.select(t.buildsets.c.id, t.buildsets.c.graph).where(t.buildsets.c.id.in_(wanted)))
            graph = {row.id: GRAPH.validate_python(row.graph) for row in graphs if row.graph is not None}
            holders = await connection.scalar(sa.select(t.semaphores.c.holders).where(t.semaphores.c.tenant == tenant))
        states: dict[str, gating.PipelineState] = {name: gating.PipelineState(seed=seed) for name in pipelines} | known
        for name in states:
            items = [_state(values, graph) for pipeline, values in kept if pipeline == name]
            states[name] = replace(states[name], items={item.id: item for item in items})
        return gating.Tenancy(states, HOLDERS.validate_python(holders or {}))

    async def queues(self) -> dict[tuple[str, str], tuple[gating.Queue, ...]]:
        """(tenant, pipeline) to its queues, those with nothing in them too."""
        async with self._engine.connect() as connection:
            rows = await connection.execute(sa.select(t.pipelines))
            return {(row.tenant, row.pipeline): PIPELINE.validate_python(row.state).queues for row in rows}

    async def ruled_items(self) -> dict[str, gating.Item]:
        """Item id to what the rules know of it (without its job graph), for all that are in a pipeline."""
        async with self._engine.connect() as connection:
            query = sa.select(t.items.c.id, t.items.c.state).where(t.items.c.dequeued.is_(None), t.items.c.state.is_not(None))
            return {row.id: state_of(row.state, None) for row in await connection.execute(query)}

    async def item_state(self, item_id: str) -> gating.Item | None:
        """An item as it was last, whether or not it has left."""
        async with self._engine.connect() as connection:
            values = await connection.scalar(sa.select(t.items.c.state).where(t.items.c.id == item_id))
            if values is None:
                return None
            graph = await connection.scalar(sa.select(t.buildsets.c.graph).where(t.buildsets.c.id == values["buildset"]["id"]))
            return _state(values, {values["buildset"]["id"]: GRAPH.validate_python(graph)} if graph is not None else {})

    # what is asked of the scheduler

    async def ask(self, command: Command) -> None:
        """Ask; once, however often it is called with the same command."""
        async with self._engine.begin() as connection:
            values = {name: getattr(command, name) for name in ("id", "tenant", "pipeline", "item", "reason", "created")}
            changes = [list(key) for key in command.changes]
            refs = CHANGES.dump_python(command.refs, mode="json")
            statement = insert(t.commands).values(kind=command.kind.value, changes=changes, refs=refs, **values)
            await connection.execute(statement.on_conflict_do_nothing())
            await self._tell(connection, FACTS)

    async def new_commands(self) -> list[Command]:
        """Commands no turn has taken in, in the order they were given."""
        async with self._engine.connect() as connection:
            query = sa.select(t.commands).where(t.commands.c.handled.is_(None)).order_by(t.commands.c.sequence)
            return [command_of(row) for row in await connection.execute(query)]

    async def outcome(self, command_id: str) -> str | None:
        """What became of a command; None while nobody has taken it in."""
        async with self._engine.connect() as connection:
            query = sa.select(t.commands.c.outcome).where(t.commands.c.id == command_id, t.commands.c.handled.is_not(None))
            found = await connection.scalar(query)
            return None if found is None else str(found)


def _state(values: Any, graphs: Mapping[str, Any]) -> gating.Item:
    graph = graphs.get(values["buildset"]["id"])
    item = state_of(values, None)
    return gating.with_graph(item, graph) if graph is not None and item.buildset.preparation == "done" else item
