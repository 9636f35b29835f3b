"""Configuration objects in one tenant: a definition bound to the file it stands in, in load order."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from headgate.configuration.definitions import OVERRIDABLE, JobDefinition, NodesetDefinition, ProjectDefinition, ProjectUse, Source
from headgate.configuration.files import Parsed, SourceFile
from headgate.configuration.problems import Problem
from headgate.configuration.projects import BranchMatcher
from headgate.jobs import Nodeset, RoleSource

Order = tuple[Any, ...]
"""Where an object stands in the order of loading; comparable among objects of one tenant."""


EXECUTION = (
    *("parent", "pre_timeout", "timeout", "post_timeout", "vars", "extra_vars", "host_vars", "group_vars", "include_vars", "nodeset"),
    *("pre_run", "post_run", "cleanup_run", "run", "ansible_split_streams", "ansible_version", "semaphores", "attempts", "roles"),
    *("required_projects", "include_projects", "exclude_projects", "allowed_projects", "override_branch", "override_checkout"),
    *("post_review", "workspace_scheme", "workspace_checkout", "failure_output", "image_build_name", "type", "preserve_home_paths"),
    "secret_exposure",
)
"""Attributes that say how a job runs; `final` and `protected` guard them."""
REPLACED = (
    *("parent", "pre_timeout", "timeout", "post_timeout", "nodeset", "ansible_split_streams", "ansible_version", "attempts"),
    *("override_branch", "override_checkout", "post_review", "workspace_scheme", "workspace_checkout", "image_build_name", "type"),
)
"""Execution attributes of which the later value simply holds."""
CONTEXT = ("voting", "hold_following_changes", "failure_message", "success_message", "match_on_config_updates", "deduplicate")
"""Attributes of which the later value holds even for a final job."""
UNITED = ("tags", "provides", "requires", "dependencies")
MATCHERS = ("files", "irrelevant_files")


@dataclass(frozen=True, slots=True)
class Said:
    """The attributes a definition sets, by how they merge."""

    execution: tuple[str, ...]
    replaced: tuple[tuple[str, Any], ...]
    context: tuple[tuple[str, Any], ...]
    joined: tuple[tuple[str, Any], ...]

    @classmethod
    def of(cls, job: JobDefinition) -> Said:
        execution = [key for key in EXECUTION if getattr(job, key) is not None]
        if not job.in_pipeline and job.roles is None:
            execution.append("roles")
        if job.base:
            execution.append("parent")

        def pairs(keys: tuple[str, ...]) -> tuple[tuple[str, Any], ...]:
            return tuple((key, value) for key in keys if (value := getattr(job, key)) is not None)

        return cls(tuple(execution), pairs(REPLACED), pairs(CONTEXT), pairs((*UNITED, *MATCHERS)))


@dataclass(slots=True, eq=False)
class Variant:
    """A job definition in a file of this tenant. `matcher` says for which branches it holds."""

    job: JobDefinition
    source: Source
    order: Order
    matcher: BranchMatcher
    said: Said | None = None
    required: dict[str, ProjectUse] | None = None
    roles: tuple[RoleSource, ...] | None = None
    _likeness: tuple[Any, ...] | None = None

    @property
    def name(self) -> str:
        return self.job.name

    def what_is_said(self) -> Said:
        """The attributes this variant sets, looked up once."""
        if self.said is None:
            self.said = Said.of(self.job)
        return self.said

    def likeness(self) -> tuple[Any, ...]:
        """Equal for variants of the same stanza that say the same."""
        if self._likeness is None:
            said = (_hashable(_DEFAULTS.get(key) if (value := getattr(self.job, key)) is None else value) for key in _COMPARED)
            self._likeness = (self.source, self.job.line, *said, *map(self.job.replaced, OVERRIDABLE))
        return self._likeness


_DEFAULTS: dict[str, Any] = {
    "voting": True,
    "hold_following_changes": False,
    "match_on_config_updates": True,
    "deduplicate": "auto",
    "attempts": 3,
    "final": False,
    "abstract": False,
    "intermediate": False,
    "workspace_scheme": "golang",
    "workspace_checkout": True,
    "type": "regular",
    "secret_exposure": "ignore",
    "nodeset": NodesetDefinition("", Nodeset()),
    "include_vars": (),
    "roles": (),
    "semaphores": (),
    "pre_run": (),
    "run": (),
    "post_run": (),
    "cleanup_run": (),
    "failure_output": (),
    "preserve_home_paths": (),
    **dict.fromkeys(("tags", "provides", "requires", "dependencies"), frozenset()),
    **{key: {} for key in ("vars", "extra_vars", "host_vars", "group_vars", "required_projects")},
}
"""What an attribute that is not said means; saying it anyway makes no other variant, as in Zuul."""
_COMPARED = tuple(key for key in JobDefinition.__slots__ if key not in ("path", "index", "line", "replaces"))


def _hashable(value: Any) -> Any:
    """Equal for equal values, whatever the order of mappings."""
    if isinstance(value, Mapping):
        return frozenset((key, _hashable(each)) for key, each in value.items())
    return tuple(map(_hashable, value)) if isinstance(value, (list, tuple)) else value


@dataclass(slots=True, eq=False)
class StanzaObject:
    """A project or template stanza in a file of this tenant. `jobs` are its variants by pipeline and job name."""

    definition: ProjectDefinition
    source: Source
    order: Order
    jobs: dict[str, dict[str, list[Variant]]] = field(default_factory=dict)

    @property
    def name(self) -> str:
        return self.definition.name

    def variants(self) -> Iterator[Variant]:
        for by_name in self.jobs.values():
            for variants in by_name.values():
                yield from variants


@dataclass(slots=True, eq=False)
class Named:
    """Any other object (nodeset, secret, ...) in a file of this tenant. `value` compares by content."""

    kind: str
    name: str
    value: Any
    source: Source
    order: Order
    line: int
    index: int


@dataclass(slots=True)
class Bound:
    """One file in one tenant, with its objects. One that does not `count` has none: an earlier default place is read instead."""

    file: SourceFile
    source: Source
    parsed: Parsed
    variants: list[Variant] = field(default_factory=list)
    projects: list[StanzaObject] = field(default_factory=list)
    templates: list[StanzaObject] = field(default_factory=list)
    named: list[Named] = field(default_factory=list)
    problems: list[Problem] = field(default_factory=list)
    counts: bool = True


def identity(item: Variant | StanzaObject | Named) -> tuple[str, str, int, int]:
    """Kind, name, place in the file and line of an object."""
    if isinstance(item, Variant):
        return ("job", item.name, item.job.index, item.job.line)
    if isinstance(item, StanzaObject):
        definition = item.definition
        return ("project-template" if definition.is_template else "project", item.name, definition.index, definition.line)
    return (item.kind, item.name, item.index, item.line)
