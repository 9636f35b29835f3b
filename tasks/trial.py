"""One job of a checkout, without an installation: the tenant out of directories, the job's frozen graph, its plan.

Every repository is what its directory holds now, uncommitted changes included, also those of config-projects: they are the person's own.
"""

from __future__ import annotations

import asyncio
import dataclasses
import socket
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from headgate.build_facts import BuildFacts, ItemChange
from headgate.changes import Change
from headgate.checkouts import project_states
from headgate.configuration import FreezeFailed, Layout, Ref, SourceFile, Tenant, TenantProject, config_paths, load_layout
from headgate.configuration.problems import nearest
from headgate.jobs import FrozenJob, JobGraph, Nodeset, Playbook
from headgate.problems import Problem
from headgate.records import Buildset, FrozenProject
from headgate.results import script
from providers.base import Node
from tasks.build_plan import BuildPlan, playbooks_of
from tasks.build_variables import included_vars
from tasks.building import make_key, sources
from tasks.connections import Connection
from tasks.git import Caches
from tasks.snapshots import Snapshot, take_snapshot

AT_ONCE = 4
"""Repositories read at once."""


@dataclass(slots=True)
class World:
    """A tenant as its checkouts are now. `snapshots` has the projects that were found, by canonical name."""

    tenant: Tenant
    layout: Layout
    caches: Caches
    canonical: Mapping[str, str]
    """Connection to its canonical hostname."""
    snapshots: dict[str, Snapshot] = field(default_factory=dict)


async def read_world(
    tenant: Tenant,
    directories: Mapping[str, Path],
    caches: Caches,
    hostnames: Mapping[str, str],
    own: str,
    branch: str,
    connections: Mapping[str, Connection],
) -> World:
    """The tenant with those of its projects that have a directory, or a connection to be fetched from. `directories` are by the project's
    name, or by `NAME@BRANCH` for one branch alone. `own` is the project under test, `branch` what its checkout is meant for if that is not
    to be found out. Raises `GitProblem`."""
    canonical = {project.connection: hostnames.get(project.connection, project.connection) for project in tenant.projects}
    given = {key.partition("@")[0] for key in directories}
    there = [project for project in tenant.projects if project.name in given or project.connection in connections]
    room = asyncio.Semaphore(AT_ONCE)
    plain = branch or next((project.load_branch for project in there if project.trusted), "master")

    async def one(project: TenantProject) -> tuple[str, Snapshot, list[SourceFile]]:
        name = f"{canonical[project.connection]}/{project.name}"
        wanted = project.load_branch if project.trusted else branch if project.name == own else ""
        snapshot = None
        async with room:
            if project.name in directories:
                snapshot = await take_snapshot(caches, name, directories[project.name], wanted, plain)
            elif project.connection in connections:
                snapshot = await _fetched(caches, name, *connections[project.connection].git(project.name))
            for key, directory in directories.items():
                if key.startswith(f"{project.name}@"):
                    snapshot = _joined(snapshot, await take_snapshot(caches, name, directory, key.removeprefix(f"{project.name}@")))
        assert snapshot is not None
        return name, snapshot, await _files(caches, project, name, snapshot)

    found = await asyncio.gather(*(one(project) for project in there))
    branches = {f"{canonical[project.connection]}/{project.name}": ["master"] for project in tenant.projects}
    branches |= {name: list(snapshot.branches) for name, snapshot, _ in found}
    drivers = dict.fromkeys(canonical, "gerrit")
    layout = load_layout(tenant, [file for _, _, files in found for file in files], canonical, branches, drivers=drivers)
    return World(tenant, layout, caches, canonical, {name: snapshot for name, snapshot, _ in found})


def _joined(known: Snapshot | None, added: Snapshot) -> Snapshot:
    """A project's state with that one branch as a directory of its own has it."""
    if known is None:
        return dataclasses.replace(added, branches={added.branch: added.commit})
    commit = added.commit if added.branch == known.branch else known.commit
    return dataclasses.replace(known, commit=commit, branches={**known.branches, added.branch: added.commit})


async def _fetched(caches: Caches, name: str, url: str, environment: Mapping[str, str]) -> Snapshot:
    await caches.fetch(name, url, environment)
    branches = await caches.branches(name)
    branch = next((each for each in ("master", "main") if each in branches), next(iter(branches), ""))
    return Snapshot(branch, branches.get(branch, ""), branches)


async def _files(caches: Caches, project: TenantProject, name: str, snapshot: Snapshot) -> list[SourceFile]:
    files = []
    for branch, commit in snapshot.branches.items():
        if project.trusted and branch != project.load_branch:
            continue
        wanted = config_paths(project, await caches.list_paths(name, commit))
        texts = await caches.read_files(name, commit, wanted)
        files += [SourceFile(name, branch, path, texts[path]) for path in wanted if path in texts]
    return files


@dataclass(frozen=True, slots=True)
class Chosen:
    """The job to try, in the pipeline it runs in. `attached`: no pipeline of the project has it, so it was put into this one."""

    pipeline: str
    project: str
    branch: str
    job: FrozenJob
    layout: Layout
    attached: bool = False


