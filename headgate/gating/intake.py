"""What each happening changes in a pipeline before its items are looked at."""

from __future__ import annotations

from headgate.gating.announcing import MERGED, announce
from headgate.gating.enqueue import Coming, enqueue, resume_item
from headgate.gating.happenings import (
    AskedDequeue,
    AskedEnqueue,
    AskedPromote,
    BuildAgain,
    BuildEnded,
    BuildFailing,
    BuildPaused,
    Happening,
    Heard,
    NodesReady,
    Notify,
    Prepared,
    Reported,
    Resumed,
    Superceded,
)
from headgate.gating.leaving import leave, remove, stop, stop_behind
from headgate.gating.outcome import reporters
from headgate.gating.primaries import with_graph
from headgate.gating.progress import INVALID_AHEAD, begin_again, end_build, end_request, note_failing, pause_build, skip_all
from headgate.gating.reporting import report_again_as_failure, report_end
from headgate.gating.state import Item, Key, Preparation
from headgate.gating.windows import grown, shrunk
from headgate.gating.work import Work
from headgate.triggers import fires


def take_in(work: Work, happening: Happening) -> None:
    """Apply one happening. What is about something no longer there is ignored."""
    match happening:
        case Heard():
            _heard(work, happening)
        case AskedEnqueue():
            _asked_enqueue(work, happening)
        case AskedDequeue(change) | Superceded(change):
            item = next((each for each in work.all_items() if each.live and change in each.changes), None)
            if item is not None:
                remove(work, item)
        case AskedPromote(changes):
            promote(work, changes)
        case Prepared():
            _prepared(work, happening)
        case NodesReady():
            end_request(work, happening)
        case BuildEnded():
            end_build(work, happening)
        case BuildFailing():
            note_failing(work, happening)
        case BuildPaused():
            pause_build(work, happening)
        case BuildAgain():
            begin_again(work, happening)
        case Resumed(item):
            resume_item(work, item)
        case Reported():
            _reported(work, happening)


def _heard(work: Work, heard: Heard) -> None:
    if heard.event.type == "patchset-created":
        _remove_older(work, heard.change)
    elif heard.event.type == "change-abandoned":
        _abandoned(work, heard.change)
    change = work.facts.known(heard.change).change
    if fires(work.pipeline, heard.event, change, work.now):
        enqueue(work, heard.change, Coming(heard.event.id, heard.change))


def _remove_older(work: Work, key: Key) -> None:
    """A new patchset takes the place of an older one, unless the pipeline says otherwise."""
    if not work.pipeline.dequeue_on_new_patchset:
        return
    for item in work.all_items():
        older = next((each for each in item.changes if item.live and each[:2] == key[:2] and each[2] < key[2]), None)
        if older is not None:
            remove(work, item)
            others = [each for each in item.changes if each != older]
            work.act(Notify(work.pipeline.name, AskedEnqueue(each, item.event, True)) for each in others)
            return


def _abandoned(work: Work, key: Key) -> None:
    """Take the change out, and what depends on it in the same queue."""
    for queue in list(work.queues.values()):
        gone: set[Key] = set()
        for each in queue.items:
            if each in work.items and _is_tested(work.items[each]) and key in work.items[each].changes:
                item = work.items[each]
                gone.update(item.changes)
                if len(item.changes) > 1:
                    url = work.facts.known(key).change.url
                    _give_up(work, item, f"Dependency cycle change {url} abandoned.")
                remove(work, work.items[each])
        for each in queue.items if gone else ():
            later = work.items.get(each)
            needed = _needed_of(work, later, gone) if later is not None and _is_tested(later) else None
            if later is not None and needed is not None:
                _give_up(work, later, f"Change {work.facts.known(needed).change} is needed.")
                gone.update(later.changes)
                leave(work, work.items[later.id])


def _is_tested(item: Item) -> bool:
    """Is its result still to come?"""
    return item.live and not item.reporter_jobs


