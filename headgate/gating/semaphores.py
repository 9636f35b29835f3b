"""Semaphores: all that a job needs, or none. Held by one job of one buildset until its build ends or is cancelled.

Law: taken before nodes are requested, or with `resources-first` once they are there; who holds a semaphore may take it again.
"""

from __future__ import annotations

from headgate.gating.happenings import Notify, SemaphoreFreed
from headgate.gating.state import Holder, Item, job_key
from headgate.gating.work import Work
from headgate.jobs import FrozenJob


def take(work: Work, item: Item, job: FrozenJob, requesting: bool) -> bool:
    """Take what the job needs now (`requesting`: before its nodes are asked for). False, and nothing taken, if one is not free."""
    holder = _holder(work, item, job)
    for use in job.semaphores:
        if use.resources_first and requesting:
            continue
        holders = work.semaphores.get(use.name, ())
        if holder in holders:
            continue
        if len(holders) >= work.facts.semaphore_limit(use.name):
            _release(work, holder, job)
            return False
        work.semaphores[use.name] = (*holders, holder)
    return True


def give_back(work: Work, item: Item, job: FrozenJob) -> None:
    """Release all that the job holds, and tell every pipeline if that was anything."""
    holder = _holder(work, item, job)
    if any(holder in work.semaphores.get(use.name, ()) for use in job.semaphores):
        _release(work, holder, job)
        work.act([Notify("", SemaphoreFreed())])


def _holder(work: Work, item: Item, job: FrozenJob) -> Holder:
    return (work.pipeline.name, item.buildset.id, job_key(job))


def _release(work: Work, holder: Holder, job: FrozenJob) -> None:
    for use in job.semaphores:
        holders = tuple(each for each in work.semaphores.get(use.name, ()) if each != holder)
        if holders:
            work.semaphores[use.name] = holders
        else:
            work.semaphores.pop(use.name, None)
