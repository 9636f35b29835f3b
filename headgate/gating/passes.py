"""A pass over one pipeline: take in what happened, then look at every item of every queue, until nothing changes any more.

Law (Zuul's): management first, then results (they stop builds), then triggers (they start some). An item that may not be there leaves; one
that is not on what it must be tested on is reset; then it is prepared, gets nodes, runs; the head of a queue is reported when it is
complete. What is behind an item that is being merged waits for the answer.
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime

from headgate.gating.dependencies import Graph, TooManyDependencies, cycle_of, extend_graph
from headgate.gating.facts import Facts
from headgate.gating.happenings import Action, AskedEnqueue, Happening, Notify
from headgate.gating.intake import take_in
from headgate.gating.leaving import leave, remove, stop, stop_behind
from headgate.gating.needs import failing_needs, missing_needs
from headgate.gating.outcome import has_failed_already, has_succeeded, have_ended, have_succeeded, is_complete, reporters
from headgate.gating.progress import note_holding, prepare, request_nodes, skip_all, start_builds
from headgate.gating.readiness import obstacle
from headgate.gating.reporting import report_end, report_start
from headgate.gating.resets import reset_if_needed, wanted_base
from headgate.gating.state import Item, Key, Preparation, Tenancy
from headgate.gating.windows import shrunk
from headgate.gating.work import Work


def pass_(
    tenancy: Tenancy, pipeline: str, happenings: Iterable[Happening], facts: Facts, now: datetime
) -> tuple[Tenancy, tuple[Action, ...]]:
    """The tenant's new state and what has to be done, in order. Without happenings and changed facts nothing changes.

    `happenings` are in the order to be taken in. Raises `KeyError` for a pipeline that the layout does not have.
    """
    work = Work(tenancy, facts.layout.pipelines[pipeline], facts, now)
    for happening in happenings:
        take_in(work, happening)
    while _process_queues(work):
        pass
    return work.done(), tuple(work.actions)


def _process_queues(work: Work) -> bool:
    changed = False
    for queue in list(work.queues.values()):
        nearest: Item | None = None
        for each in queue.items:
            if each not in work.items:
                continue
            if work.items[each].reporting:
                break
            if work.items[each].reporter_jobs:
                if not _run_reporter_jobs(work, work.items[each]):
                    break
                changed = True
                continue
            item_changed, nearest = process(work, work.items[each], nearest)
            changed = changed or item_changed
            if each in work.items and (work.items[each].reporting or work.items[each].reporter_jobs):
                break
    return changed


def process(work: Work, item: Item, nearest: Item | None) -> tuple[bool, Item | None]:
    """One item's turn; `nearest` is the nearest item ahead that is not failing. Returns whether to look again, and the next `nearest`."""
    queue = work.queues[item.queue]
    active = not queue.window or item.id in queue.items[: queue.window]
    if not active and _just_waits(work, item, nearest):
        return False, item
    if _leaves(work, item):
        return True, nearest
    item = work.change(item.id, active=active)
    changed = ready = False
    failing: list[str] = []
    if failing_needs(work, item):
        failing.append("a needed change is failing")
        stop(work, item, renew=False)
    else:
        changed = reset_if_needed(work, item, nearest)
        if active:
            ready = prepare(work, item)
            if ready:
                report_start(work, work.items[item.id])
            failing += _faults(work.items[item.id])
            if ready:
                changed = request_nodes(work, work.items[item.id]) or changed
    if ready:
        start_builds(work, work.items[item.id])
    return _finish(work, work.items[item.id], nearest, failing, changed)


def _just_waits(work: Work, item: Item, nearest: Item | None) -> bool:
    """Is it out of the window, as before, and where it shall be? Most of a long queue is, at every pass."""
    if item.active or not item.live or len(item.changes) > 1 or item.buildset.preparation != Preparation.NEW or item.buildset.failing:
        return False
    known = work.facts.known(item.changes[0])
    if known.needs or (work.pipeline.manager == "dependent" and obstacle(work.pipeline, known)):
        return False
    return item.base == wanted_base(nearest) and item.id not in work.holding


def _faults(item: Item) -> list[str]:
    faults = ["it has a merge conflict"] if item.buildset.conflict else []
    return [*faults, "it has an invalid configuration"] if item.buildset.config_error else faults


