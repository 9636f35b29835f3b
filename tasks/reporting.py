"""Reports: what is said on a change, written down before it is said, said until the server has it, and never twice.

What the pipelines' rules want said is in the store with its own id; the connection looks for that id on the change before it repeats a
delivery that may have arrived. What a rerun adds after that is said here too: its id is a digest of its evidence
(`headgate.reports.report_id`), so whoever comes to the same conclusion again finds it said.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime

from headgate.builds import FAILURE, SUCCESS, buildset_result, current, failing, results
from headgate.changes import Change
from headgate.configuration import Pipeline
from headgate.configuration.pipelines import Reporter
from headgate.gating.messages import LONGEST, TRUNCATED
from headgate.problems import Problem
from headgate.records import Build, Buildset, FileComment, Item, StoredReport
from headgate.reports import job_lines, report_id, report_message
from headgate.reruns import may_vote, parse_policy
from headgate.returned import remarks_of, zuul_section
from tasks.buildsets import CONFIG_ERROR, CONFLICT
from tasks.connections import Report, ReportRefused
from tasks.effects import effect
from tasks.runtime import Runtime, runtime

DELIVERY_TRIES = 40
"""With pauses growing to a minute, a server may be away for half an hour; after that the scheduler takes over."""
PAUSES = tuple(min(0.5 * 2**n, 60) for n in range(DELIVERY_TRIES))
"""Seconds before each further try."""
MOST_WARNINGS, LONGEST_WARNING = 20, 1000
NO_JOBS = "NO_JOBS"


@dataclass(frozen=True, slots=True)
class Outcome:
    """How a buildset ended. `summary` is one sentence for the run's state."""

    result: str
    summary: str


# --- one report -----------------------------------------------------------------------------------------------------------------------


def as_report(reporter: Reporter, item: Item, stored: StoredReport, comments: tuple[FileComment, ...]) -> Report:
    """What one reporter is to say of a stored report."""
    return Report(
        id=stored.id,
        change=stored.change or item.change,
        pipeline=item.pipeline,
        message=stored.message if reporter.comment else "",
        labels=dict(reporter.labels),
        comments=comments if reporter.comment else (),
        submit=reporter.submit,
        notify=reporter.notify,
    )


async def say(this: Runtime, connection: str, report: Report) -> str:
    """Say it on the change; "", or the reason why the server will never take it. Anything else that goes wrong is raised."""
    try:
        await this.connections[connection].report(report)
    except ReportRefused as refused:
        return str(refused)
    return ""


@effect(
    name="report",
    task_run_name="report {votes} on {change}",
    retries=DELIVERY_TRIES,
    retry_delay_seconds=list(PAUSES),
    retry_condition_fn=lambda _task, _run, state: state.is_failed(),
)
async def deliver(connection: str, report: Report, votes: str, change: str) -> str:
    """`say`, retried because servers restart."""
    return await say(await runtime(), connection, report)


def votes_of(labels: Mapping[str, int]) -> str:
    return ", ".join(f"{label} {value:+d}" for label, value in labels.items()) or "a comment"


async def deliver_report(this: Runtime, item: Item, stored: StoredReport) -> str:
    """Make a stored report by all its reporters, from a flow run; the reason if it was refused. Not one that the scheduler took over."""
    refused = ""
    if not await this.store.to_say(stored.id, by_flow=True):
        return refused
    comments = await comments_of(this, item, stored)
    for reporter in stored.reporters:
        change = str(stored.change or item.change)
        words = votes_of(reporter.labels) + (" and submit" if reporter.submit else "")
        refused = await deliver(reporter.connection, as_report(reporter, item, stored, comments), words, change) or refused
    await this.store.report_sent(stored.id, refused)
    return refused


async def comments_of(this: Runtime, item: Item, stored: StoredReport) -> tuple[FileComment, ...]:
    """The remarks on lines that go with a report of a buildset's end on one of its changes: of its configuration, and of its jobs."""
    if stored.buildset is None or stored.kind in ("start", "enqueue", "dequeue"):
        return ()
    buildset = await this.store.buildset(stored.buildset)
    if buildset is None:
        return ()
    change = stored.change or item.change
    comments = tuple(comment for comment in buildset.comments if comment.project in ("", change.project, this.canonical(change)))
    return comments + await returned_remarks(this, buildset, await this.store.builds(buildset.id), change)


async def returned_remarks(this: Runtime, buildset: Buildset, builds: list[Build], change: Change) -> tuple[FileComment, ...]:
    """Comments on lines that the jobs that count returned by `zuul_return`, those that ran for this change of the buildset."""
    found: list[FileComment] = []
    touched: tuple[str, ...] = ()
    for build in current(builds).values():
        if "file_comments" not in zuul_section(build.data) or not _ran_for(buildset, build, change):
            continue
        if not touched:
            canonical = this.canonical(change)
            touched = await this.caches.changed_files(canonical, buildset.projects[canonical].merged(change.branch), change.commit)
        remarks, _ = remarks_of(build.data, touched)
        found += [FileComment(each.path, each.line, f"{build.job}: {each.message}", each.level) for each in remarks]
    return tuple(found)


