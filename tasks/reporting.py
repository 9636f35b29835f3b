"""Reports: what is said on a change, written down before it is said, said until the server has it, and never twice.

A report's id is a digest of its evidence (`headgate.reports.report_id`): the same results give the same report, so whoever comes to the
same conclusion again finds it made. The connection looks for that id on the change before it repeats a delivery that may have arrived.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime

from headgate.builds import FAILURE, SUCCESS, buildset_result, current, failing, results
from headgate.changes import Change
from headgate.configuration import Pipeline
from headgate.configuration.pipelines import Reporter
from headgate.problems import Problem
from headgate.queues import REPORTED
from headgate.records import Build, Buildset, FileComment, Item, StoredReport
from headgate.reports import fill, job_lines, report_id, report_message
from headgate.returned import remarks_of, zuul_section
from tasks.connections import Report, ReportRefused
from tasks.effects import effect
from tasks.runtime import Runtime, runtime

DELIVERY_TRIES = 40
"""With pauses growing to a minute, a server may be away for half an hour; after that the reconciler starts the change's run again."""
MOST_WARNINGS, LONGEST_WARNING = 20, 1000
CONFLICT, CONFIG_ERROR, NO_JOBS = "MERGE_CONFLICT", "CONFIG_ERROR", "NO_JOBS"


@dataclass(frozen=True, slots=True)
class Outcome:
    """How an item ended. `summary` is one sentence for the run's state."""

    result: str
    summary: str


def reporters(pipeline: Pipeline, result: str) -> tuple[Reporter, ...]:
    """Who is told of a result."""
    return {
        SUCCESS: pipeline.success,
        CONFLICT: pipeline.merge_conflict,
        CONFIG_ERROR: pipeline.config_error,
        NO_JOBS: pipeline.no_jobs,
    }.get(result, pipeline.failure)


def headline(pipeline: Pipeline, result: str, item: Item) -> str:
    """The first line of a report."""
    text = {
        SUCCESS: pipeline.success_message,
        CONFLICT: pipeline.merge_conflict_message,
        NO_JOBS: pipeline.no_jobs_message,
    }.get(result, pipeline.failure_message)
    return fill(text, _fields(pipeline, item))


def _fields(pipeline: Pipeline, item: Item) -> Mapping[str, object]:
    return {"pipeline.name": pipeline.name, "change": item.change, "change.number": item.change.number}


@effect(
    name="report",
    task_run_name="report {votes} on {change}",
    retries=DELIVERY_TRIES,
    retry_delay_seconds=[min(0.5 * 2**n, 60) for n in range(DELIVERY_TRIES)],
    retry_condition_fn=lambda _task, _run, state: state.is_failed(),
)
async def deliver(connection: str, report: Report, votes: str, change: str) -> str:
    """Say it on the change; `""`, or the reason why the server will never take it. Retried because servers restart."""
    this = await runtime()
    try:
        await this.connections[connection].report(report)
    except ReportRefused as refused:
        return str(refused)
    return ""


def _votes(labels: Mapping[str, int]) -> str:
    return ", ".join(f"{label} {value:+d}" for label, value in labels.items()) or "a comment"


async def _say(this: Runtime, item: Item, stored: StoredReport, told: tuple[Reporter, ...], comments: tuple[FileComment, ...] = ()) -> str:
    """Make a stored report unless it was made; the reason if it was refused."""
    stored = await this.store.add_report(stored)
    if stored.sent is not None:
        return stored.refused
    refused = ""
    for reporter in told:
        if reporter.connection != item.change.connection:
            continue
        report = Report(
            id=stored.id,
            change=item.change,
            pipeline=item.pipeline,
            message=stored.message if reporter.comment else "",
            labels=dict(reporter.labels),
            comments=comments if reporter.comment else (),
            submit=reporter.submit,
            notify=reporter.notify,
        )
        refused = await deliver(reporter.connection, report, _votes(reporter.labels), str(item.change))
    await this.store.report_sent(stored.id, refused)
    return refused


async def report_start(item_id: str) -> None:
    """Tell that jobs begin, where the pipeline says so."""
    this = await runtime()
    item, pipeline = await _context(this, item_id)
    if pipeline is None or not pipeline.start:
        return
    stored = StoredReport(
        id=f"{item.id}-start",
        item=item.id,
        buildset=None,
        kind="start",
        message=f"{fill(pipeline.start_message, _fields(pipeline, item))}\n{this.settings.web_url}/",
        labels=_labels(pipeline.start, item.change),
        created=datetime.now(UTC),
    )
    await _say(this, item, stored, pipeline.start)


