"""The tenant file (`main.yaml`): which projects a tenant reads, with what rights, and the tenant's limits."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from headgate.configuration.document_values import BadDocument, kind_of
from headgate.configuration.documents import load, locate
from headgate.configuration.problems import nearest
from headgate.configuration.tenant_shapes import TENANT_FILE_ITEMS
from headgate.configuration.tenant_values import (
    ANSIBLE_VERSIONS,
    DEFAULT_PATHS,
    ITEM_KINDS,
    JOB_KINDS,
    KINDS,
    PROVIDER_KINDS,
    ApiRoot,
    AuthorizationRule,
    Role,
    Semaphore,
    Tenant,
    TenantFile,
    TenantProject,
    as_list,
)

__all__ = [
    "ANSIBLE_VERSIONS",
    "DEFAULT_PATHS",
    "ITEM_KINDS",
    "JOB_KINDS",
    "KINDS",
    "PROVIDER_KINDS",
    "TENANT_FILE_ITEMS",
    "ApiRoot",
    "AuthorizationRule",
    "BadTenantFile",
    "Role",
    "Semaphore",
    "Tenant",
    "TenantFile",
    "TenantProject",
    "as_list",
    "parse_tenant_file",
    "parse_tenants",
]


class BadTenantFile(Exception):
    """The tenant file cannot be used: one sentence naming the file, line, column, tenant and key, what was found and what is allowed."""


class _Places:
    """Where the items of a tenant file stand in it."""

    def __init__(self, path: str, text: str, items: list[Any]) -> None:
        self.path, self.text = path, text
        self.positions = {id(conf): position for position, item in enumerate(items) if isinstance(item, dict) for conf in item.values()}

    def item(self, position: int, *steps: Any) -> str:
        """`main.yaml:3:5`: the value that `steps` lead to from an item, the file alone if there is no such item."""
        place = locate(self.text, position, steps)
        return f"{self.path}:{place.line}:{place.column}" if place else self.path

    def of(self, conf: Mapping[str, Any], *steps: Any) -> str:
        """The same for what an item holds."""
        return self.item(self.positions[id(conf)], *steps)


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
    places = _Places(path, text, items)
    for position, item in enumerate(items):
        if not isinstance(item, dict) or len(item) != 1:
            what = f"{len(item)}: {', '.join(map(str, list(item)[:5]))}" if isinstance(item, dict) and item else kind_of(item)
            hint = "; indent what belongs to the first" if isinstance(item, dict) and len(item) > 1 else ""
            raise BadTenantFile(f"{places.item(position)}: item {position + 1} must be a mapping with one key, found {what}{hint}")
        ((kind, conf),) = item.items()
        shape = TENANT_FILE_ITEMS.get(kind)
        if shape is None:
            hint = f"{nearest(str(kind), TENANT_FILE_ITEMS)}; allowed are {', '.join(TENANT_FILE_ITEMS)}"
            raise BadTenantFile(f'{places.item(position)}: "{kind}" is not allowed in a tenant file{hint}')
        if not shape.ok(conf):
            fault = shape.fault(conf)
            name = f' "{conf["name"]}"' if isinstance(conf, dict) and "name" in conf else ""
            key = ".".join(map(str, fault.path))
            where = places.item(position, *fault.path)
            raise BadTenantFile(f"{where}: {kind}{name}: {key}{': ' if key else ''}{fault.message}")
        found[kind].append(conf)
    return _assembled(found, places)


def _assembled(found: dict[str, list[dict[str, Any]]], places: _Places) -> TenantFile:
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
                where = places.of(conf, "role-mappings", rule)
                raise BadTenantFile(f'{where}: {who}: no authorization-rule "{rule}"{nearest(rule, (each.name for each in rules))}')
            for role in as_list(given):
                if role not in known_roles:
                    where = places.of(conf, "role-mappings", rule)
                    raise BadTenantFile(f'{where}: {who}: no role "{role}"{nearest(role, known_roles)}')
    tenants: dict[str, Tenant] = {}
    for conf in found["tenant"]:
        if conf["name"] in tenants:
            raise BadTenantFile(f'{places.of(conf, "name")}: tenant "{conf["name"]}" is defined twice')
        tenants[conf["name"]] = _tenant(conf, semaphores, places)
    if len(found["api-root"]) > 1:
        raise BadTenantFile(f"{places.of(found['api-root'][1])}: there may be only one api-root")
    root = found["api-root"][0] if found["api-root"] else {}
    api_root = ApiRoot(
        root.get("authentication-realm"),
        tuple(as_list(root.get("access-rules"))),
        root.get("anonymous-read-access", True),
        {rule: tuple(as_list(given)) for rule, given in (root.get("role-mappings") or {}).items()},
    )
    return TenantFile(tuple(tenants.values()), rules, roles, tuple(semaphores.values()), api_root)


def _tenant(conf: dict[str, Any], semaphores: Mapping[str, Semaphore], places: _Places) -> Tenant:
    for name in as_list(conf.get("semaphores")):
        if name not in semaphores:
            where = places.of(conf, "semaphores")
            raise BadTenantFile(f'{where}: tenant "{conf["name"]}": no global-semaphore "{name}"{nearest(name, semaphores)}')
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
    for key in ("allowed-triggers", "allowed-reporters"):
        if key in conf:
            plain[key.replace("-", "_")] = conf[key] if isinstance(conf[key], str) else tuple(conf[key])
    for key in ("allowed-labels", "disallowed-labels"):
        if key in conf:
            plain[key.replace("-", "_")] = tuple(conf[key])  # a single string is taken letter by letter, as Zuul does
    version = conf.get("default-ansible-version")
    web_root = conf.get("web-root")
    if version is not None and str(version) not in ANSIBLE_VERSIONS:
        allowed = ", ".join(ANSIBLE_VERSIONS)
        where = places.of(conf, "default-ansible-version")
        raise BadTenantFile(f'{where}: tenant "{conf["name"]}": default-ansible-version "{version}" is not known; allowed are {allowed}')
    where = f'{places.of(conf, "source")}: tenant "{conf["name"]}"'
    projects = tuple(_projects(conf, where))
    _refuse_configuring(projects, where)
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


def _projects(conf: dict[str, Any], where: str) -> list[TenantProject]:
    """All config-projects first, then all untrusted ones, each in listed order. Raises `BadTenantFile`."""
    config: list[TenantProject] = []
    untrusted: list[TenantProject] = []
    for connection, source in (conf.get("source") or {}).items():
        for entry in as_list(source.get("config-projects")):
            config += _entry(connection, entry, True, KINDS, where)
        for entry in as_list(source.get("untrusted-projects")):
            untrusted += _entry(connection, entry, False, frozenset(JOB_KINDS), where)
    return [*_by_name(config), *_by_name(untrusted)]


def _by_name(projects: list[TenantProject]) -> list[TenantProject]:
    """Projects of one name on several connections stand together, at the place of the first."""
    grouped: dict[str, list[TenantProject]] = {}
    for project in projects:
        grouped.setdefault(project.name, []).append(project)
    return [project for group in grouped.values() for project in group]


def _entry(connection: str, entry: Any, trusted: bool, kinds: frozenset[str], where: str) -> list[TenantProject]:
    if isinstance(entry, str):
        return [_project(connection, entry, {}, trusted, kinds)]
    if len(entry) > 1 and "projects" in entry:
        if "include" in entry:
            kinds = frozenset(as_list(entry["include"]))
        if entry.get("include-provider-config"):
            kinds |= frozenset(PROVIDER_KINDS)
        kinds -= frozenset(as_list(entry.get("exclude")))
        return [project for inner in as_list(entry["projects"]) for project in _entry(connection, inner, trusted, kinds, where)]
    if len(entry) != 1:
        raise BadTenantFile(f"{where}: an entry names one project, found {', '.join(entry) or 'none'}: write one entry for each")
    ((name, settings),) = entry.items()
    if not isinstance(settings, dict):
        raise BadTenantFile(f'{where}: a group of projects says more than "projects": add include or exclude, or list them without it')
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
        always_dynamic_branches=tuple(dynamic)
        if (dynamic := settings.get("always-dynamic-branches")) is not None
        else None,  # letter by letter too
        implied_branch_matchers=settings.get("implied-branch-matchers"),
        configure_projects=patterns("configure-projects") or (),
        allow_reporter_jobs=True if trusted else bool(settings.get("allow-reporter-jobs")),
        allow_base_jobs=settings.get("allow-base-jobs") is not False,
    )
