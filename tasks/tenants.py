"""The tenants' configuration out of git: which files, at which commits, and the layouts made of them.

The scheduler reads (fetching every project once) and publishes which commits a layout was read at; a worker that needs the layout of a
tenant makes the same one from its own caches. Layouts are kept by that digest, so each process parses each state of the world once.
"""

from __future__ import annotations

import asyncio
import hashlib
import itertools
import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from headgate.configuration import (
    BadTenantFile,
    Layout,
    RemovedFile,
    SourceFile,
    Tenant,
    TenantProject,
    config_paths,
    load_layout,
    parse_tenants,
)
from headgate.configuration.projects import Known
from headgate.problems import Problem
from tasks.connections import Connection
from tasks.git import Caches, GitProblem
from tasks.store import Store

KEPT_LAYOUTS = 4
"""Layouts kept per tenant: the current one and those that runs under way may still ask for."""

Branches = Mapping[str, Mapping[str, str]]
"""Canonical project -> branch -> commit."""


def layout_id(tenant_text: str, tenant: str, branches: Branches) -> str:
    """What a layout is made of, as a digest."""
    return hashlib.sha256(json.dumps([tenant_text, tenant, branches], sort_keys=True).encode()).hexdigest()[:32]


def _read(file: Path) -> str:
    try:
        return file.read_text()
    except (OSError, UnicodeDecodeError) as problem:
        reason = problem.strerror if isinstance(problem, OSError) else problem
        raise Problem(f"The tenant file {file} cannot be read: {reason}.") from problem


def _parse(text: str, file: Path) -> tuple[Tenant, ...]:
    try:
        return parse_tenants(text, str(file))
    except BadTenantFile as problem:
        raise Problem(str(problem)) from problem


def _canonical(project: TenantProject, connections: Mapping[str, Connection], file: Path) -> str:
    if project.connection not in connections:
        known = ", ".join(sorted(connections)) or "none (they are listed under `connections` of headgate.yaml)"
        raise Problem(f"{file}: the source '{project.connection}' is not a configured connection; there is {known}.")
    return f"{connections[project.connection].canonical_hostname}/{project.name}"


def check_tenant_file(file: Path, connections: Mapping[str, Connection]) -> tuple[str, ...]:
    """Can it be read, and does it name configured connections only? The canonical names of its projects. Raises `Problem`."""
    return tuple(_canonical(project, connections, file) for tenant in _parse(_read(file), file) for project in tenant.projects)


