"""A frozen job graph: the exact jobs one item runs, as values, and which of them may start now.

Law: a job may start when every dependency has ended and none of the hard ones, nor any soft one that ran, failed.
A job whose dependency failed or was skipped is SKIPPED. Nothing here knows where jobs run.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True, slots=True)
class Dependency:
    name: str
    soft: bool = False


@dataclass(frozen=True, slots=True)
class SemaphoreUse:
    name: str
    resources_first: bool = False


@dataclass(frozen=True, slots=True)
class RoleSource:
    """A repository whose roles a playbook may use. `name` is the role's name when the repository is itself one role."""

    project: str
    branch: str
    trusted: bool
    implicit: bool = False
    name: str = ""


@dataclass(frozen=True, slots=True)
class SecretUse:
    """`name` is the variable the playbook sees; `secret` the object, found in `project`. The value is never in a graph.

    `passed` is one that another job passed to this playbook (`pass-to-parent`).
    """

    name: str
    secret: str
    project: str
    branch: str
    passed: bool = False


@dataclass(frozen=True, slots=True)
class Playbook:
    """A playbook and where it is: `project` is canonical (`review.example.org/org/name`), `path` inside its repository."""

    project: str
    branch: str
    path: str
    trusted: bool
    roles: tuple[RoleSource, ...] = ()
    secrets: tuple[SecretUse, ...] = ()
    semaphores: tuple[str, ...] = ()
    nesting_level: int = 0
    cleanup: bool = False


@dataclass(frozen=True, slots=True)
class NodeUse:
    """One node of a nodeset; it may answer to several names."""

    names: tuple[str, ...]
    label: str


@dataclass(frozen=True, slots=True)
class GroupUse:
    name: str
    nodes: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Nodeset:
    """No node: the job runs on the executor's own sandbox."""

    name: str = ""
    nodes: tuple[NodeUse, ...] = ()
    groups: tuple[GroupUse, ...] = ()


@dataclass(frozen=True, slots=True)
class RequiredProject:
    """`name` is canonical."""

    name: str
    override_checkout: str | None = None


@dataclass(frozen=True, slots=True)
class IncludeVars:
    name: str
    project: str
    branch: str
    required: bool = True
    use_ref: bool = True


@dataclass(frozen=True, slots=True)
class FrozenJob:
    """One job with every attribute decided. Times are seconds. Mappings are JSON-like and must not be edited.

    `dependencies` are those in the same graph, initializers among them; `declared_dependencies` what the configuration says.
    `include_projects` and `exclude_projects` hold (`name`, canonical name), (`change`, None) or (`item`, None). `changes` are the
    positions, in the item, of the changes it runs for: more than one when it was deduplicated in a cycle.
    """

    name: str
    parents: tuple[str, ...] = ()
    description: str = ""
    type: str = "regular"
    voting: bool = True
    attempts: int = 3
    timeout: int | None = None
    pre_timeout: int | None = None
    post_timeout: int | None = None
    dependencies: tuple[Dependency, ...] = ()
    declared_dependencies: tuple[Dependency, ...] = ()
    semaphores: tuple[SemaphoreUse, ...] = ()
    tags: tuple[str, ...] = ()
    provides: tuple[str, ...] = ()
    requires: tuple[str, ...] = ()
    vars: Mapping[str, Any] = field(default_factory=dict)
    extra_vars: Mapping[str, Any] = field(default_factory=dict)
    host_vars: Mapping[str, Any] = field(default_factory=dict)
    group_vars: Mapping[str, Any] = field(default_factory=dict)
    include_vars: tuple[IncludeVars, ...] = ()
    required_projects: tuple[RequiredProject, ...] = ()
    include_projects: frozenset[tuple[str, str | None]] | None = None
    exclude_projects: frozenset[tuple[str, str | None]] | None = None
    nodesets: tuple[Nodeset, ...] = (Nodeset(),)
    pre_run: tuple[Playbook, ...] = ()
    run: tuple[Playbook, ...] = ()
    post_run: tuple[Playbook, ...] = ()
    cleanup_run: tuple[Playbook, ...] = ()
    override_checkout: str | None = None
    success_message: str = "SUCCESS"
    failure_message: str = "FAILURE"
    failure_output: tuple[str, ...] = ()
    ansible_version: str | None = None
    ansible_split_streams: bool = False
    workspace_scheme: str = "golang"
    workspace_checkout: bool | str = True
    post_review: bool = False
    hold_following_changes: bool = False
    deduplicate: bool | str = "auto"
    secret_exposure: str = "ignore"  # noqa: S105 - a policy, not a password
    image_build_name: str | None = None
    preserve_home_paths: tuple[str, ...] = ()
    changes: tuple[int, ...] = (0,)


@dataclass(frozen=True, slots=True)
class JobGraph:
    """Jobs in the order they are shown and considered. Dependencies name jobs of the same graph only."""

    jobs: tuple[FrozenJob, ...] = ()
    fail_fast: bool = False

    def __getitem__(self, name: str) -> FrozenJob:
        for job in self.jobs:
            if job.name == name:
                return job
        raise KeyError(name)

    def find(self, name: str, position: int) -> FrozenJob | None:
        """The job of that name that runs for the item's change at `position`; in a cycle several may have one name."""
        return next((job for job in self.jobs if job.name == name and position in job.changes), None)

    @property
    def names(self) -> tuple[str, ...]:
        return tuple(job.name for job in self.jobs)
