"""Changes in flight when the tenant's configuration changes: everything stays that still has a place.

Law (Zuul's): an item keeps its job graph and its builds, whatever became of its jobs; the new configuration counts from the next time
that it is tested anew. Queues are built again by the new rules, with the windows they had. What has lost its pipeline or its project
leaves unheard.
"""

from __future__ import annotations

from datetime import datetime

from headgate.configuration import Pipeline
from headgate.gating.facts import Facts
from headgate.gating.happenings import Action, Left
from headgate.gating.leaving import stop_job
from headgate.gating.queues import queue_for
from headgate.gating.state import Buildset, Item, Preparation, Queue, Tenancy
from headgate.gating.work import Work


def reconfigure(tenancy: Tenancy, facts: Facts, now: datetime) -> tuple[Tenancy, tuple[Action, ...]]:
    """The tenant's state under the layout that `facts` have now. Make a pass over every pipeline afterwards.

    What was about to be prepared by the old layout is prepared again.
    """
    actions: list[Action] = []
    for name in list(tenancy.pipelines):
        pipeline = facts.layout.pipelines.get(name)
        work = Work(tenancy, pipeline or Pipeline(name, "independent"), facts, now)
        if pipeline is not None:
            _rebuild(work)
            tenancy = work.done()
        else:
            for item in list(work.all_items()):
                _drop(work, item)
            tenancy = Tenancy({other: state for other, state in tenancy.pipelines.items() if other != name}, work.semaphores)
        actions += work.actions
    return tenancy, tuple(actions)


def _rebuild(work: Work) -> None:
    before = list(work.queues.values())
    work.queues = {}
    for queue in before:
        place: Queue | None = None
        for each in queue.items:
            item = work.items[each]
            if _has_place(work, item):
                place = _put(work, item, place)
            else:
                _drop(work, item)
        _keep_window(work, queue)


def _has_place(work: Work, item: Item) -> bool:
    known = work.facts.layout.projects.by_canonical
    return not item.live or all(work.facts.project(change) in known for change in item.changes)


def _put(work: Work, item: Item, place: Queue | None) -> Queue:
    """Append an item to its queue under the new rules. What it is tested on stays as it was, so that it is seen if that is gone."""
    found = queue_for(work, item.changes[0], place.id if place is not None else None)
    work.change(item.id, queue=found.id)
    if item.buildset.preparation == Preparation.ASKED:
        work.change(item.id, buildset=Buildset(work.name("buildset")))
    return work.change_queue(found.id, items=(*found.items, item.id))


def _drop(work: Work, item: Item) -> None:
    """Stop an item and forget it. Nobody is told: there may be nobody left to tell."""
    for job in item.buildset.jobs:
        stop_job(work, item.id, job)
    work.act([Left(work.items.pop(item.id))])


def _keep_window(work: Work, before: Queue) -> None:
    """The queue that the first project of a former one has now goes on with its window, unless windows are fixed."""
    pipeline = work.pipeline
    kinds = (pipeline.window_increase_type, pipeline.window_decrease_type)
    fixed = kinds == ("exponential", "exponential") and (pipeline.window_increase_factor, pipeline.window_decrease_factor) == (1, 1)
    first = before.projects[:1]
    heir = next((queue for queue in work.queues.values() if first and first[0] in queue.projects and queue.branch == before.branch), None)
    if heir is not None and before.window and not fixed and pipeline.manager == "dependent":
        work.change_queue(heir.id, window=max(before.window, pipeline.window_floor))
