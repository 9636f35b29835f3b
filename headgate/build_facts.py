"""What is known of a build and its nodes before it starts, and where everything is inside its sandbox, where every build looks the same."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

from headgate.changes import Change

BUILD = "/build"
WORK = f"{BUILD}/work"
LOGS = f"{WORK}/logs"
SOURCES = f"{WORK}/src"
RESULTS = f"{WORK}/results.json"
INVENTORY = f"{BUILD}/ansible/inventory.yaml"
LOCALHOST = "localhost"


class NodeFacts(Protocol):
    """What is asked of a node here: `providers.base.Node` has it."""

    @property
    def id(self) -> str: ...
    @property
    def label(self) -> str: ...
    @property
    def provider(self) -> str: ...
    @property
    def external_id(self) -> str: ...
    @property
    def connection(self) -> str: ...
    @property
    def host(self) -> str: ...
    @property
    def port(self) -> int: ...
    @property
    def username(self) -> str: ...
    @property
    def home(self) -> str: ...
    @property
    def python_path(self) -> str: ...
    @property
    def host_keys(self) -> tuple[str, ...]: ...
    @property
    def region(self) -> str: ...
    @property
    def zone(self) -> str: ...
    @property
    def cloud(self) -> str: ...
    @property
    def attributes(self) -> Mapping[str, Any]: ...


@dataclass(frozen=True, slots=True)
class ProjectState:
    """One repository of the workspace: `name` is canonical, `commit` what `checkout` (a branch or tag) stands for in this build,
    `required` whether the job asks for it (rather than a change of the item)."""

    name: str
    commit: str
    checkout: str
    checkout_description: str = "zuul branch"
    required: bool = False
    is_tag: bool = False


@dataclass(frozen=True, slots=True)
class ItemChange:
    """A change of the item, or of one ahead of it, with its project's canonical name."""

    change: Change
    project: str


@dataclass(frozen=True, slots=True)
class BuildFacts:
    """What is known of one build before it starts. `items` are all changes it is tested on, the last one its own."""

    build: str
    buildset: str
    event_id: str
    tenant: str
    pipeline: str
    items: tuple[ItemChange, ...]
    projects: tuple[ProjectState, ...]
    attempt: int = 1
    post_review: bool = False
    executor: str = ""
    ansible_version: str = ""
    artifacts: tuple[Mapping[str, Any], ...] = ()
    parent_data: Mapping[str, Any] = field(default_factory=dict)
    buildset_refs: tuple[ItemChange, ...] = ()
    """The item's own changes; () for the last of `items` alone."""
    build_refs: tuple[ItemChange, ...] = ()
    """Those of them that the job runs for; () for the last of `items` alone."""
    child_jobs: tuple[str, ...] = ()
    """The jobs that depend on this one directly."""
    commits: Mapping[tuple[str, str, bool], str] = field(default_factory=dict)
    """Where repositories with playbooks are: (canonical project, branch, trusted) to commit."""
    included_vars: tuple[tuple[str, str, Mapping[str, Any]], ...] = ()
    """What the job's include-vars hold: (canonical project, file, variables), the later ones above the earlier."""
