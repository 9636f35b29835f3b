"""What a simulation prints: queues and running builds at a snapshot, and at the end every build and change."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from headgate.gating import Item, Key, PipelineState
from headgate.simulation.executor import Executor
from headgate.simulation.gerrit import Gerrit
from headgate.simulation.scheduler import Scheduler


def names(gerrit: Gerrit, keys: Iterable[Key]) -> list[str]:
    """Changes as the scenario calls them, `ID,PATCHSET`; branches and tags as `PROJECT REF`."""
    return [f"{gerrit.by_number[number].id},{patchset}" if patchset else gerrit.refs[number] for _, number, patchset in keys]


def snapshot(label: str | None, scheduler: Scheduler, executor: Executor) -> dict[str, Any]:
    """Every queue with anything in it, and every build under way."""
    queues: dict[str, list[dict[str, Any]]] = {}
    for tenant, tenancy in scheduler.tenancies.items():
        for pipeline in scheduler.knowledge[tenant].layout.pipelines:
            state = tenancy.pipelines.get(pipeline)
            shown = _queues(scheduler.gerrit, state) if state is not None else []
            if shown:
                queues[f"{tenant}/{pipeline}"] = shown
    running = [{"job": each.job, "changes": names(scheduler.gerrit, each.tested)} for each in executor.running.values()]
    return {"label": label, "queues": queues, "running": sorted(running, key=lambda each: (each["changes"], each["job"]))}


def _queues(gerrit: Gerrit, state: PipelineState) -> list[dict[str, Any]]:
    return [
        {"queue": queue.name, "window": queue.window, "items": [_item(gerrit, state, state.items[each]) for each in queue.items]}
        for queue in state.queues
        if queue.items
    ]


def _item(gerrit: Gerrit, state: PipelineState, item: Item) -> dict[str, Any]:
    ahead = next((state.items[each] for each in reversed(item.base) if each in state.items), None)
    return {
        "changes": names(gerrit, item.changes),
        "live": item.live,
        "active": item.active,
        "ahead": names(gerrit, ahead.changes) if ahead is not None else None,
    }


def summary(gerrit: Gerrit, executor: Executor) -> dict[str, Any]:
    """All builds sorted, and each change's status, votes, messages and how often it was reported on."""
    history = [{"job": each.job, "result": each.result, "changes": names(gerrit, each.tested)} for each in executor.history]
    return {
        "history": sorted(history, key=lambda each: (each["changes"], each["job"], each["result"] or "")),
        "changes": {
            name: {
                "status": review.status,
                "votes": [[each.label, each.value, each.username] for each in review.patchsets[-1].approvals],
                "messages": list(review.messages),
                "reports": review.reports,
            }
            for name, review in gerrit.reviews.items()
        },
    }
