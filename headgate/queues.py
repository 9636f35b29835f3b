"""What one event changes in the queues: who enters, who leaves, and whose run starts or stops.

Law: a change is in a pipeline at most once. It enters by a matching event; it leaves when it is abandoned or merged, when a newer
patchset replaces it (unless the pipeline says otherwise), when a pipeline that supercedes takes it, or when it was reported. Values in,
values out: `decide` says what one event means, `actions` what must be done for the items there are; doing it again changes nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime

from headgate.changes import Change, Event
from headgate.configuration import Layout, Ref
from headgate.configuration.files import rank
from headgate.configuration.freezing import project_pipeline
from headgate.configuration.stanza import Wrong
from headgate.records import Item
from headgate.triggers import enters

MANAGERS = frozenset({"independent"})
"""The managers these rules know. A change must not enter a gate that would merge what was not tested on what it merges on."""
REPORTED = "reported"
"""Why an item left that was tested to its end and said so."""
CANCELLED = "its run was cancelled"
"""Why an item left whose run somebody cancelled in Prefect: the one reason from which Retry brings it back."""
LEAVING_EVENTS = {"change-abandoned": "abandoned", "change-merged": "merged"}


@dataclass(frozen=True, slots=True)
class Decision:
    """`dequeue` is item and reason; `outcome` says in words what became of the event."""

    enqueue: tuple[Item, ...] = ()
    dequeue: tuple[tuple[str, str], ...] = ()
    outcome: str = ""


@dataclass(frozen=True, slots=True)
class StartItem:
    """Create the item's gerrit-trigger run (the same one, however often)."""

    item: Item


@dataclass(frozen=True, slots=True)
class CancelItem:
    """Stop the run of an item that has left."""

    item: Item


Action = StartItem | CancelItem


def decide(
    event: Event,
    change: Change | None,
    layouts: Mapping[str, Layout],
    canonical: str,
    items: Iterable[Item],
    now: datetime,
    new_id: Callable[[], str],
) -> Decision:
    """What the event means, given the change as it is now, every tenant's layout, and the live items."""
    live = [item for item in items if item.live]
    if change is None:
        return Decision(outcome="about no change")
    same = [item for item in live if (item.change.connection, item.change.number) == (change.connection, change.number)]
    if event.type in LEAVING_EVENTS:
        reason = LEAVING_EVENTS[event.type]
        return Decision(dequeue=tuple((item.id, reason) for item in same), outcome=f"{reason}: {len(same)} items leave")
    dequeue: dict[str, str] = {}
    if event.type == "patchset-created":
        for item in same:
            pipeline = layouts[item.tenant].pipelines.get(item.pipeline) if item.tenant in layouts else None
            if item.change.patchset < change.patchset and (pipeline is None or pipeline.dequeue_on_new_patchset):
                dequeue[item.id] = f"replaced by patchset {change.patchset}"
    enqueue: list[Item] = []
    for tenant, layout in layouts.items():
        if canonical not in layout.projects.by_canonical:
            continue
        for pipeline in layout.pipelines.values():
            if pipeline.manager not in MANAGERS:
                continue
            here = [item for item in same if item.tenant == tenant and item.pipeline == pipeline.name and item.id not in dequeue]
            if any(item.change.patchset == change.patchset for item in here) or not enters(pipeline, event, change, now):
                continue
            if not may_run(layout, canonical, change, pipeline.name):
                continue
            enqueue.append(
                Item(id=new_id(), tenant=tenant, pipeline=pipeline.name, project=canonical, change=change, enqueued=now, event=event.id)
            )
            for item in live:
                if item.tenant == tenant and item.pipeline in pipeline.supercedes and item in same:
                    dequeue[item.id] = f"superceded by {pipeline.name}"
    entered = ", ".join(f"{item.tenant}/{item.pipeline}" for item in enqueue)
    return Decision(tuple(enqueue), tuple(dequeue.items()), f"entered {entered}" if entered else "entered no pipeline")


def may_run(layout: Layout, canonical: str, change: Change, pipeline: str) -> bool:
    """Could the change run any job there: does its project take part, or may the change itself say so?"""
    settings = layout.projects.by_canonical[canonical].settings
    if not change.files or any(rank(settings, path) is not None for path in change.files):
        return True
    try:
        return project_pipeline(layout.state, Ref(canonical, change.branch), pipeline) is not None
    except Wrong:
        return True  # to be reported as what it is


def actions(items: Iterable[Item]) -> tuple[Action, ...]:
    """What is still to be done for these items."""
    found: list[Action] = []
    for item in items:
        if item.live and item.flow_run is None:
            found.append(StartItem(item))
        elif not item.live and item.reason != REPORTED and item.flow_run is not None and item.cancelled is None:
            found.append(CancelItem(item))
    return tuple(found)
