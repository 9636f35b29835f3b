"""Where `headgate try` finds things: the tenant file, the project whose checkout this is, the checkouts of others."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import pygit2

from cli.configuration_sources import named_sources
from headgate.configuration import BadTenantFile, Tenant, TenantProject, parse_tenants
from headgate.configuration.problems import nearest
from headgate.problems import Problem
from tasks.installation import read_settings

TENANT_FILE = "main.yaml"


@dataclass(frozen=True, slots=True)
class Places:
    """`project` is the one under test; `directories` has a checkout for each project found, by the project's name in the tenant file, or by
    `NAME@BRANCH` for one branch alone."""

    tenant: Tenant
    project: str
    canonical: str
    directories: Mapping[str, Path]
    hostnames: Mapping[str, str]


def find_places(
    here: Path,
    tenant_file: Path | None,
    tenant: str,
    project: str,
    sources: Sequence[str],
    hostnames: Sequence[str],
    config: Path | None,
) -> Places:
    """All of it, by what was given and else by what lies around `here`. Raises `Problem`."""
    hosts = dict(each.partition("=")[::2] for each in hostnames)
    if config is not None:
        settings = read_settings(config)
        tenant_file = tenant_file or settings.tenant_file
        for section in settings.connections:
            hosts.setdefault(
                str(section.get("name")), str(section.get("canonical-hostname") or section.get("server") or section.get("name"))
            )
    file = tenant_file or _nearest_tenant_file(here)
    tenants = [each for each in _tenants(file) if not tenant or each.name == tenant]
    if not tenants:
        raise Problem(f'There is no tenant "{tenant}" in {file}.')
    try:
        named = named_sources(sources)
    except ValueError as wrong:
        raise Problem(f"{wrong}.") from wrong
    chosen, own, checkout = _own_project(here, file, tenants, project, named)
    directories: dict[str, Path] = {}
    for each in chosen.projects:
        given = _given(each, hosts.get(each.connection, each.connection), named)
        if each.name == own.name:
            given[each.name] = checkout
        elif not given and (beside := _beside(each, (file.parent, checkout.parent))):
            given[each.name] = beside
        directories |= given
    canonical = f"{hosts.get(own.connection, own.connection)}/{own.name}"
    return Places(chosen, own.name, canonical, directories, hosts)


def _given(project: TenantProject, hostname: str, named: Mapping[str, Path]) -> dict[str, Path]:
    """What was named for a project, by its short name, perhaps with a branch."""
    found = {}
    for key, directory in named.items():
        name, at, branch = key.partition("@")
        if name in (project.name, f"{hostname}/{project.name}"):
            found[f"{project.name}{at}{branch}"] = directory
    return found


def _nearest_tenant_file(here: Path) -> Path:
    for directory in (here, *here.parents):
        if (directory / TENANT_FILE).is_file():
            return directory / TENANT_FILE
    raise Problem(f"There is no tenant file {TENANT_FILE} in {here} or above: say which by --tenants FILE, or --config headgate.yaml.")


def _tenants(file: Path) -> tuple[Tenant, ...]:
    try:
        return parse_tenants(file.read_text(), str(file))
    except (OSError, UnicodeDecodeError) as wrong:
        raise Problem(f"The tenant file {file} cannot be read: {wrong}.") from wrong
    except BadTenantFile as wrong:
        raise Problem(f"{wrong}") from wrong


def _own_project(
    here: Path, file: Path, tenants: Iterable[Tenant], wanted: str, named: Mapping[str, Path]
) -> tuple[Tenant, TenantProject, Path]:
    """The tenant, the project under test, and its checkout."""
    known = [(tenant, project) for tenant in tenants for project in tenant.projects]
    if wanted:
        for tenant, project in known:
            if wanted in (project.name, f"{project.connection}/{project.name}"):
                directory = named.get(project.name) or _matching(here, project) or _beside(project, (file.parent,)) or _top(here)
                return tenant, project, directory
        raise Problem(f'There is no project "{wanted}" in {file}{nearest(wanted, [project.name for _, project in known])}.')
    # the innermost directory that is a project's, and of several projects the untrusted ones first
    for directory in (here, *here.parents):
        for tenant, project in sorted(known, key=lambda each: each[1].trusted):
            if _is_checkout(directory, project):
                return tenant, project, directory
        if directory == _top(here):
            break
    raise Problem(f"{here} is not known as the checkout of any project in {file}: say which by --project NAME.")


def _matching(here: Path, project: TenantProject) -> Path | None:
    return next((directory for directory in (here, *here.parents) if _is_checkout(directory, project)), None)


def _is_checkout(directory: Path, project: TenantProject) -> bool:
    """By the address its repository was cloned from, or else by its name."""
    if (directory / ".git").exists():
        try:
            remotes = [remote.url or "" for remote in pygit2.Repository(str(directory)).remotes]
        except pygit2.GitError:
            remotes = []
        if any(url.removesuffix(".git").rstrip("/").endswith((f"/{project.name}", f":{project.name}")) for url in remotes):
            return True
    return directory.name in _names(project)


def _names(project: TenantProject) -> tuple[str, ...]:
    return (project.name.rpartition("/")[2], project.name.replace("/", "_"))


def _top(here: Path) -> Path:
    """The repository that `here` is in, or itself."""
    return next((directory for directory in (here, *here.parents) if (directory / ".git").exists()), here)


def _beside(project: TenantProject, roots: Iterable[Path]) -> Path | None:
    """A checkout of the project below one of `roots`: `ORG/NAME`, `NAME`, or `git/ORG_NAME`."""
    for root in roots:
        for name in (project.name, *_names(project), f"git/{_names(project)[1]}", f"{project.name}.git"):
            if (root / name).is_dir():
                return root / name
    return None
