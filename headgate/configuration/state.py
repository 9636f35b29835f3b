"""What a layout consists of: names to objects, and the questions that loading and freezing ask of them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from headgate.configuration.definitions import NodesetDefinition, Queue, Secret
from headgate.configuration.objects import Bound, Named, StanzaObject, Variant
from headgate.configuration.overlay import Overlay
from headgate.configuration.pipelines import Pipeline
from headgate.configuration.problems import Problem, nearest
from headgate.configuration.projects import BranchMatcher, Known, Projects, matches_branch
from headgate.configuration.stanza import Wrong
from headgate.configuration.tenant_values import Tenant
from headgate.jobs import Nodeset

if TYPE_CHECKING:
    from headgate.configuration.binding import Binder

MOST_ALTERNATIVES = 250
"""Nodesets that one may lead to: more only hostile files have, and thousands of such would take long."""
Owner = tuple[object, ...]
"""Whose problems: a phase of loading, then the object's order; owners sort as Zuul reports."""
Key = tuple[str, str]
"""Kind and name of an object; for a project stanza its target's canonical name, for kind `regex` the pattern."""


@dataclass(frozen=True, slots=True)
class ProjectFacts:
    """What a project's stanzas and templates say together."""

    queue: Queue | None = None
    assigned: tuple[tuple[BranchMatcher, Queue], ...] = ()
    merge_mode: str | None = None
    default_branch: str | None = None


class LayoutState:
    """The objects of a layout by name. A builder fills it; then it is only read."""

    def __init__(self, tenant: Tenant, projects: Projects, binder: Binder) -> None:
        self.tenant = tenant
        self.projects = projects
        self.binder = binder
        self.files: Overlay[Key, list[Bound]] = Overlay()
        self.candidates: Overlay[Key, list[Variant | StanzaObject | Named]] = Overlay()
        self.jobs: Overlay[str, list[Variant]] = Overlay()
        self.templates: Overlay[str, list[StanzaObject]] = Overlay()
        self.stanzas: Overlay[str, list[StanzaObject]] = Overlay()
        self.regexes: Overlay[str, list[StanzaObject]] = Overlay()
        self.named: Overlay[Key, Named] = Overlay()
        self.facts: Overlay[str, ProjectFacts] = Overlay()
        self.found: Overlay[Owner, tuple[Problem, ...]] = Overlay()
        self.template_problems: Overlay[str, tuple[tuple[StanzaObject, Wrong | None], ...]] = Overlay()
        self.referrers: dict[Key, list[Key]] = {}
        self.more_referrers: dict[Key, list[Key]] = {}
        self.pipelines: Mapping[str, Pipeline] = {}
        self.previous: LayoutState | None = None
        self.hints_left: int | None = None
        """How many wrong names are compared with all right ones while this is built; `None` when it is built."""

    def speculative(self) -> LayoutState:
        """A state equal to this one that may be changed without changing it."""
        new = LayoutState(self.tenant, self.projects, self.binder)
        for name in ("files", "candidates", "jobs", "templates", "stanzas", "regexes", "named", "facts", "found", "template_problems"):
            setattr(new, name, getattr(self, name).over())
        new.referrers = self.referrers
        new.more_referrers = {key: list(value) for key, value in self.more_referrers.items()}
        new.pipelines = self.pipelines
        new.previous = self
        return new

    def settle(self) -> None:
        """Make what was put so far the shared base of every layout that comes from this one."""
        for name in ("files", "candidates", "jobs", "templates", "stanzas", "regexes", "named", "facts", "found", "template_problems"):
            overlay = getattr(self, name)
            overlay.base = {key: value for key, value in overlay.changed.items() if value is not None}
            overlay.changed = {}
        self.referrers, self.more_referrers = self.more_referrers, {}

    def hint(self, name: str, known: Iterable[str]) -> str:
        """What `nearest` says, as long as there are hints left."""
        if self.hints_left is not None:
            self.hints_left -= 1
            if self.hints_left < 0:
                return ""
        return nearest(name, known)

    def known(self, project: str) -> Known:
        return self.projects.by_canonical[project]

    def referrers_of(self, key: Key) -> list[Key]:
        return [*self.referrers.get(key, ()), *self.more_referrers.get(key, ())]

    def nodeset(self, name: str) -> NodesetDefinition | None:
        found = self.named.get(("nodeset", name))
        return None if found is None else found.value

    def secret(self, name: str) -> Named | None:
        return self.named.get(("secret", name))

    def secret_value(self, name: str) -> Secret | None:
        found = self.secret(name)
        return None if found is None else found.value

    def alternatives(self, nodeset: str | NodesetDefinition) -> list[Nodeset]:
        """The real nodesets to try, in order. Raises `Wrong` for a name that does not exist or one that leads to itself."""
        found: list[Nodeset] = []
        seen: set[NodesetDefinition] = set()
        waiting = [nodeset]
        while waiting:
            each = waiting.pop()
            definition = self.nodeset(each) if isinstance(each, str) else each
            if definition is None:
                raise Wrong(
                    f'no nodeset "{each}"{self.hint(str(each), (name for kind, name in self.named if kind == "nodeset"))}',
                    ("nodeset",),
                    "Nodeset Not Found",
                )
            if definition in seen:
                raise Wrong(f'the nodeset "{definition.name}" leads to itself or is listed twice', ("nodeset",))
            seen.add(definition)
            if len(seen) > MOST_ALTERNATIVES:
                raise Wrong(f"the nodeset leads to more than {MOST_ALTERNATIVES} alternatives", ("nodeset",))
            if definition.alternatives:
                waiting += reversed(definition.alternatives)
            else:
                found.append(definition.nodeset)
        return found

    def queue_of(self, project: str, branch: str) -> Queue | None:
        facts = self.facts.get(project)
        if facts is None:
            return None
        for matcher, queue in facts.assigned:
            if matches_branch(matcher, branch):
                return queue
        return facts.queue

    def merge_mode(self, project: str) -> str:
        facts = self.facts.get(project)
        return (facts.merge_mode if facts else None) or "merge-resolve"

    def default_branch(self, project: str) -> str:
        facts = self.facts.get(project)
        return (facts.default_branch if facts else None) or self.projects.by_canonical[project].default_branch