def _give_up(work: Work, item: Item, why: str) -> None:
    stop(work, item)
    work.change(item.id, needing=why)
    skip_all(work, work.items[item.id], why)
    _say_end(work, work.items[item.id])


def _say_end(work: Work, item: Item) -> None:
    report_end(work, item)
    queue = work.queues[item.queue]
    work.change_queue(queue.id, window=shrunk(work.pipeline, queue.window))


def _needed_of(work: Work, item: Item, gone: set[Key]) -> Key | None:
    return next((need for change in item.changes for need in work.facts.known(change).needs if need in gone), None)


def _asked_enqueue(work: Work, asked: AskedEnqueue) -> None:
    key = asked.change
    if asked.again and any(item.live and each[:2] == key[:2] and each[2] > key[2] for item in work.all_items() for each in item.changes):
        return
    enqueue(work, key, Coming(asked.event, key, ignore_requirements=True))


def promote(work: Work, changes: tuple[Key, ...]) -> None:
    """Move items to the head of their queues, and these queues before the others. Nothing happens unless all are there."""
    wanted: dict[str, list[Item]] = {}
    for key in changes:
        item = next((each for each in work.all_items() if each.live and key in each.changes), None)
        if item is None:
            return
        wanted.setdefault(item.queue, []).append(item)
    for queue, items in reversed(wanted.items()):
        if not _promote_in(work, queue, items):
            return
        if queue in work.queues:
            work.queues = {queue: work.queues[queue], **work.queues}


def _promote_in(work: Work, queue: str, items: list[Item]) -> bool:
    """Items that are at the head already stay; from the first other one on, everything is put in again in the new order.

    False, and nothing is touched, if they all are at the head and others wait behind them.
    """
    first = True
    again = list(items)
    for each in work.queues[queue].items:
        item = work.items[each]
        if item.live and first and again and again[0].id == item.id:
            again.pop(0)
            continue
        if not item.live:
            continue
        if first and not again:
            return False
        if not any(other.id == item.id for other in again):
            again.append(item)
        first = False
        stop(work, item)
        leave(work, work.items[each])
    for item in again:
        for change in item.changes:
            coming = Coming(item.event, item.event_change, quiet=True, ignore_requirements=True, enqueued=item.enqueued)
            enqueue(work, change, coming)
    return True


def _prepared(work: Work, prepared: Prepared) -> None:
    item = work.find_buildset(prepared.buildset)
    if item is None or item.buildset.preparation != Preparation.ASKED:
        return
    ahead = work.ahead(item)
    spoilt = ahead is not None and bool(ahead.buildset.config_error)
    work.change_buildset(
        item.id,
        preparation=Preparation.DONE,
        graph=with_graph(item, prepared.graph).buildset.graph,
        takes_part=prepared.takes_part and not spoilt,  # then only the tenant's layout says
        conflict=prepared.conflict,
        config_error=INVALID_AHEAD if spoilt else prepared.config_error,
        warnings=(*item.buildset.warnings, *prepared.warnings),
    )
    if prepared.conflict:
        skip_all(work, work.items[item.id], "Unable to merge")
    elif spoilt or prepared.config_error:
        skip_all(work, work.items[item.id], "Buildset configuration error")


def _reported(work: Work, reported: Reported) -> None:
    """The answer to the report of a success in a pipeline that merges."""
    item = work.find_buildset(reported.buildset)
    if item is None or not item.reporting:
        return
    queue = work.queues[item.queue]
    merged = reported.taken and reported.merged
    if merged:
        work.change_queue(queue.id, window=grown(work.pipeline, queue.window))
        announce(work, MERGED, item.changes)
    else:
        work.change_buildset(item.id, result="MERGE_FAILURE")
        stop_behind(work, item)
        if len(item.changes) > 1:
            report_again_as_failure(work, work.items[item.id])
    work.change(item.id, reporting="", reporter_jobs=merged and bool(reporters(item.buildset)))
    if not work.items[item.id].reporter_jobs:
        leave(work, work.items[item.id], merged)
