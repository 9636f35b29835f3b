"""What a tenant file gives: tenants, their projects, roles and rules, as values."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

JOB_KINDS = ("pipeline", "job", "semaphore", "project", "project-template", "nodeset", "secret", "queue")
PROVIDER_KINDS = ("image", "flavor", "label", "section", "provider")
KINDS = frozenset((*JOB_KINDS, *PROVIDER_KINDS))
ITEM_KINDS = KINDS | {"pragma"}
ANSIBLE_VERSIONS = ("9", "11")
DEFAULT_PATHS = ("zuul.yaml", "zuul.d", ".zuul.yaml", ".zuul.d")


@dataclass(frozen=True, slots=True)
class TenantProject:
    """One project of one tenant and what it may do there. `kinds` are the kinds of objects read from it."""

    connection: str
    name: str
    trusted: bool
    kinds: frozenset[str]
    shadow: tuple[str, ...] = ()
    load_branch: str = "master"
    extra_config_paths: tuple[str, ...] = ()
    exclude_unprotected_branches: bool | None = None
    exclude_locked_branches: bool | None = None
    include_branches: tuple[str, ...] | None = None
    exclude_branches: tuple[str, ...] | None = None
    always_dynamic_branches: tuple[str, ...] | None = None
    implied_branch_matchers: bool | None = None
    configure_projects: tuple[str, ...] = ()
    allow_reporter_jobs: bool = False
    allow_base_jobs: bool = True

    @property
    def extra_files(self) -> tuple[str, ...]:
        return tuple(path for path in self.extra_config_paths if not path.endswith("/"))

    @property
    def extra_directories(self) -> tuple[str, ...]:
        return tuple(path[:-1] for path in self.extra_config_paths if path.endswith("/"))

    def is_dynamic_only(self, branch: str) -> bool:
        """Configuration of this branch is read only for changes to it."""
        return any(re.fullmatch(pattern, branch) for pattern in self.always_dynamic_branches or ())

    def includes(self, branch: str) -> bool:
        """Is configuration read from this branch when the tenant is loaded?"""
        if self.include_branches is not None:
            return any(re.fullmatch(pattern, branch) for pattern in self.include_branches)
        excluded = (*(self.exclude_branches or ()), *(self.always_dynamic_branches or ()))
        return not any(re.fullmatch(pattern, branch) for pattern in excluded)

    def may_configure(self, name: str, canonical: str) -> bool:
        return any(re.fullmatch(pattern, each) for pattern in self.configure_projects for each in (name, canonical))


@dataclass(frozen=True, slots=True)
class Semaphore:
    """`max` jobs may hold it at once."""

    name: str
    max: int = 1
    global_scope: bool = False


@dataclass(frozen=True, slots=True)
class AuthorizationRule:
    """Claims that must all match in one of `conditions`. A claim's value may be a JSON path's, nested, or `{tenant.name}`."""

    name: str
    conditions: tuple[Mapping[str, Any], ...]


@dataclass(frozen=True, slots=True)
class Role:
    """What may be done by those whom a tenant's role mappings give it."""

    name: str
    permissions: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Tenant:
    """One tenant. Limits of -1 mean none. `semaphores` are the global semaphores it may use."""

    name: str
    projects: tuple[TenantProject, ...] = ()
    max_changes_per_pipeline: int | None = None
    max_dependencies: int | None = None
    max_nodes_per_job: int = 5
    max_job_timeout: int = 10800
    max_oidc_ttl: int = 10800
    default_oidc_ttl: int = 3600
    allowed_oidc_issuers: tuple[str, ...] = ()
    exclude_unprotected_branches: bool = False
    exclude_locked_branches: bool = False
    allowed_triggers: tuple[str, ...] | str | None = None
    """Connections; a single string admits every connection whose name is a part of it, as in Zuul."""
    allowed_reporters: tuple[str, ...] | str | None = None
    allowed_labels: tuple[str, ...] | None = None
    disallowed_labels: tuple[str, ...] | None = None
    default_parent: str = "base"
    default_ansible_version: str | None = None
    access_rules: tuple[str, ...] = ()
    admin_rules: tuple[str, ...] = ()
    anonymous_read_access: bool = True
    role_mappings: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    semaphores: tuple[Semaphore, ...] = ()
    authentication_realm: str | None = None
    use_nodepool: bool = True
    web_root: str | None = None

    @property
    def config_projects(self) -> tuple[TenantProject, ...]:
        return tuple(project for project in self.projects if project.trusted)

    @property
    def untrusted_projects(self) -> tuple[TenantProject, ...]:
        return tuple(project for project in self.projects if not project.trusted)


@dataclass(frozen=True, slots=True)
class ApiRoot:
    """Who may read what is above all tenants."""

    authentication_realm: str | None = None
    access_rules: tuple[str, ...] = ()
    anonymous_read_access: bool = True
    role_mappings: Mapping[str, tuple[str, ...]] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class TenantFile:
    """A whole tenant file."""

    tenants: tuple[Tenant, ...]
    rules: tuple[AuthorizationRule, ...] = ()
    roles: tuple[Role, ...] = ()
    semaphores: tuple[Semaphore, ...] = ()
    api_root: ApiRoot = ApiRoot()


def as_list(value: Any) -> list[Any]:
    """`[]` for nothing (or anything empty), the list itself, or the only value in a list."""
    if not value:
        return []
    return value if isinstance(value, list) else [value]
