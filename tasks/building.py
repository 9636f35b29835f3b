"""What one build is made of: its plan out of the store's facts, its key, its directory."""

from __future__ import annotations

import asyncio
import importlib.metadata
import os
import shutil
import socket
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import asyncssh

from headgate.build_facts import BuildFacts, ItemChange
from headgate.builds import beside, current
from headgate.changes import Change
from headgate.checkouts import checkout, project_states
from headgate.jobs import FrozenJob, JobGraph, Nodeset
from headgate.problems import Problem
from headgate.records import Build, Buildset, Item
from headgate.returned import ancestors, dependents, parent_data
from providers.base import Node
from tasks.account import job_account
from tasks.build_variables import artifacts, included_vars, secrets
from tasks.git import kept
from tasks.outside import reach_of
from tasks.playbooks import BuildPlan, Source, sources_of

if TYPE_CHECKING:  # it brings Prefect, which takes longer to import than a small job to run
    from tasks.runtime import Runtime

NEEDED_BYTES = 200_000_000
"""Less than this free on the disk of the state directory, and no build begins: it could not even write its console."""


class DiskFull(Problem):
    """The disk that builds are kept on is full."""


def build_directory(this: Runtime, build_id: str) -> Path:
    """Where everything of one build is; `console.log` and `logs/` stay there until they are too old."""
    return this.settings.state / "builds" / build_id


def make_directory(this: Runtime, build_id: str) -> Path:
    """The build's own directory, made now. Raises `DiskFull`."""
    directory = build_directory(this, build_id)
    directory.mkdir(parents=True, exist_ok=True, mode=0o700)
    free = shutil.disk_usage(directory).free
    if free < NEEDED_BYTES:
        raise DiskFull(f"The disk of {directory.parent} is full: {free // 1_000_000} MB are free. Make room there.")
    return directory


def make_key(directory: Path) -> tuple[Path, str]:
    """The build's own SSH key: (private key file, public key line). The same one on a second call."""
    path = directory / "key"
    if not path.exists():
        key = asyncssh.generate_private_key("ssh-ed25519", comment="headgate build")
        temporary = path.with_suffix(".new")
        descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        with open(descriptor, "wb") as file:
            file.write(key.export_private_key())
        temporary.rename(path)
    return path, asyncssh.read_private_key(path).export_public_key().decode().strip()


def sources(job: FrozenJob, buildset: Buildset) -> Mapping[Source, str]:
    """Which commit each repository with playbooks or roles is at. Raises `LookupError`."""
    found = {}
    for source in sources_of(job):
        project = buildset.projects[source.project]
        branch = source.branch or checkout(job, buildset, source.project)[0]
        found[source] = project.merged(branch) if source.trusted else project.speculative(branch)
    return found


def parents(graph: JobGraph, job: FrozenJob, builds: list[Build]) -> dict[str, Build]:
    """The builds of the jobs it depends on, directly or not, in the graph's order."""
    known = beside(graph, job, current(builds))
    return {name: known[name] for name in ancestors(graph, job.name) if name in known}


async def make_plan(
    this: Runtime, item: Item, buildset: Buildset, job: FrozenJob, build: Build, nodeset: Nodeset, nodes: Mapping[str, Node]
) -> BuildPlan:
    """Everything the build needs. Raises `LookupError` when a repository or branch of it is not there, `BuildProblem`,
    `SecretProblem`."""
    builds = await this.store.builds(buildset.id)
    directory = await asyncio.to_thread(make_directory, this, build.id)
    key, _ = await asyncio.to_thread(make_key, directory)
    await fetch_missing(this, item, buildset)
    assert buildset.graph is not None
    above = parents(buildset.graph, job, builds)
    changes = tested(buildset, job, item)
    mine = buildset.changes or (item.change,)
    refs = tuple(ItemChange(change, this.canonical(change)) for change in mine)
    where = sources(job, buildset)
    facts = BuildFacts(
        build=build.id,
        buildset=buildset.id,
        event_id=item.event,
        tenant=item.tenant,
        pipeline=item.pipeline,
        items=tuple(ItemChange(change, this.canonical(change)) for change in changes),
        projects=project_states(job, buildset, this.canonical(changes[-1]), map(this.canonical, changes), {ref.project for ref in refs}),
        buildset_refs=refs,
        build_refs=tuple(refs[position] for position in job.changes if position < len(refs)),
        child_jobs=dependents(buildset.graph, job.name),
        commits={(source.project, source.branch, source.trusted): commit for source, commit in where.items()},
        ansible_version=ansible_version(),
        attempt=build.attempt,
        post_review=job.post_review,
        executor=socket.gethostname(),
        artifacts=artifacts(above, item),
        parent_data=parent_data(buildset.graph, job.name, {name: build.data for name, build in above.items()}),
        included_vars=await included_vars(this.caches, item.project, buildset, job),
    )
    workers = this.settings.worker
    return BuildPlan(
        job=job,
        facts=facts,
        nodeset=nodeset,
        nodes=nodes,
        sources=where,
        directory=directory,
        caches=this.caches,
        exports=this.settings.state / "exports",
        private_key=key,
        account=job_account(workers.user),
        reach=None if workers.reach is None else await asyncio.to_thread(reach_of, nodes.values(), workers.reach),
        trusted_reach=None if workers.trusted_reach is None else await asyncio.to_thread(reach_of, nodes.values(), workers.trusted_reach),
        disk_bytes=this.settings.worker.job_disk * 1_000_000 or None,
        ara=this.settings.logs.ara,
        secrets=await secrets(this, item, buildset, job, above),
    )


def ansible_version() -> str:
    """`2.19`, for the installed ansible-core."""
    return ".".join(importlib.metadata.version("ansible-core").split(".")[:2])


def tested(buildset: Buildset, job: FrozenJob, item: Item) -> tuple[Change, ...]:
    """The changes under test, oldest first: those ahead, and the item's own with the one the job runs for last."""
    own = buildset.changes or (item.change,)
    mine = own[job.changes[0]] if job.changes[0] < len(own) else item.change
    return (*buildset.ahead, *(change for change in own if change != mine), mine)


async def fetch_missing(this: Runtime, item: Item, buildset: Buildset) -> None:
    """Have every commit of the buildset in this machine's caches: a worker elsewhere, or a cache that was lost, gets them again."""
    changes = (*buildset.ahead, *(buildset.changes or (item.change,)))
    for canonical, project in buildset.projects.items():
        try:
            for commit in {project.commit, *project.branches.values(), *project.others.values()}:
                await this.caches.resolve(canonical, commit)
        except (LookupError, Problem):
            url, environment = this.connections[project.connection].git(project.name)
            own = [change for change in changes if this.canonical(change) == canonical]
            await this.caches.fetch(canonical, url, environment, [change.ref for change in own])
            layout = await this.tenants.layout(item.tenant)
            for branch in dict.fromkeys(change.branch for change in own):
                those = [change.commit for change in own if change.branch == branch]
                await this.caches.merge(
                    canonical, project.merged(branch), those, layout.merge_mode(canonical), keep=kept(buildset.id, branch)
                )
