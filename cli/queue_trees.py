"""What is in the pipelines, as trees on a terminal."""

from __future__ import annotations

from datetime import datetime

from rich.console import Group
from rich.markup import escape
from rich.text import Text
from rich.tree import Tree

from headgate.reports import duration
from services.web.reader import QueuedItem, Status
from services.web.views import RUNNING, JobView, item_view

STYLES = {"success": "green", "failure": "red", "soft-failure": "yellow", "skipped": "dim", "running": "cyan", "waiting": "dim"}


def trees(status: Status, tenant: str, now: datetime) -> Group:
    """One tree for each tenant, or only for one: pipelines, queues, items, jobs."""
    shown: list[Tree | Text] = [Text(problem, style="red") for problem in status.problems]
    for each in status.tenants:
        if tenant not in ("", each.name):
            continue
        tree = Tree(f"[bold]{escape(each.name)}[/]")
        for problem in each.problems:
            tree.add(Text(problem, style="red"))
        for pipeline in each.pipelines:
            if not pipeline.queues:
                continue
            branch = tree.add(f"{escape(pipeline.name)} [dim]({pipeline.manager})[/]")
            for queue in pipeline.queues:
                window = f" [dim](window {queue.window})[/]" if queue.window else ""
                place = branch.add(f"{escape(queue.name)}{window}")
                for item in queue.items:
                    _add(place, item, now)
        if not tree.children:
            tree.add("[dim]nothing is in any pipeline[/]")
        shown.append(tree)
    return Group(*shown)


def _add(place: Tree, queued: QueuedItem, now: datetime) -> None:
    view, change = item_view(queued), queued.item.change
    waited = duration((now - queued.item.enqueued).total_seconds())
    remaining = _remaining(view.jobs, now)
    line = f"[{STYLES.get(view.kind, '')}]{escape(str(change))}[/] {escape(change.project)} {escape(change.subject)}"
    item = place.add(f"{line} [dim]{escape(view.text)}, in for {waited}{remaining}[/]")
    for job in view.jobs:
        why = f" ({job.why})" if job.why else ""
        voting = "" if job.voting else " (non-voting)"
        item.add(f"[{STYLES.get(job.kind, '')}]{escape(job.name)}: {escape(job.text)}{escape(why)}{voting}[/]{_usual(job, now)}")


def _usual(job: JobView, now: datetime) -> str:
    if job.expected is None or job.kind not in (RUNNING, "waiting"):
        return ""
    return f" [dim]usually {duration(job.expected)}[/]"


def _remaining(jobs: tuple[JobView, ...], now: datetime) -> str:
    """How long it may still take, by what its longest job that has not ended usually takes."""
    left = []
    for job in jobs:
        if job.kind in (RUNNING, "waiting") and job.expected is not None:
            begun = job.build.started if job.build is not None else None
            left.append(max(0.0, job.expected - ((now - begun).total_seconds() if begun is not None else 0.0)))
    return f", about {duration(max(left))} left" if left else ""
