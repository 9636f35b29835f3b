"""The facts the store keeps, as values: items, buildsets, builds, node requests, nodes, reports.

They say what happened, with times in UTC. Whatever can be computed from them (is an item done? what may be reported?) is computed by the
rules in `headgate.builds` and `headgate.queues`, and stored nowhere.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from headgate.changes import Change
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

    @property
    def live(self) -> bool:
        return self.dequeued is None


@dataclass(frozen=True, slots=True)
class FrozenProject:
    """One repository as one buildset sees it, for ever: `branch` is what jobs check out unless they say otherwise, `commit` what that is
    with the item's changes, `branches` every branch without them."""

    connection: str
    name: str
    branch: str
    commit: str
    branches: Mapping[str, str]

    def merged(self, branch: str) -> str:
        """The commit of a branch as it is merged. Raises `LookupError`."""
        if branch not in self.branches:
            raise LookupError(f"{self.name} has no branch {branch}")
        return self.branches[branch]

    def speculative(self, branch: str) -> str:
        """The commit of a branch with the item's changes. Raises `LookupError`."""
        return self.commit if branch == self.branch else self.merged(branch)


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


@dataclass(frozen=True, slots=True)
class StoredReport:
    """A report to be made on the item's change: written before it is sent, and marked when the server has it."""

    id: str
    item: str
    buildset: str | None
    kind: str
    message: str
    labels: Mapping[str, int]
    created: datetime
    sent: datetime | None = None
    refused: str = ""