def _finish(work: Work, item: Item, nearest: Item | None, failing: list[str], changed: bool) -> tuple[bool, Item | None]:
    if has_failed_already(item.buildset) and item.live:
        failing.append("at least one job failed")
    if not item.live and not work.behind(item):
        leave(work, item)
        return True, nearest
    ahead = work.ahead(item)
    if item.live and (ahead is None or not ahead.live) and is_complete(item.buildset):
        return _report(work, item), nearest
    work.change_buildset(item.id, failing=tuple(failing))
    note_holding(work, work.items[item.id])
    return changed, work.items[item.id] if item.live and not failing else nearest


def _report(work: Work, item: Item) -> bool:
    """The head has ended: say so, and let it go unless its merge has to be answered first."""
    if len(item.changes) > 1 and work.pipeline.manager == "dependent":
        stuck = [change for change in item.changes if obstacle(work.pipeline, work.facts.known(change))]
        if stuck:
            work.change(item.id, needing=_sentence(work, stuck, "can not be merged"))
            end(work, work.items[item.id])
            return True
    kind = report_end(work, item)
    if work.pipeline.manager == "dependent":
        if kind == "success":
            work.change(item.id, reporting=kind)
            return False
        shrink_window(work, item)
        stop_behind(work, item)
    if kind == "success" and reporters(item.buildset):
        work.change(item.id, reporter_jobs=True)
    else:
        leave(work, work.items[item.id])
    return True


def _run_reporter_jobs(work: Work, item: Item) -> bool:
    """After the report: True when they have ended and the item has left. Should one fail, so has the item after all."""
    request_nodes(work, item)
    start_builds(work, work.items[item.id])
    buildset = work.items[item.id].buildset
    jobs = reporters(buildset)
    if not have_ended(buildset, jobs):
        return False
    if not have_succeeded(buildset, jobs):
        work.change_buildset(item.id, result="FAILURE")
        stop_behind(work, item)
    leave(work, work.items[item.id], merged=work.pipeline.manager == "dependent")
    return True


def shrink_window(work: Work, item: Item) -> None:
    if not has_succeeded(work.items[item.id].buildset):
        work.change_queue(item.queue, window=shrunk(work.pipeline, work.queues[item.queue].window))


def end(work: Work, item: Item) -> None:
    """Say that an item leaves without being tested to its end, and let it go."""
    report_end(work, item)
    if work.pipeline.manager == "dependent":
        shrink_window(work, item)
        stop_behind(work, item)
    leave(work, work.items[item.id])


def _leaves(work: Work, item: Item) -> bool:
    """Take an item out that may not be there any more: its cycle is another one, or it can no longer merge."""
    gate = work.pipeline.manager == "dependent"
    ready = not gate or not any(obstacle(work.pipeline, work.facts.known(change)) for change in item.changes)
    graph: Graph = {}
    try:
        if not work.pipeline.ignore_dependencies:
            extend_graph(graph, item.changes[0], work.facts, work.facts.layout.tenant.max_dependencies)
    except TooManyDependencies:
        remove(work, item)
        return True
    if (graph or len(item.changes) > 1) and _cycle_changed(work, item, graph):
        remove(work, item)
        if item.live:
            work.act(Notify(work.pipeline.name, AskedEnqueue(change, item.event, True)) for change in item.changes)
        return True
    needed = missing_needs(work, item.changes, item.queue, graph, item).changes if graph else []
    if ready and not needed:
        return False
    stop(work, item)
    work.change(item.id, missing_requirements=not ready, needing="" if not ready else needing(work, needed))
    skip_all(work, work.items[item.id], "Missing pipeline requirements" if not ready else needing(work, needed))
    if item.live:
        end(work, work.items[item.id])
    else:
        leave(work, work.items[item.id])
    return True


def _cycle_changed(work: Work, item: Item, graph: Graph) -> bool:
    if work.pipeline.manager == "supercedent":
        return False
    cycle = set(cycle_of(item.changes[0], graph) or (item.changes[0],))
    merged = {change for change in item.changes if change not in cycle and work.facts.known(change).change.merged}
    return cycle | merged != set(item.changes)


def needing(work: Work, keys: list[Key]) -> str:
    return _sentence(work, keys, "needed")


def _sentence(work: Work, keys: list[Key], what: str) -> str:
    urls = ", ".join(work.facts.known(key).change.url for key in keys)
    verb = what if what.startswith("can") else f"{'is' if len(keys) == 1 else 'are'} {what}"
    return f"Change{'' if len(keys) == 1 else 's'} {urls} {verb}."
