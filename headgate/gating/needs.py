"""Which changes must be ahead of an item and are not, and whether that can be mended.

Law: in a dependent pipeline a needed change must be in the same queue, be the current patchset and be able to merge, else the one that
needs it cannot be there either. In other pipelines it is put ahead, not live; supercedent and serial pipelines do not look.
"""

from __future__ import annotations

from dataclasses import dataclass

from headgate.gating.dependencies import Graph
from headgate.gating.facts import Known
from headgate.gating.queues import whose_queue
from headgate.gating.readiness import obstacle
from headgate.gating.state import Item, Key
from headgate.gating.work import Work


@dataclass(slots=True)
class Missing:
    """`hopeless`: putting them ahead is no way out. `why` says so to people."""

    changes: list[Key]
    hopeless: bool = False
    why: list[str] | None = None


def is_in_queue(work: Work, key: Key, queue: str, before: Item | None = None) -> bool:
    """Is the patchset in the queue (ahead of `before`, if given)?"""
    found = work.queues.get(queue)
    for each in found.items if found is not None else ():
        if before is not None and each == before.id:
            return False
        if key in work.items[each].changes:
            return True
    return False


def missing_needs(work: Work, changes: tuple[Key, ...], queue: str, graph: Graph, item: Item | None = None) -> Missing:
    """What these changes need that is not in the queue; with `item`, that is not ahead of it."""
    if work.pipeline.manager == "dependent":
        return _dependent(work, changes, graph, item)
    missing = Missing([])
    if work.pipeline.manager != "independent" or work.pipeline.ignore_dependencies:
        return missing
    for change in changes:
        for needed in graph.get(change, ()):
            if work.facts.known(needed).change.merged or needed in changes or needed in missing.changes:
                continue
            if not is_in_queue(work, needed, queue):
                missing.changes.append(needed)
    return missing


def _dependent(work: Work, changes: tuple[Key, ...], graph: Graph, item: Item | None) -> Missing:
    missing = Missing([], why=[])
    for change in changes:
        needs = graph.get(change)
        if not needs:
            continue
        queue = whose_queue(work, change)
        for needed in needs:
            _look_at(work, change, needed, queue, changes, item, missing)
    return missing


def _look_at(work: Work, change: Key, needed: Key, queue: str, changes: tuple[Key, ...], item: Item | None, missing: Missing) -> None:
    known: Known = work.facts.known(needed)
    if known.change.merged:
        return
    if whose_queue(work, needed) != queue:
        own = work.facts.known(change).change
        assert missing.why is not None
        missing.why.append(
            f"Change {known.change} in project {known.change.project} does not share a change queue with {own.number} "
            f"in project {own.project}"
        )
        missing.changes.append(needed)
        missing.hopeless = True
    if not known.change.current:
        missing.changes.append(needed)
        missing.hopeless = True
    if needed in changes or is_in_queue(work, needed, queue, item):
        return
    if obstacle(work.pipeline, known):
        missing.changes.append(needed)
        missing.hopeless = True
    elif needed not in missing.changes:
        missing.changes.append(needed)


def failing_needs(work: Work, item: Item) -> bool:
    """Is anything the item needs failing, anywhere in a pipeline that merges?"""
    if work.pipeline.manager != "dependent":
        return False
    needed = {key for change in item.changes for key in work.facts.known(change).needs}
    if not needed:
        return False
    others = (other for other in work.items.values() if other.buildset.failing and other.id != item.id)
    return any(needed.intersection(other.changes) for other in others)
