"""What the rules know in a simulation: changes as last read from the simulated Gerrit, layouts and graphs of what is under test.

As with a real Gerrit, a change is read when it is first met and again when an event about it arrives; what happens to it silently in
between is not seen. Links between changes are followed anew at every event.
"""

from __future__ import annotations

from dataclasses import replace
from functools import cached_property

from headgate.configuration import Layout, Queue
from headgate.configuration.freezing import project_pipeline
from headgate.configuration.projects import Ref
from headgate.configuration.stanza import Wrong
from headgate.gating import Key, Known
from headgate.simulation.gerrit import HOSTNAME, Gerrit, Review


class Reading:
    """What has been read of changes; shared by all tenants."""

    def __init__(self, gerrit: Gerrit, names: dict[str, int]) -> None:
        self.gerrit = gerrit
        self.numbers = names
        self.cache: dict[Key, Known] = {}

    def review(self, key: Key) -> Review:
        return self.gerrit.by_number[key[1]]

    def known(self, key: Key) -> Known:
        if key not in self.cache:
            self.read(key)
        return self.cache[key]

    def read(self, key: Key) -> None:
        """Read a patchset again, and whatever it leads to that was never read. What a closed change is linked to is not asked any more."""
        review = self.review(key)
        change = review.as_change(key[2])
        before = self.cache.get(key)
        self.cache[key] = Known(change, missing_labels=review.missing_labels())
        if not change.open:
            if before is not None:
                self.cache[key] = replace(self.cache[key], git_needs=before.git_needs, needed_by=before.needed_by)
            return
        below = ((key[0], review.parent[0].number, review.parent[1]),) if review.parent is not None else ()
        above = tuple((key[0], other.number, patchset) for other, patchset in review.children)
        for other in (*below, *above):
            self.known(other)
        git_needs = tuple(other for other in below if not self.cache[other].change.merged)
        needed_by = tuple(other for other in above if (found := self.cache[other].change).open and found.current)
        self.cache[key] = replace(self.cache[key], git_needs=git_needs, needed_by=needed_by)

    def said_needs(self, key: Key) -> list[Key]:
        """What a change's message says it depends on, as far as there are such changes, at their current patchsets."""
        found = []
        for name in self.review(key).depends_on:
            number = self.numbers.get(name)
            if number in self.gerrit.by_number:
                needed = self.gerrit.by_number[number].key
                if not self.known(needed).change.merged and needed not in found:
                    found.append(needed)
        return found

    def same_topic(self, key: Key, history: list[str] | None = None, found: dict[Key, None] | None = None) -> list[Key]:
        """Open changes of its topic, and of the topics of those they are on in git."""
        topic = self.review(key).topic
        history = [] if history is None else history
        found = {} if found is None else found
        if not topic:
            return []
        history.append(topic)
        for review in self.gerrit.by_number.values():
            if review.status == "NEW" and topic in review.topic:
                found[review.key] = None
        for other in list(found):
            for parent in self.known(other).git_needs:
                above = self.review(parent).topic
                if parent not in found and above and above not in history:
                    self.same_topic(parent, history, found)
        return list(found)

    def depending_on(self, key: Key) -> tuple[Key, ...]:
        """Changes whose message names this one's address, as Zuul 14.3 finds them with Gerrit.

        Addresses are compared as text (1 is found in 12), and after each change found it is that one's address that is looked for in
        the rest of the answer: of two changes that need the same one, the second is missed until something else brings it in.
        """
        first = wanted = str(key[1])
        found: list[Key] = []
        for review in list(self.gerrit.by_number.values()):
            named = [str(self.numbers[name]) for name in review.depends_on if name in self.numbers]
            if not any(each.startswith(first) for each in named):
                continue
            for each in named:
                if each.startswith(wanted) and review.key not in found:
                    self.known(review.key)
                    found.append(review.key)
                    wanted = str(review.number)
        return tuple(found)


class Knowledge:
    """One tenant's facts (`headgate.gating.Facts`)."""

    def __init__(self, layout: Layout, reading: Reading, web_root: str) -> None:
        self.layout = layout
        self.reading = reading
        self.web_root = f"{web_root}t/{layout.tenant.name}/"
        self.linked: dict[Key, Known] = {}
        self.parts: dict[tuple[str, str], bool] = {}

    def forget_links(self) -> None:
        """Follow all links between changes anew."""
        self.linked.clear()

    def known(self, key: Key) -> Known:
        read = self.reading.known(key)
        linked = self.linked.get(key)
        if linked is None:
            linked = self.linked[key] = replace(read, needs=self._needs(key, read))
        if (linked.change, linked.missing_labels) != (read.change, read.missing_labels):
            linked = self.linked[key] = replace(read, needs=linked.needs)
        return linked

    def _needs(self, key: Key, read: Known) -> tuple[Key, ...]:
        needs = [*read.git_needs, *self.reading.said_needs(key)]
        queue = self.queue_of(self.project(key), read.change.branch)
        if queue is not None and queue.dependencies_by_topic:
            same = [other for other in self.reading.same_topic(key) if other != key]
            needs += [other for other in same if not self.reading.known(other).change.merged]
        return tuple(dict.fromkeys(needs))

    def project(self, key: Key) -> str:
        return f"{HOSTNAME}/{self.reading.review(key).project}"

    def depending_on(self, key: Key, projects: tuple[str, ...]) -> tuple[Key, ...]:
        return self.reading.depending_on(key) if any(name.startswith(f"{HOSTNAME}/") for name in projects) else ()

    def queue_of(self, project: str, branch: str) -> Queue | None:
        return self.layout.queue_of(project, branch) if project in self.layout.projects.by_canonical else None

    def takes_part(self, project: str, pipeline: str) -> bool:
        if (project, pipeline) not in self.parts:
            self.parts[(project, pipeline)] = self._takes_part(project, pipeline)
        return self.parts[(project, pipeline)]

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
        return takes_part(self.layout, Ref(self.project(key), self.reading.known(key).change.branch), pipeline)

    @cached_property
    def semaphores(self) -> dict[str, int]:
        limits = {name: found.value.max for (kind, name), found in self.layout.state.named.items() if kind == "semaphore"}
        return limits | {each.name: each.max for each in self.layout.tenant.semaphores}

    def semaphore_limit(self, name: str) -> int:
        return self.semaphores.get(name, 1)


def takes_part(layout: Layout, ref: Ref, pipeline: str) -> bool:
    """Does the ref's project take part in the pipeline in this layout?"""
    if ref.project not in layout.projects.by_canonical:
        return False
    try:
        return project_pipeline(layout.state, ref, pipeline) is not None
    except Wrong:
        return False
