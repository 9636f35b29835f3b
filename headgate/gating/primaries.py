"""Which change a job runs for when it was deduplicated in a cycle: that of the event that brought the item in, if the job is for it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from headgate.gating.state import Item, Key
from headgate.jobs import FrozenJob, JobGraph


def with_primary(graph: JobGraph, position: int | None) -> JobGraph:
    """The graph with `position` first among the changes of every job that runs for it, jobs in the order of their first changes."""
    if position is None or all(len(job.changes) == 1 for job in graph.jobs):
        return graph
    return JobGraph(tuple(sorted((_led(job, position) for job in graph.jobs), key=lambda job: job.changes[0])), graph.fail_fast)


def led_by(graph: JobGraph, changes: Sequence[Key], leader: Key | None) -> JobGraph:
    """The same for the `leader` of an item's changes, if it is one of them."""
    return with_primary(graph, changes.index(leader) if leader in changes else None)


def with_graph(item: Item, graph: JobGraph | None) -> Item:
    """The item with its job graph, jobs that stand for several changes led by the one that brought the item in."""
    led = led_by(graph, item.changes, item.event_change) if graph is not None else None
    return replace(item, buildset=replace(item.buildset, graph=led))


def _led(job: FrozenJob, position: int) -> FrozenJob:
    if position not in job.changes or job.changes[0] == position:
        return job
    return replace(job, changes=(position, *(other for other in job.changes if other != position)))