def choose(world: World, project: str, job: str, pipeline: str = "") -> Chosen:
    """Freeze the job for `project` (canonical), in `pipeline` or the first that has it. Raises `Problem`."""
    branch = world.snapshots[project].branch
    ref = Ref(project, branch)
    names = [pipeline] if pipeline else list(world.layout.pipelines)
    if pipeline and pipeline not in world.layout.pipelines:
        raise Problem(f'There is no pipeline "{pipeline}" in tenant "{world.tenant.name}"{nearest(pipeline, world.layout.pipelines)}.')
    failures, seen = [], set()
    for name in names:
        try:
            graph = world.layout.freeze(ref, name)
        except FreezeFailed as failed:
            failures.append(str(failed))
            continue
        seen |= set(graph.names)
        if job in graph.names:
            return Chosen(name, project, branch, graph[job], world.layout)
    if job in world.layout.state.jobs and names:
        return _attached(world, ref, job, names[0], failures)
    known = seen | set(world.layout.state.jobs)
    why = failures[0] if failures and not seen else f"it runs {', '.join(sorted(seen)) or 'no job'}."
    raise Problem(f'There is no job "{job}" for {project} at {branch}{nearest(job, known) or ";"} {why}')


def _attached(world: World, ref: Ref, job: str, pipeline: str, failures: Sequence[str]) -> Chosen:
    """The job as if the project ran it in that pipeline."""
    files = world.layout.state.files.get((ref.project, ref.branch)) or ()
    place, text = (files[0].file.path, files[0].file.text) if files else (".zuul.yaml", "")
    addition = f"- project: {{{pipeline}: {{jobs: [{job}]}}}}\n"
    layout = world.layout.with_files([SourceFile(ref.project, ref.branch, place, f"{text}\n{addition}")], config_projects=True)
    try:
        graph = layout.freeze(ref, pipeline)
        return Chosen(pipeline, ref.project, ref.branch, graph[job], layout, attached=True)
    except (FreezeFailed, KeyError) as failed:
        raise Problem(f'The job "{job}" cannot run for {ref.project} at {ref.branch}: {[*failures, str(failed)][0]}') from failed


def without_secrets(job: FrozenJob, given: Mapping[str, Any]) -> tuple[FrozenJob, tuple[tuple[Playbook, str], ...]]:
    """The job without the playbooks that name a secret which is not `given`, and those playbooks with the secret's name."""
    lacking = {
        playbook: use.secret for playbook in playbooks_of(job) for use in playbook.secrets if not {use.secret, use.name} & given.keys()
    }

    def kept(playbooks: tuple[Playbook, ...]) -> tuple[Playbook, ...]:
        return tuple(playbook for playbook in playbooks if playbook not in lacking)

    remaining = dataclasses.replace(
        job, pre_run=kept(job.pre_run), run=kept(job.run), post_run=kept(job.post_run), cleanup_run=kept(job.cleanup_run)
    )
    return remaining, tuple(lacking.items())


def frozen_projects(world: World, chosen: Chosen) -> dict[str, FrozenProject]:
    """Every repository the job needs. Raises `Problem` for one that has no directory."""
    job = chosen.job
    wanted = {chosen.project, *(required.name for required in job.required_projects)}
    wanted |= {included.project for included in job.include_vars if included.project}
    for _, playbook in script(job):
        wanted |= {playbook.project, *(role.project for role in playbook.roles)}
    found = {}
    for name in sorted(wanted):
        settings = world.layout.projects.by_canonical[name].settings
        snapshot = world.snapshots.get(name)
        if snapshot is None:
            raise Problem(f"{job.name} needs {settings.name}, and no checkout of it was found: say where by --source {settings.name}=DIR.")
        default = world.layout.default_branch(name)
        candidates = (chosen.branch, default, settings.load_branch, snapshot.branch)
        branch = next(each for each in candidates if each in snapshot.branches)
        found[name] = FrozenProject(settings.connection, settings.name, branch, snapshot.branches[branch], snapshot.branches)
    return found


@dataclass(frozen=True, slots=True)
class Nodes:
    """What the job runs on: one of its nodesets and a node for each of its names."""

    nodeset: Nodeset
    by_name: Mapping[str, Node]


async def make_trial_plan(world: World, chosen: Chosen, build: str, directory: Path, nodes: Nodes, secrets: Mapping[str, Any]) -> BuildPlan:
    """Everything the build needs; `secrets` are values by the secret's name or the variable's. Raises `Problem`, `BuildProblem` or
    `LookupError`."""
    job = chosen.job
    projects = frozen_projects(world, chosen)
    own = projects[chosen.project]
    buildset = Buildset(build, build, datetime.now(UTC), projects, JobGraph((job,)))
    subject = f"What is checked out of {own.name}"
    ref = f"refs/heads/{chosen.branch}"
    change = Change(own.connection, own.name, chosen.branch, 0, 0, ref, own.commit, subject=subject, message=f"{subject}\n")
    pipeline = chosen.layout.pipelines[chosen.pipeline]
    facts = BuildFacts(
        build=build,
        buildset=build,
        event_id=build,
        tenant=world.tenant.name,
        pipeline=chosen.pipeline,
        items=(ItemChange(change, chosen.project),),
        projects=project_states(job, buildset, chosen.project),
        post_review=pipeline.post_review,
        executor=socket.gethostname(),
        included_vars=await included_vars(world.caches, chosen.project, buildset, job),
    )
    key, _ = await asyncio.to_thread(make_key, directory)
    given = {
        playbook: {use.name: secrets.get(use.name, secrets.get(use.secret)) for use in playbook.secrets}
        for playbook in playbooks_of(job)
        if playbook.secrets
    }
    return BuildPlan(
        job=job,
        facts=facts,
        nodeset=nodes.nodeset,
        nodes=nodes.by_name,
        sources=sources(job, buildset),
        directory=directory,
        caches=world.caches,
        exports=directory / "exports",
        private_key=key,
        secrets=given,
    )
