"""One tenant's facts, from what was read of changes and from its layout.

Law: what a change needs is found when it is first asked for, and again after `forget_links`: in between, links stand still while the
changes themselves are as last read.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from functools import cached_property
from typing import Protocol

from headgate.configuration import Layout, Queue
from headgate.configuration.freezing import project_pipeline
from headgate.configuration.projects import Ref
from headgate.configuration.stanza import Wrong
from headgate.gating.facts import Known
from headgate.gating.state import Key


class Read(Protocol):
    """What was read of changes, whichever server they are on. Every key that is answered can be asked for."""

    def known(self, key: Key) -> Known:
        """A patchset as last read, without `needs`; the same value as long as nothing changed."""
        ...

    def project(self, key: Key) -> str:
        """Canonical name of its project."""
        ...

    def said_needs(self, key: Key) -> Sequence[Key]:
        """What its message depends on, at current patchsets, without what is merged."""
        ...

    def same_topic(self, key: Key) -> Sequence[Key]:
        """Open changes of its topic, and of the topics of those they are on in git; itself may be among them."""
        ...

    def depending_on(self, key: Key) -> Sequence[Key]:
        """Changes whose message depends on it."""
        ...


class Knowledge:
    """One tenant's facts (`headgate.gating.Facts`). `web_root` ends with a slash: `buildset/ID` and `build/ID` follow."""

    def __init__(self, layout: Layout, read: Read, web_root: str) -> None:
        self.layout = layout
        self.web_root = web_root
        self.read = read
        self._known: dict[Key, tuple[Known, Known]] = {}
        self._parts: dict[tuple[str, str], bool] = {}

    def forget_links(self) -> None:
        """Follow all links between changes anew."""
        self._known.clear()

    def known(self, key: Key) -> Known:
        read = self.read.known(key)
        entry = self._known.get(key)
        if entry is None or entry[0] is not read:
            needs = self._needs(key, read) if entry is None else entry[1].needs
            entry = self._known[key] = (read, replace(read, needs=needs))
        return entry[1]

    def _needs(self, key: Key, read: Known) -> tuple[Key, ...]:
        needs = [*read.git_needs, *self.read.said_needs(key)]
        queue = self.queue_of(self.project(key), read.change.branch)
        if queue is not None and queue.dependencies_by_topic:
            same = [other for other in self.read.same_topic(key) if other != key]
            needs += [other for other in same if not self.read.known(other).change.merged]
        return tuple(dict.fromkeys(needs))

    def project(self, key: Key) -> str:
        return self.read.project(key)

    def depending_on(self, key: Key, projects: tuple[str, ...]) -> tuple[Key, ...]:
        servers = {project.partition("/")[0] for project in projects}
        return tuple(other for other in self.read.depending_on(key) if self.project(other).partition("/")[0] in servers)

    def queue_of(self, project: str, branch: str) -> Queue | None:
        return self.layout.queue_of(project, branch) if project in self.layout.projects.by_canonical else None

    def takes_part(self, project: str, pipeline: str) -> bool:
        if (project, pipeline) not in self._parts:
            self._parts[(project, pipeline)] = self._takes_part(project, pipeline)
        return self._parts[(project, pipeline)]

    def _takes_part(self, project: str, pipeline: str) -> bool:
        state = self.layout.state
        for stanza in state.stanzas.get(project) or ():
            if pipeline in stanza.definition.pipelines:
                return True
            templates = [template for name in stanza.definition.templates for template in state.templates.get(name) or ()]
            if any(pipeline in template.definition.pipelines for template in templates):
                return True
        return False

    def change_takes_part(self, key: Key, pipeline: str) -> bool:
        return takes_part(self.layout, Ref(self.project(key), self.read.known(key).change.branch), pipeline)

    @cached_property
    def _semaphores(self) -> dict[str, int]:
        limits = {name: found.value.max for (kind, name), found in self.layout.state.named.items() if kind == "semaphore"}
        return limits | {each.name: each.max for each in self.layout.tenant.semaphores}

    def semaphore_limit(self, name: str) -> int:
        return self._semaphores.get(name, 1)


def takes_part(layout: Layout, ref: Ref, pipeline: str) -> bool:
    """Does the ref's project take part in the pipeline in this layout?"""
    if ref.project not in layout.projects.by_canonical:
        return False
    try:
        return project_pipeline(layout.state, ref, pipeline) is not None
    except Wrong:
        return False
