"""Rows of the tables as the values of `headgate.records`, and back."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from pydantic import TypeAdapter

from headgate.changes import Change, Event
from headgate.configuration import Reporter
from headgate.gating import state as gating
from headgate.jobs import JobGraph
from headgate.records import Build, Buildset, Command, CommandKind, FileComment, FrozenProject, Item, StoredReport

CHANGE = TypeAdapter(Change)
EVENT = TypeAdapter(Event)
CHANGES = TypeAdapter(tuple[Change, ...])
COMMENTS = TypeAdapter(tuple[FileComment, ...])
REPORTERS = TypeAdapter(tuple[Reporter, ...])
PIPELINE = TypeAdapter(gating.PipelineState)
HOLDERS = TypeAdapter(dict[str, tuple[gating.Holder, ...]])
_STATE = TypeAdapter(gating.Item)
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
        changes=CHANGES.validate_python(row.changes),
        ahead_only=not row.live,
    )


def item_values(item: Item) -> dict[str, Any]:
    """The columns of a new item."""
    return {
        "id": item.id,
        "tenant": item.tenant,
        "pipeline": item.pipeline,
        "project": item.project,
        "change": CHANGE.dump_python(item.change, mode="json"),
        "change_key": change_key(item.change),
        "changes": CHANGES.dump_python(item.changes, mode="json"),
        "live": not item.ahead_only,
        "enqueued": item.enqueued,
        "event": item.event,
        "dequeued": item.dequeued,
        "reason": item.reason,
    }


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
        ahead=CHANGES.validate_python(row.ahead),
        changes=CHANGES.validate_python(row.changes),
        takes_part=row.takes_part,
        comments=COMMENTS.validate_python(row.comments),
        flow_run=row.flow_run,
        prepared=row.prepared,
        ended=row.ended,
        result=row.result,
    )


def prepared_values(buildset: Buildset) -> dict[str, Any]:
    """The columns that preparing a buildset fills."""
    return {
        "projects": PROJECTS.dump_python(dict(buildset.projects), mode="json"),
        "graph": None if buildset.graph is None else GRAPH.dump_python(buildset.graph, mode="json"),
        "problem": buildset.problem,
        "messages": list(buildset.messages),
        "secrets": dict(buildset.secrets),
        "takes_part": buildset.takes_part,
        "comments": COMMENTS.dump_python(buildset.comments, mode="json"),
        "prepared": buildset.prepared,
    }


def event_values(event: Event) -> dict[str, Any]:
    """The columns of a new event."""
    body = EVENT.dump_python(event, mode="json")
    return {"id": event.id, "connection": event.connection, "type": event.type, "created": event.created, "body": body}


def buildset_values(buildset: Buildset) -> dict[str, Any]:
    """The columns of a new buildset."""
    return {
        "id": buildset.id,
        "item": buildset.item,
        "created": buildset.created,
        "ahead": CHANGES.dump_python(buildset.ahead, mode="json"),
        "changes": CHANGES.dump_python(buildset.changes, mode="json"),
        **prepared_values(buildset),
    }


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
        reason=row.reason,
        position=row.position,
        cancelled=row.cancelled,
        failing=row.failing,
    )


def build_values(build: Build) -> dict[str, Any]:
    """The columns of a new build."""
    return {
        "id": build.id,
        "buildset": build.buildset,
        "job": build.job,
        "position": build.position,
        "round": build.round,
        "reason": build.reason,
        "attempt": build.attempt,
        "voting": build.voting,
        "flow_run": build.flow_run,
        "created": build.created,
        "started": build.started,
        "ended": build.ended,
        "result": build.result,
        "message": build.message,
    }


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
        change=None if row.change is None else CHANGE.validate_python(row.change),
        reporters=REPORTERS.validate_python(row.reporters),
        answer=row.answer,
        by_flow=row.by_flow,
    )


def report_values(report: StoredReport) -> dict[str, Any]:
    """The columns of a new report."""
    return {
        "id": report.id,
        "item": report.item,
        "buildset": report.buildset,
        "kind": report.kind,
        "message": report.message,
        "labels": dict(report.labels),
        "created": report.created,
        "change": None if report.change is None else CHANGE.dump_python(report.change, mode="json"),
        "reporters": REPORTERS.dump_python(report.reporters, mode="json"),
        "answer": report.answer,
        "by_flow": report.by_flow,
    }


def command_of(row: Any) -> Command:
    return Command(
        id=row.id,
        tenant=row.tenant,
        pipeline=row.pipeline,
        kind=CommandKind(row.kind),
        created=row.created,
        changes=tuple((connection, number, patchset) for connection, number, patchset in row.changes),
        item=row.item,
        reason=row.reason,
        refs=CHANGES.validate_python(row.refs),
    )


def state_values(item: gating.Item) -> Any:
    """What is kept of an item beside what it is made of: all but the job graph, which is its buildset's."""
    return _STATE.dump_python(replace(item, buildset=replace(item.buildset, graph=None)), mode="json")


def state_of(values: Any, graph: JobGraph | None) -> gating.Item:
    """The item again. Jobs are written `NAME,POSITION` where JSON wants a text."""
    buildset = dict(values["buildset"])
    for name in ("builds", "attempts", "alternatives"):
        buildset[name] = {tuple(key.rsplit(",", 1)): value for key, value in buildset[name].items()}
    item = _STATE.validate_python({**values, "buildset": buildset})
    return replace(item, buildset=replace(item.buildset, graph=graph))
