"""What a build's playbooks are given besides the job's own variables: secrets, included files, what the jobs before returned."""

from __future__ import annotations

import asyncio
import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml

from headgate.checkouts import checkout
from headgate.frozen_secrets import Reveal, below_others, secrets_of, with_keys
from headgate.jobs import FrozenJob, Playbook
from headgate.records import Build, Buildset, Item
from headgate.returned import artifacts_of, parent_data
from tasks.build_plan import BuildProblem, playbooks_of
from tasks.git import Caches
from tasks.home_requests import SECRET_DATA
from tasks.secret_keys import SecretKeys

if TYPE_CHECKING:  # it brings Prefect, which takes longer to import than a small job to run
    from tasks.runtime import Runtime


def artifacts(above: Mapping[str, Build], item: Item) -> tuple[Mapping[str, Any], ...]:
    """The artifacts of the jobs it depends on, with where each comes from."""
    change = item.change
    where = {"project": change.project, "branch": change.branch, "change": str(change.number), "patchset": str(change.patchset)}
    return tuple({**artifact, **where, "job": name} for name, build in above.items() for artifact in artifacts_of(build.data))


def secret_data_file(this: Runtime, build_id: str) -> Path:
    """Where the `secret_data` is that a build returned: with its files, readable by us only, and nowhere else."""
    return this.settings.state / "builds" / build_id / "secret-data.json"


async def keep_secret_data(this: Runtime, build_id: str, data: Mapping[str, Any]) -> None:
    """Keep what a build returned for the jobs that depend on it and for nobody to read. Raises `HomeProblem`."""
    if data and this.home is not None:
        await this.home.keep(SECRET_DATA, build_id, json.dumps(data).encode())
    elif data:
        _write_private(secret_data_file(this, build_id), json.dumps(data))


def _write_private(path: Path, text: str) -> None:
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with open(descriptor, "w") as file:
        file.write(text)


async def read_secret_data(this: Runtime, build_id: str) -> dict[str, Any]:
    """Nothing when it returned none. Raises `HomeProblem`."""
    if this.home is not None:
        text = await this.home.kept(SECRET_DATA, build_id)
    else:
        file = secret_data_file(this, build_id)
        text = file.read_bytes() if file.exists() else None
    found = json.loads(text or b"{}")
    return found if isinstance(found, dict) else {}


def revealing(this: Runtime) -> Reveal:
    """How secrets are decrypted on this machine; for another thread than the event loop's."""
    home, loop = this.home, asyncio.get_running_loop()
    if home is None:
        return with_keys(SecretKeys(this.settings.state / "keys").private)
    return lambda project, secret: asyncio.run_coroutine_threadsafe(home.reveal(project, secret), loop).result()


async def secrets(
    this: Runtime, item: Item, buildset: Buildset, job: FrozenJob, above: Mapping[str, Build]
) -> dict[Playbook, dict[str, Any]]:
    """The decrypted values, by variable, for each playbook of the job that gets any. Raises `SecretProblem`."""
    layout = await this.tenants.layout(item.tenant)
    pipeline = layout.pipelines.get(item.pipeline)
    reveal = revealing(this)
    returned = {name: await read_secret_data(this, build.id) for name, build in above.items()}

    def read() -> dict[Playbook, dict[str, Any]]:
        assert buildset.graph is not None
        below = parent_data(buildset.graph, job.name, returned)
        found = {}
        for playbook in playbooks_of(job):
            own = secrets_of(playbook, buildset.secrets, reveal, pipeline is not None and pipeline.post_review)
            if values := {**below_others(below, job, own), **own}:
                found[playbook] = values
        return found

    return await asyncio.to_thread(read)


async def included_vars(caches: Caches, own: str, buildset: Buildset, job: FrozenJob) -> tuple[tuple[str, str, Mapping[str, Any]], ...]:
    """What the files of the job's include-vars hold; `own` is the change's project. Raises `BuildProblem` for one
    that is missing and required, or not variables."""
    found = []
    for one in job.include_vars:
        canonical = one.project or own
        project = buildset.projects[canonical]
        branch, commit, _ = checkout(job, buildset, canonical)
        if not one.use_ref:
            commit = project.merged(branch)
        texts = await caches.read_files(canonical, commit, [one.name])
        if one.name in texts:
            found.append((canonical, one.name, variables_in(texts[one.name], f"{canonical}: {one.name}")))
        elif one.required:
            raise BuildProblem(f"there is no {one.name} in {canonical} at {branch}, which include-vars needs")
    return tuple(found)


class _NoAliases(yaml.SafeLoader):
    """Few lines with aliases can mean gigabytes of values."""

    def compose_node(self, parent: yaml.Node | None, index: int) -> yaml.Node | None:
        if self.check_event(yaml.AliasEvent):
            raise yaml.YAMLError("aliases are not allowed")
        return super().compose_node(parent, index)


def variables_in(text: str, where: str) -> Mapping[str, Any]:
    """The variables in a YAML or JSON file. Raises `BuildProblem` beginning with `where`."""
    try:
        found = yaml.load(text, _NoAliases)  # noqa: S506 - a SafeLoader that allows less
    except (yaml.YAMLError, RecursionError, ValueError) as problem:
        raise BuildProblem(f"{where}: this is not YAML: {str(problem).splitlines()[0]}") from None
    if not isinstance(found, dict) or not all(isinstance(name, str) for name in found):
        raise BuildProblem(f"{where}: expected variables by name, found {type(found).__name__}")
    return found
