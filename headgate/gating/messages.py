"""The text of each report, in the shape that Zuul's users and their tools know (its reporters say what is in it)."""

from __future__ import annotations

from headgate.configuration import Pipeline
from headgate.gating.outcome import regular
from headgate.gating.state import Buildset, Item, Key, job_key
from headgate.gating.work import Work
from headgate.jobs import FrozenJob
from headgate.reports import duration, fill

LONGEST = 16_056
"""Bytes of a message that Gerrit takes from a person."""
TRUNCATED = "... (truncated)"


def message(work: Work, item: Item, kind: str, change: Key) -> str:
    """What is said on one change of an item: in short when it would be too long for Gerrit."""
    text = _message(work, item, kind, change, False)
    if len(text.encode()) >= LONGEST:
        text = _message(work, item, kind, change, True)
    return text if len(text.encode()) < LONGEST else text[: LONGEST - 20] + TRUNCATED


def _message(work: Work, item: Item, kind: str, change: Key, short: bool) -> str:
    pipeline, buildset = work.pipeline, item.buildset
    text = _body(work, item, kind, change, short)
    if buildset.warnings:
        text += "\nWarning:\n  " + "\n  ".join(buildset.warnings) + "\n"
    if pipeline.footer_message:
        text += "\n" + pipeline.footer_message
    return text


def _body(work: Work, item: Item, kind: str, change: Key, short: bool) -> str:
    pipeline = work.pipeline
    plain = {
        "enqueue": pipeline.enqueue_message,
        "start": pipeline.start_message,
        "no-jobs": pipeline.no_jobs_message,
        "merge-conflict": pipeline.merge_conflict_message,
        "config-error": item.buildset.config_error or "Unknown configuration error",
    }
    if kind in ("enqueue", "start", "no-jobs"):
        return _filled(work, item, plain[kind])
    if kind in plain:
        return plain[kind]
    if kind == "dequeue":
        return pipeline.dequeue_message + "\n\n" + job_lines(work, item.buildset, short)
    if kind == "disabled":
        kind = "success" if item.buildset.result == "SUCCESS" else "failure"
    if kind == "success":
        return _verdict(work, item, pipeline.success_message, short)
    return _failure(work, item, pipeline, change, short)


def _failure(work: Work, item: Item, pipeline: Pipeline, change: Key, short: bool) -> str:
    several = len(item.changes) > 1
    if item.needing:
        start = "These changes depend" if several else "This change depends"
        return f"{start} on a change that failed to merge.\n\n{item.needing}\n"
    if item.missing_requirements:
        start = "These changes are" if several else "This change is"
        return f"{start} unable to merge due to a missing merge requirement.\n"
    if several:
        urls = "\n".join(f"  - {work.facts.known(each).change.url}" for each in item.changes)
        lines = job_lines(work, item.buildset, short)
        return f"This change is part of a dependency cycle that failed.\n\n\n{lines}\nRelated changes:\n{urls}\n"
    if item.buildset.conflict:
        return pipeline.merge_conflict_message
    if item.buildset.config_error:
        return item.buildset.config_error
    return _verdict(work, item, pipeline.failure_message, short)


def _verdict(work: Work, item: Item, headline: str, short: bool) -> str:
    link = f"\n{work.facts.web_root}buildset/{item.buildset.id}" if work.facts.web_root else ""
    return f"{headline}{link}\n\n{job_lines(work, item.buildset, short)}"


def _filled(work: Work, item: Item, text: str) -> str:
    change = work.facts.known(item.changes[0]).change
    root = work.facts.web_root
    url = f"{root}buildset/{item.buildset.id}" if item.buildset.result else f"{root}status/change/{change}"
    return fill(text, {"pipeline.name": work.pipeline.name, "item_url": url})


def job_lines(work: Work, buildset: Buildset, short: bool = False) -> str:
    """A line per job that has a build; those that a job's `child_jobs` left out are only counted."""
    lines = []
    skipped = 0
    for job in regular(buildset):
        build = buildset.builds.get(job_key(job))
        if build is None:
            continue
        if "Skipped due to child_jobs" in build.detail:
            skipped += 1
            continue
        result = shown(job, build.result)
        if short and result == "SUCCESS":
            continue
        url = build.url or (f"{work.facts.web_root}build/{build.id}" if work.facts.web_root else job.name)
        detail = f" {build.detail}" if build.detail else ""
        voting = "" if job.voting else " (non-voting)"
        lines.append(f"- {job.name} {url} : {result}{detail}{_elapsed(build.seconds)}{voting}\n")
    if skipped:
        lines.append(f"Skipped {skipped} {'job' if skipped == 1 else 'jobs'}\n")
    if short:
        lines.append("Successful jobs omitted due to length restrictions\n")
    return "".join(lines)


def shown(job: FrozenJob, result: str | None) -> str:
    """A result as the job wants it called."""
    if result == "SUCCESS":
        return job.success_message
    return job.failure_message if result == "FAILURE" else str(result)


def _elapsed(seconds: float | None) -> str:
    return "" if seconds is None else f" in {duration(seconds)}"
