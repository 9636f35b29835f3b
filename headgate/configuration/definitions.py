"""Parsed configuration objects: what a file says, before any tenant, inheritance or change is considered.

A definition depends on the text alone (equal texts on two branches share theirs); bound to its `Source` it becomes a variant,
a stanza and so on. `None` always means "not said". What nodes are made of is in `provider_definitions`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from headgate.configuration.document_values import Encrypted
from headgate.configuration.regex import Regex
from headgate.jobs import Nodeset

Values = Mapping[str, Any]
KEY_BYTES = (128, 256, 384, 512, 768, 1024)
"""Sizes of RSA keys in use; Zuul makes its own of 512."""


@dataclass(frozen=True, slots=True)
class Pragma:
    """What a file's pragmas say about implied branch matchers. `None`: nothing."""

    implied_matchers: bool | None = None
    implied_branches: tuple[Regex, ...] | None = None
    stated: bool = False


@dataclass(frozen=True, slots=True)
class Source:
    """The file an object stands in. `project` is canonical, `name` the short one. Equality is by project, branch and path."""

    project: str
    name: str
    connection: str
    branch: str
    path: str
    trusted: bool = field(default=False, compare=False)
    pragma: Pragma = field(default=Pragma(), compare=False)

    def __str__(self) -> str:
        return f"{self.name}/{self.path}@{self.branch}"


@dataclass(frozen=True, slots=True)
class NodesetDefinition:
    """Alternatives are names or anonymous nodesets; with any, `nodeset` is empty."""

    name: str
    nodeset: Nodeset
    alternatives: tuple[str | NodesetDefinition, ...] = ()

    def labels(self) -> frozenset[str]:
        """All labels named here or in inline alternatives."""
        own = frozenset(node.label for node in self.nodeset.nodes)
        inline = (alternative.labels() for alternative in self.alternatives if isinstance(alternative, NodesetDefinition))
        return own.union(*inline)


@dataclass(frozen=True, slots=True)
class SecretReference:
    """`secret` is the object's name, `alias` the variable's."""

    secret: str
    alias: str
    pass_to_parent: bool = False


@dataclass(frozen=True, slots=True)
class PlaybookDefinition:
    path: str
    semaphores: tuple[str, ...] = ()
    cleanup: bool = False


@dataclass(frozen=True, slots=True)
class RoleDefinition:
    """`project` as written; `name` the role's name when the repository is one role."""

    project: str
    name: str


@dataclass(frozen=True, slots=True)
class ProjectUse:
    """A required project as written."""

    name: str
    override_branch: str | None = None
    override_checkout: str | None = None


@dataclass(frozen=True, slots=True)
class IncludeVarsDefinition:
    """`project` None with `of_item` False means the project that defines the job."""

    name: str
    project: str | None = None
    of_item: bool = False
    required: bool = True
    use_ref: bool = True


OVERRIDABLE = {
    "files": True,
    "irrelevant_files": True,
    "dependencies": True,
    "tags": False,
    "provides": False,
    "requires": False,
    "vars": False,
    "extra_vars": False,
    "host_vars": False,
    "group_vars": False,
    "include_vars": False,
    "required_projects": False,
    "include_projects": False,
    "exclude_projects": False,
    "failure_output": False,
}
"""Attributes that take `!override` and `!inherit`, and which of the two is the default."""


