"""Rows of the tables as the values of `headgate.records`, and back."""

from __future__ import annotations

from typing import Any

from pydantic import TypeAdapter

from headgate.changes import Change, Event
from headgate.jobs import JobGraph
from headgate.records import Build, Buildset, FrozenProject, Item, StoredReport

CHANGE = TypeAdapter(Change)
EVENT = TypeAdapter(Event)
GRAPH = TypeAdapter(JobGraph)
PROJECTS = TypeAdapter(dict[str, FrozenProject])


def change_key(change: Change) -> str:
    return f"{change.connection}/{change.number}/{change.patchset}"


class Prefixed:
    """A row's columns whose names begin with a prefix, as if they did not."""

    def __init__(self, row: Any, prefix: str) -> None:
        self._row = row
        self._prefix = prefix

    def __getattr__(self, name: str) -> Any:
        return getattr(self._row, self._prefix + name)


def item_of(row: Any) -> Item:
    return Item(
        id=row.id,
        tenant=row.tenant,
        pipeline=row.pipeline,
        project=row.project,
        change=CHANGE.validate_python(row.change),
        enqueued=row.enqueued,
        event=row.event,
        flow_run=row.flow_run,
        dequeued=row.dequeued,
        reason=row.reason,
        cancelled=row.cancelled,
    )


def buildset_of(row: Any) -> Buildset:
    return Buildset(
        id=row.id,
        item=row.item,
        created=row.created,
        projects=PROJECTS.validate_python(row.projects),
        graph=None if row.graph is None else GRAPH.validate_python(row.graph),
        problem=row.problem,
        messages=tuple(row.messages),
        secrets=row.secrets,
    )


def build_of(row: Any) -> Build:
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


def report_of(row: Any) -> StoredReport:
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
