"""A change comes into a pipeline: with all it needs ahead of it, and in a gate with what waited for it behind.

Law: once in a pipeline (live) is enough. What it needs comes first, in its own queue: live in a dependent pipeline, not live in an
independent one. If any of that cannot come, nothing does.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from datetime import datetime

from headgate.gating.announcing import ENQUEUED, announce
from headgate.gating.dependencies import Graph, TooManyDependencies, cycle_of, extend_graph, parents_first
from headgate.gating.happenings import Notify, Superceded
from headgate.gating.leaving import remove
from headgate.gating.needs import is_in_queue, missing_needs
from headgate.gating.queues import queue_for, whose_queue
from headgate.gating.readiness import obstacle
from headgate.gating.reporting import report_enqueue, report_refusal
from headgate.gating.state import Item, Key
from headgate.gating.work import Work
from headgate.triggers import meets_requirements


@dataclass(slots=True)
class Coming:
    """What is the same for a change and for all that comes with it."""

    event: str = ""
    event_change: Key | None = None
    quiet: bool = False
    ignore_requirements: bool = False
    enqueued: datetime | None = None
    history: list[Key] = field(default_factory=list)
    graph: Graph = field(default_factory=dict)


def enqueue(work: Work, key: Key, coming: Coming, live: bool = True, queue: str | None = None) -> bool:
    """Put a change in, if the pipeline takes it. True if it is there now."""
    if live and any(item.live and key in item.changes for item in work.all_items()):
        return True
    connections = work.pipeline.connections
    if not work.pipeline.allow_other_connections and key[0] not in connections:
        return False
    if not work.pipeline.ignore_dependencies:
        try:
            extend_graph(coming.graph, key, work.facts, work.facts.layout.tenant.max_dependencies)
        except TooManyDependencies:
            return False
    place = queue_for(work, key, queue).id
    entered = _enter(work, key, coming, live, place)
    work.drop_if_empty(place)
    if entered and work.pipeline.manager == "supercedent":
        _leave_first_and_last(work)
    return entered


def _enter(work: Work, key: Key, coming: Coming, live: bool, place: str) -> bool:
    cycle: tuple[Key, ...] = (key,)
    if work.pipeline.manager != "supercedent" and not work.pipeline.ignore_dependencies:
        cycle = parents_first(cycle_of(key, coming.graph), work.facts) or (key,)
    if not _is_wanted(work, cycle, coming):
        return False
    if len(cycle) > 1 and not _may_be_circular(work, key, cycle):
        return False
    if complaint := _too_many(work, cycle, coming.history):
        if not coming.history:
            report_refusal(work, key, (f"Unable to enqueue change: {complaint}",))
        return False
    if not _enqueue_ahead(work, key, cycle, coming, place):
        return False
    if is_in_queue(work, key, place):
        return True
    item = work.add(
        place,
        cycle,
        live,
        quiet=coming.quiet,
        event=coming.event,
        event_change=coming.event_change,
        enqueued=coming.enqueued or work.now,
    )
    if live:
        report_enqueue(work, item)
    if work.pipeline.manager == "dependent":
        for change in cycle:
            _enqueue_behind(work, change, coming, place)
    announce(work, ENQUEUED, cycle)
    _supercede_others(work, item)
    return True


def _is_wanted(work: Work, cycle: tuple[Key, ...], coming: Coming) -> bool:
    changes = [work.facts.known(each) for each in cycle]
    if not coming.ignore_requirements and not all(meets_requirements(work.pipeline, each.change, work.now) for each in changes):
        return False
    return work.pipeline.manager != "dependent" or not any(obstacle(work.pipeline, each) for each in changes)


def _may_be_circular(work: Work, key: Key, cycle: tuple[Key, ...]) -> bool:
    for each in cycle:
        change = work.facts.known(each).change
        queue = work.facts.queue_of(work.facts.project(each), change.branch)
        if queue is None or not queue.allow_circular_dependencies:
            report_refusal(
                work,
                key,
                (f"Dependency cycle detected and project {change.project} doesn't allow circular dependencies on {change.branch}",),
            )
            return False
    return True


def _too_many(work: Work, cycle: tuple[Key, ...], history: list[Key]) -> str:
    limit = work.facts.layout.tenant.max_changes_per_pipeline
    if limit is None or limit < 0:
        return ""
    more = len(cycle) + len(history)
    if more > limit:
        return f"{more} changes to enqueue greater than pipeline max of {limit}"
    if more + sum(len(item.changes) for item in work.items.values()) > limit:
        return f"{more} additional changes would exceed pipeline max of {limit} under current conditions"
    return ""


def _enqueue_ahead(work: Work, key: Key, cycle: tuple[Key, ...], coming: Coming, place: str) -> bool:
    if work.pipeline.manager not in ("dependent", "independent"):
        return True
    coming.history.extend(cycle)
    missing = missing_needs(work, cycle, place, coming.graph)
    arrived = not missing.hopeless
    is_gate = work.pipeline.manager == "dependent"
    last = work.facts.known(cycle[-1])
    for needed in missing.changes if arrived else ():
        if needed in coming.history and not (is_gate and needed in last.git_needs):
            continue
        with_it = coming if is_gate else replace(coming, quiet=True)
        if not enqueue(work, needed, with_it, live=is_gate, queue=place):
            arrived = False
            break
    if not arrived and missing.why:
        report_refusal(work, key, tuple(missing.why))
    return arrived


def _enqueue_behind(work: Work, key: Key, coming: Coming, place: str) -> None:
    """Bring in what needs this change and may merge. It has to meet the requirements whoever brought this one in."""
    known = work.facts.known(key)
    found = list(known.needed_by)
    for other in work.facts.depending_on(key, work.queues[place].projects):
        if other not in found:
            found.append(other)
    ready = []
    for other in found:
        if other in coming.graph.get(key, ()):
            continue
        if whose_queue(work, other) == place and not obstacle(work.pipeline, work.facts.known(other)):
            ready.append(other)
    for other in ready:
        with_it = Coming(coming.event, coming.event_change, coming.quiet, False, None, coming.history, coming.graph)
        enqueue(work, other, with_it, queue=place)


def _supercede_others(work: Work, item: Item) -> None:
    for name in work.pipeline.supercedes:
        if name in work.facts.layout.pipelines:
            work.act(Notify(name, Superceded(change)) for change in item.changes)


def _leave_first_and_last(work: Work) -> None:
    """In a supercedent pipeline the first of a queue runs and the last waits; what waits between them is out of date."""
    for queue in list(work.queues.values()):
        for each in queue.items[1:-1]:
            remove(work, work.items[each])


def resume_item(work: Work, item: Item) -> None:
    """Put an item back as it was, unless one of its changes is there again. Builds that were cancelled will run."""
    if work.pipeline.manager != "independent" or any(other.live and set(other.changes) & set(item.changes) for other in work.all_items()):
        return
    place = queue_for(work, item.changes[0], None).id
    builds = {key: build for key, build in item.buildset.builds.items() if build.result not in (None, "CANCELED")}
    said = item.buildset.result if item.reporter_jobs else ""
    buildset = replace(item.buildset, builds=builds, requested=frozenset(), provided=frozenset(), result=said)
    work.items[item.id] = replace(item, queue=place, base=(), buildset=buildset, reporting="")
    work.change_queue(place, items=(*work.queues[place].items, item.id))
