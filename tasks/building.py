"""What one build is made of: its plan out of the store's facts, its key, its directory."""

from __future__ import annotations

import asyncio
import os
import shutil
import socket
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import asyncssh

from headgate.builds import SUCCESS, current
from headgate.inventory import BuildFacts, ItemChange, ProjectState
from headgate.jobs import FrozenJob, Nodeset
from headgate.problems import Problem
from headgate.records import Build, Buildset, Item
from providers.base import Node
from tasks.playbooks import BuildPlan, Source, sources_of
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
        raise DiskFull(f"The disk of {directory.parent} is full: {free // 1_000_000} MB are free. Make room there; builds wait for it.")
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


def _checkout(job: FrozenJob, buildset: Buildset, canonical: str, override: str | None) -> tuple[str, str, str]:
    """Branch, commit, and in words why that branch."""
    project = buildset.projects[canonical]
    for wanted, why in ((override, "job override ref"), (job.override_checkout, "job override ref")):
        if wanted is not None and wanted in project.branches:
            return wanted, project.speculative(wanted), why
    return project.branch, project.commit, "zuul branch"


def project_states(job: FrozenJob, buildset: Buildset, own: str) -> tuple[ProjectState, ...]:
    """The repositories of the job's workspace: its change's own and those it requires."""
    required = {one.name: one.override_checkout for one in job.required_projects}
    states = []
    for canonical in dict.fromkeys([own, *required]):
        branch, commit, why = _checkout(job, buildset, canonical, required.get(canonical))
        states.append(ProjectState(canonical, commit, branch, why, canonical in required))
    return tuple(states)


def sources(job: FrozenJob, buildset: Buildset) -> Mapping[Source, str]:
    """Which commit each repository with playbooks or roles is at. Raises `LookupError`."""
    found = {}
    for source in sources_of(job):
        project = buildset.projects[source.project]
        found[source] = project.merged(source.branch) if source.trusted else project.speculative(source.branch)
    return found


def parent_data(job: FrozenJob, builds: list[Build]) -> dict[str, Any]:
    """What the jobs it depends on returned, the later one winning."""
    known = current(builds)
    data: dict[str, Any] = {}
    for dependency in job.dependencies:
        build = known.get(dependency.name)
        if build is not None and build.result == SUCCESS:
            data.update({name: value for name, value in build.data.items() if name != "zuul"})
    return data


def artifacts(job: FrozenJob, builds: list[Build]) -> tuple[Mapping[str, Any], ...]:
    """The artifacts of the jobs it depends on."""
    known = current(builds)
    found: list[Mapping[str, Any]] = []
    for dependency in job.dependencies:
        if dependency.name in known:
            zuul = known[dependency.name].data.get("zuul")
            listed = zuul.get("artifacts", []) if isinstance(zuul, Mapping) else []
            found += [{"job": dependency.name, **artifact} for artifact in listed if isinstance(artifact, Mapping)]
    return tuple(found)


async def make_plan(
    this: Runtime, item: Item, buildset: Buildset, job: FrozenJob, build: Build, nodeset: Nodeset, nodes: Mapping[str, Node]
) -> BuildPlan:
    """Everything the build needs. Raises `LookupError` when a repository or branch of it is not there."""
    builds = await this.store.builds(buildset.id)
    directory = await asyncio.to_thread(make_directory, this, build.id)
    key, _ = await asyncio.to_thread(make_key, directory)
    await fetch_missing(this, item, buildset)
    facts = BuildFacts(
        build=build.id,
        buildset=buildset.id,
        event_id=item.event,
        tenant=item.tenant,
        pipeline=item.pipeline,
        items=(ItemChange(item.change, item.project),),
        projects=project_states(job, buildset, item.project),
        attempt=build.attempt,
        post_review=job.post_review,
        executor=socket.gethostname(),
        artifacts=artifacts(job, builds),
        parent_data=parent_data(job, builds),
    )
    return BuildPlan(
        job=job,
        facts=facts,
        nodeset=nodeset,
        nodes=nodes,
        sources=sources(job, buildset),
        directory=directory,
        caches=this.caches,
        exports=this.settings.state / "exports",
        private_key=key,
    )


async def fetch_missing(this: Runtime, item: Item, buildset: Buildset) -> None:
    """Have every commit of the buildset in this machine's caches: a worker elsewhere, or a cache that was lost, gets them again."""
    for canonical, project in buildset.projects.items():
        try:
            for commit in {project.commit, *project.branches.values()}:
                await this.caches.resolve(canonical, commit)
        except (LookupError, Problem):
            url, environment = this.connections[project.connection].git(project.name)
            own = canonical == item.project
            await this.caches.fetch(canonical, url, environment, [item.change.ref] if own else [])
            if own:
                await this.caches.merge(canonical, project.merged(project.branch), [item.change.commit], keep=f"buildset/{buildset.id}")
