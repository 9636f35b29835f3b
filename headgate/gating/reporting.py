"""What is said when: the kind of an item's final report, who says it, and what is said along the way.

Law: a project that takes no part is told nothing but no-jobs. Then, in this order: a broken configuration, a merge conflict, a lost need or
requirement, no jobs, success, failure. After too many failures in a row only the `disabled` reporters speak.
"""

from __future__ import annotations

from headgate.configuration import Reporter
from headgate.gating.happenings import Report
from headgate.gating.messages import message
from headgate.gating.outcome import has_succeeded, regular
from headgate.gating.state import Buildset, Item, Key
from headgate.gating.work import Work

RESULTS = {
    "no-jobs": "NO_JOBS",
    "config-error": "CONFIG_ERROR",
    "merge-conflict": "MERGE_CONFLICT",
    "success": "SUCCESS",
    "failure": "FAILURE",
}
"""A buildset's result by the kind of its report."""


def kind_of(work: Work, item: Item) -> str:
    """The kind of an item's final report."""
    buildset = item.buildset
    has_jobs = item.live and bool(regular(buildset))
    if not has_jobs and not _takes_part(work, item):
        return "no-jobs"
    if buildset.config_error:
        return "config-error"
    if buildset.conflict:
        return "merge-conflict"
    if item.needing or item.missing_requirements:
        return "failure"
    if not has_jobs:
        return "no-jobs"
    return "success" if has_succeeded(buildset) else "failure"


def _takes_part(work: Work, item: Item) -> bool:
    if item.buildset.takes_part and item.buildset.preparation == "done":
        return True
    return any(work.facts.change_takes_part(change, work.pipeline.name) for change in item.changes)


def reporters_of(work: Work, kind: str) -> tuple[Reporter, ...]:
    pipeline = work.pipeline
    by_kind = {
        "no-jobs": pipeline.no_jobs,
        "config-error": pipeline.config_error,
        "merge-conflict": pipeline.merge_conflict,
        "success": pipeline.success,
        "failure": pipeline.failure,
        "disabled": pipeline.disabled,
    }
    return by_kind[kind]


def report_end(work: Work, item: Item) -> str:
    """Say an item's final result and count it. Returns the kind; a success in a pipeline that merges still has to be answered."""
    kind = kind_of(work, item)
    current = work.items[item.id]
    work.change_buildset(item.id, result=RESULTS[kind])
    said = kind
    if kind == "success":
        work.failures = 0
    elif kind == "failure" and not (current.needing or current.missing_requirements):
        work.failures += 1
    if work.disabled and not (kind == "no-jobs" and not _takes_part(work, current)):
        said = "disabled"
    limit = work.pipeline.disable_after_consecutive_failures
    if limit and not work.disabled and work.failures >= limit:
        work.disabled = True
    merges = work.pipeline.manager == "dependent" and kind == "success"
    _say(work, work.items[item.id], said, reporters_of(work, said), merges)
    return kind


def _say(work: Work, item: Item, kind: str, reporters: tuple[Reporter, ...], merges: bool = False) -> None:
    if not reporters and not merges:
        return
    messages = {change: message(work, item, kind, change) for change in item.changes}
    work.act([Report(item.id, item.buildset.id, kind, reporters, messages, merges and len(item.changes) > 1, merges)])


def report_again_as_failure(work: Work, item: Item) -> None:
    """A cycle that passed did not merge: say so."""
    _say(work, item, "failure", work.pipeline.failure)


def report_enqueue(work: Work, item: Item) -> None:
    if not work.disabled:
        _say(work, item, "enqueue", work.pipeline.enqueue)
        work.change(item.id, said_enqueue=True)


def report_start(work: Work, item: Item) -> None:
    if work.pipeline.start and not item.said_start and not item.quiet and not work.disabled:
        _say(work, item, "start", work.pipeline.start)
        work.change(item.id, said_start=True)


def report_dequeue(work: Work, item: Item) -> None:
    work.change_buildset(item.id, result="DEQUEUED")
    if not work.disabled:
        _say(work, work.items[item.id], "dequeue", work.pipeline.dequeue)


def report_refusal(work: Work, key: Key, warnings: tuple[str, ...]) -> None:
    """Say why a change does not come in, if its project takes part at all."""
    if not work.facts.change_takes_part(key, work.pipeline.name):
        return
    item = Item(work.name("item"), (key,), "", Buildset(work.name("buildset"), warnings=warnings, result="FAILURE"))
    _say(work, item, "failure", work.pipeline.failure)