class Tenants:
    """The tenants of one tenant file and their layouts."""

    def __init__(self, tenant_file: Path, store: Store, caches: Caches, connections: Mapping[str, Connection]) -> None:
        self._file = tenant_file
        self._store = store
        self._caches = caches
        self._connections = connections
        self._layouts: dict[str, Layout] = {}
        self._newest: dict[str, str] = {}
        self._files: dict[str, dict[tuple[str, str, str], list[SourceFile]]] = {}
        self._last: dict[str, tuple[tuple[Tenant, list[SourceFile], dict[str, tuple[str, ...]]], Layout]] = {}
        self._lock = asyncio.Lock()
        self._text = ""
        self._tenants: tuple[Tenant, ...] = ()

    def tenants(self) -> tuple[Tenant, ...]:
        """What the tenant file says now; parsed again when it has changed. Raises `Problem`."""
        text = _read(self._file)
        if text != self._text or not self._tenants:
            self._tenants = _parse(text, self._file)
            self._text = text
        return self._tenants

    def tenant(self, name: str) -> Tenant:
        return next(tenant for tenant in self.tenants() if tenant.name == name)

    def canonical(self, project: TenantProject) -> str:
        """The project's canonical name. Raises `Problem` when its connection is not configured."""
        return _canonical(project, self._connections, self._file)

    async def fetch(self, tenant: Tenant, projects: Iterable[str] | None = None) -> dict[str, dict[str, str]]:
        """Bring the caches of the tenant's projects (or only those canonical names) up to date; every project's branches."""

        async def one(project: TenantProject) -> tuple[str, dict[str, str]]:
            canonical = self.canonical(project)
            if projects is None or canonical in projects:
                url, environment = self._connections[project.connection].git(project.name)
                await self._caches.fetch(canonical, url, environment)
            return canonical, await self._caches.branches(canonical)

        found = await asyncio.gather(*(one(project) for project in tenant.projects))
        return {canonical: self._wanted(project, branches) for project, (canonical, branches) in zip(tenant.projects, found, strict=True)}

    @staticmethod
    def _wanted(project: TenantProject, branches: dict[str, str]) -> dict[str, str]:
        if project.trusted:
            return {name: commit for name, commit in branches.items() if name == project.load_branch}
        return branches

    async def files(self, tenant: Tenant, branches: Branches) -> list[SourceFile]:
        """Every configuration file at those commits, which must be in the caches. Only commits that are new are looked into."""
        found: list[SourceFile] = []
        read: dict[tuple[str, str, str], list[SourceFile]] = {}
        for project in tenant.projects:
            canonical = self.canonical(project)
            for branch, commit in branches.get(canonical, {}).items():
                place = (canonical, branch, commit)
                known = self._files.get(tenant.name, {}).get(place)
                read[place] = known if known is not None else await self.files_at(project, canonical, branch, commit)
                found += read[place]
        self._files[tenant.name] = read
        return found

    async def files_at(self, project: TenantProject, canonical: str, branch: str, commit: str) -> list[SourceFile]:
        """The configuration files of one project-branch at a commit, in Zuul's order."""
        wanted = config_paths(project, await self._caches.list_paths(canonical, commit))
        texts = await self._caches.read_files(canonical, commit, wanted)
        return [SourceFile(canonical, branch, path, texts[path]) for path in wanted if path in texts]

    async def proposed(self, known: Known, branch: str, commit: str, base: Layout) -> list[SourceFile | RemovedFile]:
        """The configuration of a project-branch as it is at `commit`, against `base`: its files, and those that are no more."""
        now = await self.files_at(known.settings, known.canonical, branch, commit)
        paths = {file.path for file in now}
        gone = [file.source.path for file in base.state.files.get((known.canonical, branch)) or () if file.source.path not in paths]
        return [*now, *(RemovedFile(known.canonical, branch, path) for path in gone)]

    async def read(self, tenant: Tenant, projects: Sequence[str] | None = None) -> Layout:
        """Fetch (everything, or those projects), make the layout, publish it, return it."""
        branches = await self.fetch(tenant, projects)
        identity = layout_id(self._text, tenant.name, branches)
        layout = await self._layout(tenant, identity, branches)
        await self._store.publish_layout(identity, tenant.name, branches)
        self._newest[tenant.name] = identity
        return layout

    async def _layout(self, tenant: Tenant, identity: str, branches: Branches) -> Layout:
        async with self._lock:
            if identity not in self._layouts:
                files = await self.files(tenant, branches)
                made_of = (tenant, files, {project: tuple(found) for project, found in branches.items()})
                last = self._last.get(tenant.name)
                # what merged since may touch no configuration: then the layout is the same one, and nothing in flight need be looked at
                layout = last[1] if last is not None and last[0] == made_of else await self._load(*made_of)
                self._layouts[identity] = layout
                self._last[tenant.name] = (made_of, layout)
                while len(self._layouts) > KEPT_LAYOUTS * max(1, len(self._newest)):
                    self._layouts.pop(next(iter(self._layouts)))
            return self._layouts[identity]

    async def _load(self, tenant: Tenant, files: list[SourceFile], names: dict[str, tuple[str, ...]]) -> Layout:
        canonical = {name: connection.canonical_hostname for name, connection in self._connections.items()}
        # every kind of connection knows Gerrit's events, votes and requirements
        drivers = dict.fromkeys(self._connections, "gerrit")
        before = list(itertools.takewhile(lambda other: other.name != tenant.name, self.tenants()))
        return await asyncio.to_thread(load_layout, tenant, files, canonical, names, drivers=drivers, before=before)

    async def layout(self, name: str) -> Layout:
        """The newest layout published for a tenant. Raises `Problem` when there is none yet."""
        published = await self._store.layout(name)
        if published is None:
            raise Problem(f"No layout of the tenant '{name}' has been read yet.")
        identity, branches = published
        tenant = self.tenant(name)
        if identity not in self._layouts:
            await self._ensure(tenant, branches)
        return await self._layout(tenant, identity, branches)

    async def _ensure(self, tenant: Tenant, branches: Branches) -> None:
        """Fetch projects whose commits this machine's caches lack (a worker elsewhere, or a scheduler ahead of it)."""
        lacking = []
        for project in tenant.projects:
            canonical = self.canonical(project)
            try:
                for commit in branches.get(canonical, {}).values():
                    await self._caches.resolve(canonical, commit)
            except (LookupError, GitProblem):
                lacking.append(canonical)
        if lacking:
            await self.fetch(tenant, lacking)