async def _context(this: Runtime, item_id: str) -> tuple[Item, Pipeline | None]:
    item = await this.store.item(item_id)
    if item is None:
        raise Problem(f"There is no item {item_id}.")
    return item, (await this.tenants.layout(item.tenant)).pipelines.get(item.pipeline)


def _labels(told: tuple[Reporter, ...], change: Change) -> dict[str, int]:
    return {label: value for reporter in told if reporter.connection == change.connection for label, value in reporter.labels.items()}


def outcome_of(buildset: Buildset, builds: list[Build]) -> str | None:
    """The buildset's result, or None while a job has none."""
    if buildset.problem is not None or buildset.graph is None:
        return buildset.problem or NO_JOBS
    return buildset_result(buildset.graph, results(builds))


async def report_result(item_id: str) -> Outcome:
    """Add up the item's builds, say the result on the change, and let the item go. Repeatable."""
    this = await runtime()
    item, pipeline = await _context(this, item_id)
    buildset = await this.store.buildset_of(item_id)
    if buildset is None:
        raise Problem(f"The item {item_id} has not been merged yet.")
    builds = await this.store.builds(buildset.id)
    result = outcome_of(buildset, builds)
    if result is None:
        raise Problem(f"Not every job of {item.change} has a result yet.")
    if pipeline is None:
        await this.store.apply(None, (), [(item.id, f"the pipeline {item.pipeline} is no more")])
        return Outcome(result, f"The pipeline {item.pipeline} is no more; nobody was told.")
    told = reporters(pipeline, result)
    labels = _labels(told, item.change)
    comments, warnings = await returned_remarks(this, item, buildset, builds)
    lines = [] if buildset.graph is None else job_lines(buildset.graph, builds, this.settings.web_url, datetime.now(UTC))
    stored = StoredReport(
        id=report_id(buildset, result, builds),
        item=item.id,
        buildset=buildset.id,
        kind=result,
        message=report_message(
            headline(pipeline, result, item),
            f"{this.settings.web_url}/buildset/{buildset.id}",
            lines,
            (*buildset.messages, *warnings),
            fill(pipeline.footer_message, _fields(pipeline, item)),
        ),
        labels=labels,
        created=datetime.now(UTC),
    )
    refused = await _say(this, item, stored, told, comments) if told else ""
    await this.store.apply(None, (), [(item.id, REPORTED)])
    return Outcome(result, _summary(result, buildset, builds, labels, refused))


async def returned_remarks(
    this: Runtime, item: Item, buildset: Buildset, builds: list[Build]
) -> tuple[tuple[FileComment, ...], tuple[str, ...]]:
    """What the jobs that count returned by `zuul_return` for the reviewer: comments on lines, and warnings."""
    found: list[FileComment] = []
    warnings: list[str] = []
    touched: tuple[str, ...] = ()
    for build in current(builds).values():
        if "file_comments" in zuul_section(build.data) and not touched:
            project = buildset.projects[item.project]
            touched = await this.caches.changed_files(item.project, project.merged(project.branch), item.change.commit)
        remarks, odd = remarks_of(build.data, touched)
        found += [FileComment(each.path, each.line, f"{build.job}: {each.message}", each.level) for each in remarks]
        warnings += [f"{build.job}: {warning}" for warning in (*build.warnings, *odd)]
    shown = [f"Warning: {warning[:LONGEST_WARNING]}" for warning in warnings[:MOST_WARNINGS]]
    return tuple(found), ("\n".join(shown),) if shown else ()


def _summary(result: str, buildset: Buildset, builds: list[Build], labels: Mapping[str, int], refused: str) -> str:
    said = f"the server refused the report: {refused}" if refused else f"voted {_votes(labels)}" if labels else "no vote"
    if result == FAILURE and buildset.graph is not None:
        return f"{result} of {', '.join(failing(buildset.graph, results(builds))) or 'every job'}; {said}."
    if buildset.messages:
        return f"{result}: {buildset.messages[0].splitlines()[0]} {said}."
    return f"{result}; {said}."