def _ran_for(buildset: Buildset, build: Build, change: Change) -> bool:
    """Is the change among those that the build's job ran for?"""
    job = buildset.graph.find(build.job, build.position) if buildset.graph is not None else None
    return job is None or not buildset.changes or any(buildset.changes[each].key == change.key for each in job.changes)


def returned_warnings(builds: list[Build]) -> tuple[str, ...]:
    """What the jobs that count warned of by `zuul_return`."""
    warnings = [f"{build.job}: {warning}" for build in current(builds).values() for warning in build.warnings]
    return tuple(warning[:LONGEST_WARNING] for warning in warnings[:MOST_WARNINGS])


# --- what a rerun adds ----------------------------------------------------------------------------------------------------------------


def reporters(pipeline: Pipeline, result: str) -> tuple[Reporter, ...]:
    """Who is told of a result."""
    return {
        SUCCESS: pipeline.success,
        CONFLICT: pipeline.merge_conflict,
        CONFIG_ERROR: pipeline.config_error,
        NO_JOBS: pipeline.no_jobs,
    }.get(result, pipeline.failure)


def labels_of(told: tuple[Reporter, ...], change: Change) -> dict[str, int]:
    return {label: value for reporter in told if reporter.connection == change.connection for label, value in reporter.labels.items()}


def outcome_of(buildset: Buildset, builds: list[Build]) -> str | None:
    """The buildset's result, or None while a job has none."""
    if buildset.problem is not None or buildset.graph is None:
        return buildset.problem or NO_JOBS
    return buildset_result(buildset.graph, results(builds))


async def report_evidence(buildset: Buildset, item: Item) -> Outcome:
    """Add up the builds of an item that has left, of which some ran again, and say the result on its change. Repeatable."""
    this = await runtime()
    pipeline = (await this.tenants.layout(item.tenant)).pipelines.get(item.pipeline)
    builds = await this.store.builds(buildset.id)
    result = outcome_of(buildset, builds)
    if result is None:
        raise Problem(f"Not every job of {item.change} has a result yet.")
    if pipeline is None:
        return Outcome(result, f"The pipeline {item.pipeline} is no more; nobody was told.")
    votes = may_vote(parse_policy(this.settings.reruns), pipeline.manager, builds)
    # a gate's submit is decided when its item is at the head, never by a rerun
    told = tuple(
        replace(reporter, submit=False, labels=reporter.labels if votes else {})
        for reporter in reporters(pipeline, result)
        if reporter.connection == item.change.connection
    )
    stored = await this.store.add_report(_evidence(this, item, buildset, builds, result, pipeline, told))
    refused = stored.refused if stored.sent is not None else await deliver_report(this, item, stored)
    return Outcome(result, summary(result, buildset, builds, labels_of(told, item.change), refused))


def _evidence(
    this: Runtime, item: Item, buildset: Buildset, builds: list[Build], result: str, pipeline: Pipeline, told: tuple[Reporter, ...]
) -> StoredReport:
    warnings = returned_warnings(builds)
    lines = [] if buildset.graph is None else job_lines(buildset.graph, builds, this.settings.web_url, datetime.now(UTC))
    headline = pipeline.success_message if result == SUCCESS else pipeline.failure_message
    said = ("Warning:\n  " + "\n  ".join(warnings),) if warnings else ()
    text = report_message(headline, f"{this.settings.web_url}/buildset/{buildset.id}", lines, said, pipeline.footer_message)
    return StoredReport(
        id=report_id(buildset, result, builds),
        item=item.id,
        buildset=buildset.id,
        kind=result,
        message=text if len(text.encode()) < LONGEST else text[: LONGEST - len(TRUNCATED)] + TRUNCATED,
        labels=labels_of(told, item.change),
        created=datetime.now(UTC),
        change=item.change,
        reporters=told,
        by_flow=True,
    )


def summary(result: str, buildset: Buildset, builds: list[Build], labels: Mapping[str, int], refused: str) -> str:
    """One sentence for the state of the buildset's run."""
    said = f"the server refused the report: {refused}" if refused else f"voted {votes_of(labels)}" if labels else "no vote"
    if result == FAILURE and buildset.graph is not None:
        return f"{result} of {', '.join(failing(buildset.graph, results(builds))) or 'every job'}; {said}."
    if buildset.messages:
        return f"{result}: {buildset.messages[0].splitlines()[0]} {said}."
    return f"{result}; {said}."
