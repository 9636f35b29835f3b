"""What others depend on: all that a name means to those who refer to it, and what a project's stanzas say together."""

from __future__ import annotations

from typing import Any

from headgate.configuration.definitions import Queue
from headgate.configuration.stanza import Wrong
from headgate.configuration.state import Key, LayoutState


def meaning(state: LayoutState, key: Key) -> Any:
    """All that a reference to `key` depends on."""
    kind, name = key
    if kind == "job":
        variants = state.jobs.get(name)
        return variants and (
            any(not each.job.final for each in variants),
            any(not each.job.intermediate for each in variants),
            any(not each.job.protected for each in variants),
            variants[0].source.project,
        )
    if kind == "project-template":
        known = state.template_problems.get(name) or ()
        return [(template.order, template.definition.queue, wrong and (str(wrong), template.definition.line)) for template, wrong in known]
    if kind == "nodeset":
        try:
            return [len(each.nodes) for each in state.alternatives(name)]
        except Wrong as wrong:
            return str(wrong)
    named = state.named.get(key)
    if kind == "secret":
        return named and named.source.project
    return named and named.value


class GatheredFacts:
    """`ProjectFacts` in the making."""

    def __init__(self) -> None:
        self.queue: Queue | None = None
        self.queue_said = False
        self.assigned: list[Any] = []
        self.merge_mode: str | None = None
        self.default_branch: str | None = None

    @property
    def any(self) -> bool:
        return bool(self.queue or self.assigned or self.merge_mode or self.default_branch)
