"""Which queue a change belongs in, by the pipeline's manager.

independent: each its own. dependent, serial: that of its project's `queue`, or its project's own; per branch if the queue says so.
supercedent: one for each project and branch.
"""

from __future__ import annotations

from headgate.gating.state import Key, Queue
from headgate.gating.windows import first_window
from headgate.gating.work import Work


def queue_for(work: Work, key: Key, existing: str | None = None) -> Queue:
    """The queue, made if there is none. Drop it with `work.drop_if_empty` if nothing comes into it."""
    if work.pipeline.manager in ("dependent", "serial"):
        return _shared(work, key)
    if existing is not None and existing in work.queues:
        return work.queues[existing]
    if work.pipeline.manager == "supercedent":
        found = _of_branch(work, key)
        if found is not None:
            return found
    return _make(work, "", dynamic=True, projects=(work.facts.project(key),))


def whose_queue(work: Work, key: Key) -> str:
    """The id of the queue the change belongs in, without leaving an empty one behind that only it would need."""
    before, counter = set(work.queues), work.counter
    queue = queue_for(work, key).id
    if queue not in before:
        work.drop_if_empty(queue)
        if queue not in work.queues:
            work.counter = counter
    return queue


def _shared(work: Work, key: Key) -> Queue:
    project, branch = work.facts.project(key), work.facts.known(key).change.branch
    if not work.facts.takes_part(project, work.pipeline.name):
        return _own(work, project) or _make(work, "", dynamic=True, projects=(project,), limit=False)
    queue = work.facts.queue_of(project, branch)
    owner = f"queue {queue.name}" if queue is not None else f"project {project}"
    on_branch = branch if queue is not None and queue.type == "per-branch" else ""
    for found in work.queues.values():
        if found.owner == owner and found.branch == on_branch:
            if project not in found.projects:
                return work.change_queue(found.id, projects=(*found.projects, project))
            return found
    name = queue.name if queue is not None else work.facts.known(key).change.project
    return _make(work, name, owner=owner, branch=on_branch, projects=(project,))


def _own(work: Work, project: str) -> Queue | None:
    return next((queue for queue in work.queues.values() if queue.dynamic and project in queue.projects), None)


def _of_branch(work: Work, key: Key) -> Queue | None:
    project, branch = work.facts.project(key), work.facts.known(key).change.branch
    for queue in work.queues.values():
        if queue.items:
            last = work.items[queue.items[-1]].changes[0]
            if work.facts.project(last) == project and work.facts.known(last).change.branch == branch:
                return queue
    return None


def _make(
    work: Work, name: str, owner: str = "", branch: str = "", projects: tuple[str, ...] = (), dynamic: bool = False, limit: bool = True
) -> Queue:
    window = first_window(work.pipeline) if limit else 0
    queue = Queue(work.name("queue"), name, owner, branch, projects, (), window, dynamic)
    work.queues[queue.id] = queue
    return queue
