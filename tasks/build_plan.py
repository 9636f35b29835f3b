"""What one build is to do, decided, and what it came to; and where its playbooks and roles are."""

from __future__ import annotations

import contextlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import quote_plus

from headgate.build_facts import BUILD, BuildFacts
from headgate.configuration.roles import implicit_role_name
from headgate.jobs import FrozenJob, Nodeset, Playbook, RoleSource
from headgate.results import Played, Verdict, script
from headgate.zuul_variables import source_path
from providers.base import Node
from tasks.account import Account, job_account
from tasks.git import Caches
from tasks.outside import Reach


class BuildProblem(Exception):
    """The build cannot be played as planned (a missing playbook, a repository that was never fetched); one sentence."""


@dataclass(frozen=True, slots=True)
class Source:
    """A repository with playbooks or roles, as a job names it; without a branch, at what this build checks out of it. What is `trusted`
    is as merged, else it has the item's changes: so a role is as trusted as the playbook that uses it, wherever it comes from."""

    project: str
    branch: str
    trusted: bool


@dataclass(frozen=True, slots=True)
class BuildPlan:
    """Everything one build needs, decided. `nodes` has an entry for each name of the nodeset; `sources` says which commit each repository
    with playbooks or roles is at (for a trusted one, what is merged; else with the item's changes); `directory` is this build's alone and
    absolute; `private_key` is the build's own key, for nodes reached by ssh; `exports` is shared by builds;
    `secrets` are the decrypted values by variable, for each playbook that has any; `disk_bytes` is what the build may fill here, `account`
    whose its processes are here, `reach` what its untrusted playbooks reach of the network (None: what this machine does), `ara` whether
    its logs get a report by ARA."""

    job: FrozenJob
    facts: BuildFacts
    nodeset: Nodeset
    nodes: Mapping[str, Node]
    sources: Mapping[Source, str]
    directory: Path
    caches: Caches
    exports: Path
    private_key: Path | None = None
    secrets: Mapping[Playbook, Mapping[str, Any]] = field(default_factory=dict, repr=False)
    disk_bytes: int | None = None
    account: Account | None = field(default_factory=job_account)
    reach: Reach | None = None
    trusted_reach: Reach | None = None
    ara: bool = False


@dataclass(frozen=True, slots=True)
class BuildOutcome:
    """What a build came to. `data` and `secret_data` are what it returned by `zuul_return`."""

    verdict: Verdict
    played: tuple[Played, ...]
    data: Mapping[str, Any] = field(default_factory=dict)
    secret_data: Mapping[str, Any] = field(default_factory=dict, repr=False)
    warnings: tuple[str, ...] = ()


def playbooks_of(job: FrozenJob) -> tuple[Playbook, ...]:
    return tuple(playbook for _, playbook in script(job))


def sources_of(job: FrozenJob) -> tuple[Source, ...]:
    """Every repository that the job's playbooks or their roles come from, each once."""
    found: dict[Source, None] = {}
    for playbook in playbooks_of(job):
        found[Source(playbook.project, playbook.branch, playbook.trusted)] = None
        for role in playbook.roles:
            found[Source(role.project, role.branch, playbook.trusted)] = None
    return tuple(found)


def playbook_file(playbook: Playbook, exports: Mapping[Source, Path]) -> Path:
    """The file of a playbook on this machine. Raises `BuildProblem`."""
    path = exports[Source(playbook.project, playbook.branch, playbook.trusted)] / playbook.path
    if not path.is_file():
        raise BuildProblem(f"there is no playbook {playbook.path} in {playbook.project} at {playbook.branch}")
    return path


def role_paths(playbook: Playbook, exports: Mapping[Source, Path], directory: Path) -> list[str]:
    """The directories, inside the sandbox, in which a playbook's roles are looked for. `directory` is what is `/build/ansible` there.
    Raises `BuildProblem`."""
    paths = []
    for role in playbook.roles:
        inside = source_path(role.project, role.branch, playbook.trusted)
        files = exports[Source(role.project, role.branch, playbook.trusted)]
        if (files / "tasks").is_dir():
            paths.append(_link_role(role, inside, directory))
        elif (files / "roles").is_dir():
            paths.append(f"{inside}/roles")
        elif not role.implicit:
            raise BuildProblem(f"{role.project} at {role.branch or 'its branch'} has no roles: neither tasks/ nor roles/ is there")
    return paths


def _link_role(role: RoleSource, target: str, directory: Path) -> str:
    """A repository with `tasks/` is itself a role: it gets a directory that has it, which is `target` inside, under its name."""
    name = role.name or implicit_role_name(role.project)
    if not name.strip(".") or "/" in name:
        raise BuildProblem(f"role name {name!r} of {role.project} is not a name")
    inside = f"roles/{quote_plus(target)}"
    (directory / inside).mkdir(parents=True, exist_ok=True)
    with contextlib.suppress(FileExistsError):
        (directory / inside / name).symlink_to(target)
    return f"{BUILD}/ansible/{inside}"
