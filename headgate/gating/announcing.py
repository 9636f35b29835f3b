"""Pipeline-to-pipeline events: what others may trigger on is announced, if anybody listens."""

from __future__ import annotations

from collections.abc import Iterable

from headgate.gating.happenings import Announce
from headgate.gating.state import Key
from headgate.gating.work import Work
from headgate.refs import is_ref

ZUUL = "zuul"
"""The connection of pipelines' own events."""
MERGED = "project-change-merged"
ENQUEUED = "parent-change-enqueued"


def announce(work: Work, type: str, changes: Iterable[Key]) -> None:
    """Announce that something happened to changes here, unless no pipeline has a trigger for it."""
    here = work.pipeline.name
    for pipeline in work.facts.layout.pipelines.values():
        for trigger in pipeline.triggers:
            if trigger.connection != ZUUL or not any(pattern.match(type) for pattern in trigger.event):
                continue
            if type == MERGED or not trigger.pipeline or any(pattern.match(here) for pattern in trigger.pipeline):
                work.act(Announce(type, here, change) for change in changes if not is_ref(change))
                return
