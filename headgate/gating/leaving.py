"""How items leave, and how their builds are stopped.

Law: stopping an item's builds stops those of everything tested on top of it. What leaves without a result says so if it had said
that it came.
"""

from __future__ import annotations

from collections.abc import Iterable

from headgate.gating.happenings import CancelBuild, Return
from headgate.gating.reporting import report_dequeue
from headgate.gating.semaphores import give_back
from headgate.gating.state import Build, Buildset, Item, Preparation, job_key
from headgate.gating.work import Work
from headgate.jobs import FrozenJob


def stop_job(work: Work, item: str, job: FrozenJob) -> None:
    """Cancel a job's build, and see that the buildset starts no other."""
    current = work.items[item]
    buildset, key = current.buildset, job_key(job)
    build = buildset.builds.get(key)
    if build is not None and build.result is None:
        work.act([CancelBuild(build.id)])
    elif build is None and (key in buildset.requested or key in buildset.provided):
        work.act([Return(buildset.id, key)])
    if build is None or build.result is None:
        stopped = Build(work.name("build"), "CANCELED") if build is None else Build(build.id, "CANCELED")
        work.change_buildset(item, builds={**buildset.builds, key: stopped})
    give_back(work, current, job)


def stop(work: Work, item: Item, renew: bool = True) -> None:
    """Cancel the builds of an item and of all tested on top of it; with `renew` they are tested anew."""
    if not (renew and item.id in work.idle):
        _stop(work, (item, *work.behind(item)), renew)


def stop_behind(work: Work, item: Item) -> None:
    """Cancel the builds of all that is tested on top of an item."""
    _stop(work, work.behind(item), True)


def _stop(work: Work, items: Iterable[Item], renew: bool) -> None:
    for each in items:
        current = work.items.get(each.id)
        if current is None:
            continue
        for job in current.buildset.jobs:
            stop_job(work, each.id, job)
        if renew and current.buildset.preparation != Preparation.NEW:
            work.change(each.id, buildset=Buildset(work.name("buildset")))
        if renew:
            work.idle.add(each.id)


def leave(work: Work, item: Item, merged: bool = False) -> None:
    """Take an item out; it is said if nothing was said of its end and something of its coming."""
    current = work.items[item.id]
    if not current.buildset.result and current.live and (current.said_enqueue or current.said_start):
        report_dequeue(work, current)
    work.take_out(current, merged)


def remove(work: Work, item: Item) -> None:
    """Stop and take out an item that has no more business here."""
    stop(work, item)
    leave(work, item)
