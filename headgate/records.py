"""The facts the store keeps, as values: items, buildsets, builds, node requests, nodes, reports.

They say what happened, with times in UTC. Whatever can be computed from them (is an item done? what may be reported?) is computed by the
rules in `headgate.builds` and `headgate.gating`, and stored nowhere.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import Any

from headgate.changes import Change
from headgate.configuration.pipelines import Reporter
from headgate.jobs import JobGraph


@dataclass(frozen=True, slots=True)
class Item:
    """One change in one pipeline of one tenant. Live until `dequeued` is set; `reason` says why it left."""

    id: str
    tenant: str
    pipeline: str
    project: str
    """Canonical name."""
    change: Change
    enqueued: datetime
    event: str = ""
    flow_run: str | None = None
    dequeued: datetime | None = None
    reason: str = ""
    cancelled: datetime | None = None
    """When its flow run was told to stop after the item had left."""
    changes: tuple[Change, ...] = ()
    """All changes that are tested as one, `change` among them; () for an item of before there were such."""
    ahead_only: bool = False
    """There only so that others can be tested on top of it (what Zuul calls not live)."""

    @property
    def live(self) -> bool:
        return self.dequeued is None


REPORTED = "reported"
"""Why an item left that was tested to its end and said so."""
CANCELLED = "its run was cancelled"
"""Why an item left whose run somebody cancelled in Prefect: the one reason from which Retry brings it back."""
GIVEN_UP = "DEQUEUED"
"""The result of a buildset that was not tested to its end: its item left, or is tested on something else now."""


@dataclass(frozen=True, slots=True)
class FrozenProject:
    """One repository as one buildset sees it, for ever: `branch` is what jobs check out unless they say otherwise, `commit` what that is
    with the item's changes, `branches` every branch without them."""

    connection: str
    name: str
    branch: str
    commit: str
    branches: Mapping[str, str]
    others: Mapping[str, str] = field(default_factory=dict)
    """Further branches that changes under test are on, and the commits these make of them."""
    tags: Mapping[str, str] = field(default_factory=dict)
    """The tags that jobs of the buildset ask for, and the commits they stand for."""

    def merged(self, branch: str) -> str:
        """The commit of a branch as it is merged. Raises `LookupError`."""
        if branch not in self.branches:
            raise LookupError(f"{self.name} has no branch {branch}")
        return self.branches[branch]

    def speculative(self, branch: str) -> str:
        """The commit of a branch with the item's changes. Raises `LookupError`."""
        if branch == self.branch:
            return self.commit
        return self.others.get(branch) or self.merged(branch)


@dataclass(frozen=True, slots=True)
class FileComment:
    """A remark on a line of a file of the change; on the file when there is no `line`.

    `project` (its short name) is the one whose file it is, where an item's changes are of several.
    """

    path: str
    line: int | None
    message: str
    level: str = "info"
    project: str = ""


@dataclass(frozen=True, slots=True)
class Buildset:
    """One item tested on one exact tuple of changes: what was merged and which jobs that means.

    `problem` is the result that ended it before any job (`MERGE_CONFLICT`, `CONFIG_ERROR`, `NO_JOBS`), with `messages` for people.
    """

    id: str
    item: str
    created: datetime
    projects: Mapping[str, FrozenProject] = field(default_factory=dict)
    graph: JobGraph | None = None
    problem: str | None = None
    messages: tuple[str, ...] = ()
    secrets: Mapping[str, Any] = field(default_factory=dict)
    """What `headgate.frozen_secrets` makes of the graph's secrets; they are still encrypted."""
    ahead: tuple[Change, ...] = ()
    """Changes of the items ahead that it is tested on top of, oldest first; some may have merged meanwhile."""
    changes: tuple[Change, ...] = ()
    """The item's own changes."""
    takes_part: bool = True
    comments: tuple[FileComment, ...] = ()
    flow_run: str | None = None
    prepared: datetime | None = None
    """When it was merged and its jobs were frozen."""
    ended: datetime | None = None
    result: str = ""
    """Set with `ended`: the result that was reported, or GIVEN_UP (empty until its run was told)."""


@dataclass(frozen=True, slots=True)
class Build:
    """One attempt at one job. `result` None with `ended` set: it counts for nothing and another attempt follows (Zuul's RETRY)."""

    id: str
    buildset: str
    job: str
    attempt: int
    voting: bool
    created: datetime
    flow_run: str | None = None
    started: datetime | None = None
    ended: datetime | None = None
    result: str | None = None
    message: str = ""
    nodes: tuple[Mapping[str, Any], ...] = ()
    data: Mapping[str, Any] = field(default_factory=dict)
    warnings: tuple[str, ...] = ()
    round: int = 1
    """1 for the first run; each rerun asked for by a person is one more."""
    reason: str = ""
    """Why it runs again, in the words of who asked for it."""
    position: int = 0
    """Which of the item's changes the job runs for (the first, if for several)."""
    cancelled: datetime | None = None
    """When it was asked to stop."""
    failing: datetime | None = None
    """When it was known that it will fail, before its end."""


@dataclass(frozen=True, slots=True)
class StoredReport:
    """A report to be made on one change of the item: written before it is sent, and marked when the server has it.

    `reporters` say where and how; with `answer` the item's queue waits for it. `by_flow`: said by the run of its buildset.
    """

    id: str
    item: str
    buildset: str | None
    kind: str
    message: str
    labels: Mapping[str, int]
    created: datetime
    sent: datetime | None = None
    refused: str = ""
    change: Change | None = None
    reporters: tuple[Reporter, ...] = ()
    answer: bool = False
    by_flow: bool = False


class CommandKind(StrEnum):
    """What may be asked of the scheduler."""

    ENQUEUE = "enqueue"
    DEQUEUE = "dequeue"
    PROMOTE = "promote"
    RESUME = "resume"
    """Bring an item back whose run somebody cancelled."""


@dataclass(frozen=True, slots=True)
class Command:
    """Something a person or a flow asks of the scheduler: about `changes`, or for RESUME about `item`."""

    id: str
    tenant: str
    pipeline: str
    kind: CommandKind
    created: datetime
    changes: tuple[tuple[str, int, int], ...] = ()
    """(connection, number, patchset)."""
    item: str = ""
    reason: str = ""
    refs: tuple[Change, ...] = ()
    """Those of `changes` that are branches and tags: nobody else knows of them."""