@dataclass(slots=True)
class JobDefinition:
    """One job stanza, or one job of a project-pipeline. Attribute names are those of the language with `_` for `-`.

    `base` is `parent: null`. `replaces` says for each attribute under `!override` or `!inherit` which it was.
    """

    name: str
    line: int = 0
    index: int = 0
    path: tuple[Any, ...] = ()
    description: str | None = None
    variant_description: str = ""
    parent: str | None = None
    base: bool = False
    final: bool | None = None
    abstract: bool | None = None
    protected: bool | None = None
    intermediate: bool | None = None
    post_review: bool | None = None
    secrets: tuple[SecretReference, ...] = ()
    roles: tuple[RoleDefinition, ...] | None = None
    pre_run: tuple[PlaybookDefinition, ...] | None = None
    run: tuple[PlaybookDefinition, ...] | None = None
    post_run: tuple[PlaybookDefinition, ...] | None = None
    cleanup_run: tuple[PlaybookDefinition, ...] | None = None
    pre_timeout: int | None = None
    timeout: int | None = None
    post_timeout: int | None = None
    attempts: int | None = None
    voting: bool | None = None
    hold_following_changes: bool | None = None
    failure_message: str | None = None
    success_message: str | None = None
    override_branch: str | None = None
    override_checkout: str | None = None
    match_on_config_updates: bool | None = None
    workspace_scheme: str | None = None
    workspace_checkout: bool | str | None = None
    deduplicate: bool | str | None = None
    image_build_name: str | None = None
    type: str | None = None
    secret_exposure: str | None = None
    ansible_version: str | None = None
    ansible_split_streams: bool | None = None
    nodeset: str | NodesetDefinition | None = None
    required_projects: Mapping[str, ProjectUse] | None = None
    include_projects: frozenset[tuple[str, str | None]] | None = None
    exclude_projects: frozenset[tuple[str, str | None]] | None = None
    allowed_projects: frozenset[str] | None = None
    dependencies: frozenset[tuple[str, bool]] | None = None
    semaphores: tuple[tuple[str, bool], ...] | None = None
    tags: frozenset[str] | None = None
    provides: frozenset[str] | None = None
    requires: frozenset[str] | None = None
    vars: Values | None = None
    extra_vars: Values | None = None
    host_vars: Values | None = None
    group_vars: Values | None = None
    include_vars: tuple[IncludeVarsDefinition, ...] | None = None
    branches: tuple[Regex, ...] | None = None
    files: tuple[Regex, ...] | None = None
    irrelevant_files: tuple[Regex, ...] | None = None
    failure_output: tuple[str, ...] | None = None
    preserve_home_paths: tuple[str, ...] | None = None
    final_attributes: frozenset[str] = frozenset()
    replaces: Mapping[str, bool] = field(default_factory=dict)
    in_pipeline: bool = False

    def replaced(self, attribute: str) -> bool:
        """Does this definition's value take the place of what was inherited (or join it)?"""
        return self.replaces.get(attribute, OVERRIDABLE.get(attribute, True))


@dataclass(frozen=True, slots=True)
class Parameter:
    """A pipeline parameter of a project: `type` is string, selection, multiple-selection or bool."""

    name: str
    type: str
    description: str | None = None
    values: tuple[Any, ...] | None = None
    default: Any = None
    required: bool = False


@dataclass(slots=True)
class PipelineUse:
    """What a project or template says for one pipeline. `jobs` keeps the written order; a name's variants are in order too."""

    jobs: dict[str, list[JobDefinition]] = field(default_factory=dict)
    debug: bool | None = None
    fail_fast: bool | None = None
    parameters: tuple[Parameter, ...] = ()


@dataclass(slots=True)
class ProjectDefinition:
    """A project or project-template stanza. `name` "" is the project the file stands in."""

    name: str
    line: int = 0
    index: int = 0
    is_template: bool = False
    description: str | None = None
    templates: tuple[str, ...] = ()
    pipelines: dict[str, PipelineUse] = field(default_factory=dict)
    vars: Values = field(default_factory=dict)
    branches: tuple[Regex, ...] | None = None
    queue: str | None = None
    merge_mode: str | None = None
    default_branch: str | None = None


@dataclass(frozen=True, slots=True)
class Queue:
    """`type` is all-branches, per-branch or branch-assigned."""

    name: str
    type: str = "all-branches"
    allow_circular_dependencies: bool = False
    dependencies_by_topic: bool = False


@dataclass(frozen=True, slots=True)
class Secret:
    """`data` may hold `Encrypted` values; `oidc` is a token to be made instead."""

    name: str
    data: Values | None = None
    oidc: Values | None = None

    def fault(self) -> str:
        """Why no key can decrypt it, or "": a chunk is exactly as long as its RSA key."""
        waiting: list[Any] = [self.data]
        while waiting:
            value = waiting.pop()
            if isinstance(value, Mapping):
                waiting += value.values()
            elif isinstance(value, list):
                waiting += value
            elif isinstance(value, Encrypted):
                for chunk in value.chunks:
                    if len(chunk) not in KEY_BYTES:
                        return f"an encrypted chunk of {len(chunk)} bytes fits no RSA key: it was cut or changed, encrypt it again"
        return ""
