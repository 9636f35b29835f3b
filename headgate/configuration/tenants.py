"""The tenant file (`main.yaml`): which projects a tenant reads, with what rights, and the tenant's limits."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from headgate.configuration.documents import BadDocument, kind_of, load
from headgate.configuration.problems import nearest
from headgate.configuration.shapes import (
    FLAG,
    MAPPING,
    NUMBER_OR_TEXT,
    TEXT,
    WHOLE,
    Choice,
    Either,
    Fault,
    ListOf,
    MappingOf,
    Record,
    Shape,
    one_or_many,
)

JOB_KINDS = ("pipeline", "job", "semaphore", "project", "project-template", "nodeset", "secret", "queue")
PROVIDER_KINDS = ("image", "flavor", "label", "section", "provider")
KINDS = frozenset((*JOB_KINDS, *PROVIDER_KINDS))
ITEM_KINDS = KINDS | {"pragma"}
ANSIBLE_VERSIONS = ("9", "11")
DEFAULT_PATHS = ("zuul.yaml", "zuul.d", ".zuul.yaml", ".zuul.d")


class BadTenantFile(Exception):
    """The tenant file cannot be used: one sentence naming the file, the tenant, the key, what was found and what is allowed."""


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
    allowed_triggers: tuple[str, ...] | None = None
    allowed_reporters: tuple[str, ...] | None = None
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


class _ExtraPath(Shape):
    called = "a path other than the default ones"

    def ok(self, value: Any) -> bool:
        return isinstance(value, str) and value not in ("zuul.yaml", "zuul.d/", ".zuul.yaml", ".zuul.d/")

    def fault(self, value: Any) -> Fault:
        return Fault((), f"must be {self.called}, found {kind_of(value)}")

    def schema(self) -> dict[str, Any]:
        return {"type": "string"}


_KIND = Choice(*JOB_KINDS, *PROVIDER_KINDS)
_PROJECT_KEYS: dict[str, Shape] = {
    "include": one_or_many(_KIND),
    "exclude": one_or_many(_KIND),
    "shadow": one_or_many(TEXT),
    "include-provider-config": FLAG,
    "exclude-unprotected-branches": FLAG,
    "exclude-locked-branches": FLAG,
    "extra-config-paths": one_or_many(_ExtraPath()),
    "load-branch": TEXT,
    "include-branches": one_or_many(TEXT),
    "exclude-branches": one_or_many(TEXT),
    "always-dynamic-branches": one_or_many(TEXT),
    "allow-circular-dependencies": FLAG,
    "implied-branch-matchers": FLAG,
}
_GROUP_KEYS: dict[str, Shape] = {"include": one_or_many(_KIND), "exclude": one_or_many(_KIND), "include-provider-config": FLAG}


def _project_shape(more: dict[str, Shape]) -> Shape:
    one = Either(TEXT, MappingOf(Record({**_PROJECT_KEYS, **more}), called="a mapping from a project's name to its settings"))
    one.called = "a project's name, or a mapping from it to its settings"
    group = Record({**_GROUP_KEYS, "projects": one_or_many(one)}, required=("projects",), called="a group of projects")
    return one_or_many(Either(one, group))


_SOURCE = Record(
    {
        "config-projects": _project_shape({"allow-base-jobs": FLAG}),
        "untrusted-projects": _project_shape({"configure-projects": one_or_many(TEXT), "allow-reporter-jobs": FLAG}),
    },
    called="a mapping with config-projects and untrusted-projects",
)
_ROLE_MAPPINGS = MappingOf(one_or_many(TEXT))
TENANT = Record(
    {
        "name": TEXT,
        "max-changes-per-pipeline": WHOLE,
        "max-dependencies": WHOLE,
        "max-nodes-per-job": WHOLE,
        "max-job-timeout": WHOLE,
        "max-oidc-ttl": WHOLE,
        "allowed-oidc-issuers": one_or_many(TEXT),
        "source": MappingOf(_SOURCE, called="a mapping from a connection to its projects"),
        "exclude-unprotected-branches": FLAG,
        "exclude-locked-branches": FLAG,
        "allowed-triggers": one_or_many(TEXT),
        "allowed-reporters": one_or_many(TEXT),
        "allowed-labels": one_or_many(TEXT),
        "disallowed-labels": one_or_many(TEXT),
        "allow-circular-dependencies": FLAG,
        "default-parent": TEXT,
        "default-ansible-version": NUMBER_OR_TEXT,
        "access-rules": one_or_many(TEXT),
        "admin-rules": one_or_many(TEXT),
        "anonymous-read-access": FLAG,
        "role-mappings": _ROLE_MAPPINGS,
        "semaphores": one_or_many(TEXT),
        "authentication-realm": TEXT,
        "report-build-page": FLAG,
        "use-nodepool": FLAG,
        "web-root": TEXT,
    },
    required=("name",),
)
_CONDITIONAL = Either(FLAG, Record({"conditions": Record({"project": TEXT, "ref": TEXT})}))
PERMISSIONS = Record(
    {
        **dict.fromkeys(
            (
                "read",
                "promote",
                "set-tenant-state",
                "build-image",
                "upload-image",
                "delete-image-build-artifact",
                "delete-image-upload",
                "validate-image-upload",
                "modify-node",
                "modify-nodeset-request",
                "autohold",
            ),
            FLAG,
        ),
        "dequeue": _CONDITIONAL,
        "enqueue": _CONDITIONAL,
    }
)
TENANT_FILE_ITEMS: dict[str, Shape] = {
    "tenant": TENANT,
    "authorization-rule": Record({"name": TEXT, "conditions": one_or_many(MAPPING)}, required=("name", "conditions")),
    "admin-rule": Record({"name": TEXT, "conditions": one_or_many(MAPPING)}, required=("name", "conditions")),
    "role": Record({"name": TEXT, "permissions": PERMISSIONS}, required=("name", "permissions")),
    "global-semaphore": Record({"name": TEXT, "max": WHOLE}, required=("name",)),
    "api-root": Record(
        {
            "authentication-realm": TEXT,
            "access-rules": one_or_many(TEXT),
            "anonymous-read-access": FLAG,
            "role-mappings": _ROLE_MAPPINGS,
        }
    ),
}
TENANT_FILE = ListOf(Record(TENANT_FILE_ITEMS))


def parse_tenants(text: str, path: str = "main.yaml") -> tuple[Tenant, ...]:
    """The tenants of a tenant file. Raises `BadTenantFile`."""
    return parse_tenant_file(text, path).tenants


def parse_tenant_file(text: str, path: str = "main.yaml") -> TenantFile:
    """All of a tenant file. Raises `BadTenantFile`; nothing of a wrong tenant file is used, as in Zuul."""
    try:
        items = load(text)
    except BadDocument as bad:
        raise BadTenantFile(f"{path}{f':{bad.line}' if bad.line else ''}: {bad}") from bad
    found: dict[str, list[dict[str, Any]]] = {kind: [] for kind in TENANT_FILE_ITEMS}
    if not isinstance(items, list):
        raise BadTenantFile(f'{path}: a tenant file is a list of items such as "- tenant:", found {kind_of(items)}')
    for position, item in enumerate(items):
        if not isinstance(item, dict) or len(item) != 1:
            raise BadTenantFile(f"{path}: item {position + 1} must be a mapping with one key, found {kind_of(item)}")
        ((kind, conf),) = item.items()
        shape = TENANT_FILE_ITEMS.get(kind)
        if shape is None:
            allowed = ", ".join(TENANT_FILE_ITEMS)
            raise BadTenantFile(
                f'{path}: "{kind}" is not allowed in a tenant file{nearest(str(kind), TENANT_FILE_ITEMS)}; allowed are {allowed}'
            )
        if not shape.ok(conf):
            fault = shape.fault(conf)
            name = f' "{conf["name"]}"' if isinstance(conf, dict) and "name" in conf else ""
            raise BadTenantFile(f"{path}: {kind}{name}: {'.'.join(map(str, fault.path))}{': ' if fault.path else ''}{fault.message}")
        found[kind].append(conf)
    return _assembled(found, path)


def _assembled(found: dict[str, list[dict[str, Any]]], path: str) -> TenantFile:
    semaphores = {conf["name"]: Semaphore(conf["name"], conf.get("max", 1), True) for conf in found["global-semaphore"]}
    rules = tuple(
        AuthorizationRule(conf["name"], tuple(as_list(conf["conditions"]))) for conf in (*found["authorization-rule"], *found["admin-rule"])
    )
    roles = tuple(Role(conf["name"], conf["permissions"]) for conf in found["role"])
    known_roles = {role.name for role in roles} | {"admin", "read"}
    for conf in (*found["tenant"], *found["api-root"]):
        who = f'tenant "{conf["name"]}"' if "name" in conf else "api-root"
        for rule, given in (conf.get("role-mappings") or {}).items():
            if rule not in {each.name for each in rules}:
                raise BadTenantFile(f'{path}: {who}: no authorization-rule "{rule}"{nearest(rule, (each.name for each in rules))}')
            for role in as_list(given):
                if role not in known_roles:
                    raise BadTenantFile(f'{path}: {who}: no role "{role}"{nearest(role, known_roles)}')
    tenants: dict[str, Tenant] = {}
    for conf in found["tenant"]:
        if conf["name"] in tenants:
            raise BadTenantFile(f'{path}: tenant "{conf["name"]}" is defined twice')
        tenants[conf["name"]] = _tenant(conf, semaphores, path)
    if len(found["api-root"]) > 1:
        raise BadTenantFile(f"{path}: there may be only one api-root")
    root = found["api-root"][0] if found["api-root"] else {}
    api_root = ApiRoot(
        root.get("authentication-realm"),
        tuple(as_list(root.get("access-rules"))),
        root.get("anonymous-read-access", True),
        {rule: tuple(as_list(given)) for rule, given in (root.get("role-mappings") or {}).items()},
    )
    return TenantFile(tuple(tenants.values()), rules, roles, tuple(semaphores.values()), api_root)


def _tenant(conf: dict[str, Any], semaphores: Mapping[str, Semaphore], path: str) -> Tenant:
    for name in as_list(conf.get("semaphores")):
        if name not in semaphores:
            raise BadTenantFile(f'{path}: tenant "{conf["name"]}": no global-semaphore "{name}"{nearest(name, semaphores)}')
    plain = {
        key.replace("-", "_"): conf[key]
        for key in [
            "max-changes-per-pipeline",
            "max-dependencies",
            "max-nodes-per-job",
            "max-job-timeout",
            "max-oidc-ttl",
            "exclude-unprotected-branches",
            "exclude-locked-branches",
            "default-parent",
            "anonymous-read-access",
            "authentication-realm",
            "use-nodepool",
        ]
        if key in conf
    }
    for key in ("allowed-triggers", "allowed-reporters", "allowed-labels", "disallowed-labels"):
        if key in conf:
            plain[key.replace("-", "_")] = tuple(as_list(conf[key]))
    version = conf.get("default-ansible-version")
    web_root = conf.get("web-root")
    if version is not None and str(version) not in ANSIBLE_VERSIONS:
        allowed = ", ".join(ANSIBLE_VERSIONS)
        raise BadTenantFile(f'{path}: tenant "{conf["name"]}": default-ansible-version "{version}" is not known; allowed are {allowed}')
    projects = tuple(_projects(conf))
    _refuse_configuring(projects, f'{path}: tenant "{conf["name"]}"')
    return Tenant(
        name=conf["name"],
        projects=projects,
        allowed_oidc_issuers=tuple(as_list(conf.get("allowed-oidc-issuers"))),
        access_rules=tuple(as_list(conf.get("access-rules"))),
        admin_rules=tuple(as_list(conf.get("admin-rules"))),
        role_mappings={rule: tuple(as_list(given)) for rule, given in (conf.get("role-mappings") or {}).items()},
        semaphores=tuple(semaphores[name] for name in as_list(conf.get("semaphores"))),
        default_ansible_version=None if version is None else str(version),
        web_root=web_root if web_root is None or web_root.endswith("/") else web_root + "/",
        **plain,
    )


def _refuse_configuring(projects: tuple[TenantProject, ...], where: str) -> None:
    """`configure-projects` reaches untrusted projects only. Raises `BadTenantFile`."""
    for project in projects:
        for other in projects if project.configure_projects else ():
            if other.trusted and project.may_configure(other.name, other.name):
                raise BadTenantFile(f"{where}: {project.name} may not configure {other.name}, which is a config-project")


def _projects(conf: dict[str, Any]) -> list[TenantProject]:
    """All config-projects first, then all untrusted ones, each in listed order."""
    config: list[TenantProject] = []
    untrusted: list[TenantProject] = []
    for connection, source in (conf.get("source") or {}).items():
        for entry in as_list(source.get("config-projects")):
            config += _entry(connection, entry, True, KINDS)
        for entry in as_list(source.get("untrusted-projects")):
            untrusted += _entry(connection, entry, False, frozenset(JOB_KINDS))
    return [*_by_name(config), *_by_name(untrusted)]


def _by_name(projects: list[TenantProject]) -> list[TenantProject]:
    """Projects of one name on several connections stand together, at the place of the first."""
    grouped: dict[str, list[TenantProject]] = {}
    for project in projects:
        grouped.setdefault(project.name, []).append(project)
    return [project for group in grouped.values() for project in group]


def _entry(connection: str, entry: Any, trusted: bool, kinds: frozenset[str]) -> list[TenantProject]:
    if isinstance(entry, str):
        return [_project(connection, entry, {}, trusted, kinds)]
    if len(entry) > 1 and "projects" in entry:
        if "include" in entry:
            kinds = frozenset(as_list(entry["include"]))
        if entry.get("include-provider-config"):
            kinds |= frozenset(PROVIDER_KINDS)
        kinds -= frozenset(as_list(entry.get("exclude")))
        return [project for inner in as_list(entry["projects"]) for project in _entry(connection, inner, trusted, kinds)]
    ((name, settings),) = entry.items()
    return [_project(connection, name, settings, trusted, kinds)]


def _project(connection: str, name: str, settings: dict[str, Any], trusted: bool, kinds: frozenset[str]) -> TenantProject:
    if settings.get("include") is not None:
        kinds = frozenset(as_list(settings["include"]))
    if settings.get("include-provider-config"):
        kinds |= frozenset(PROVIDER_KINDS)
    kinds -= frozenset(as_list(settings.get("exclude")))

    def patterns(key: str) -> tuple[str, ...] | None:
        return tuple(as_list(settings[key])) if settings.get(key) is not None else None

    return TenantProject(
        connection=connection,
        name=name,
        trusted=trusted,
        kinds=kinds,
        shadow=tuple(as_list(settings.get("shadow"))),
        load_branch=settings.get("load-branch") or "master",
        extra_config_paths=tuple(as_list(settings.get("extra-config-paths"))),
        exclude_unprotected_branches=settings.get("exclude-unprotected-branches"),
        exclude_locked_branches=settings.get("exclude-locked-branches"),
        include_branches=patterns("include-branches"),
        exclude_branches=patterns("exclude-branches"),
        always_dynamic_branches=patterns("always-dynamic-branches"),
        implied_branch_matchers=settings.get("implied-branch-matchers"),
        configure_projects=patterns("configure-projects") or (),
        allow_reporter_jobs=True if trusted else bool(settings.get("allow-reporter-jobs")),
        allow_base_jobs=settings.get("allow-base-jobs") is not False,
    )


def as_list(value: Any) -> list[Any]:
    """`[]` for nothing (or anything empty), the list itself, or the only value in a list."""
    if not value:
        return []
    return value if isinstance(value, list) else [value]
