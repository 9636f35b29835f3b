"""What a tenant's pipelines hold, as values: queues of items, each with the exact items it is tested on top of.

An item's `base` is the whole tuple of items ahead of it under test, oldest first. A gate reset is one comparison of tuples: what the item
is based on (what has merged taken away) against the items ahead of it that are not failing.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum

from headgate.jobs import FrozenJob, JobGraph

Key = tuple[str, int, int]
"""One patchset of one change: connection, number, patchset."""
JobKey = tuple[str, int]
"""One job of a graph: its name, and the position in the item of the (first) change it runs for."""
Holder = tuple[str, str, JobKey]
"""Who holds a semaphore: pipeline, buildset, job."""


def job_key(job: FrozenJob) -> JobKey:
    return (job.name, job.changes[0])


class Preparation(StrEnum):
    """How far the merge of an item and its job graph are."""

    NEW = "new"
    ASKED = "asked"
    DONE = "done"


@dataclass(frozen=True, slots=True)
class Build:
    """One job's current build in a buildset. `result` None: it runs (or waits for its executor). `id` "" for one that never ran.

    `told` is what its playbooks returned about the graph: the names of the only dependents to run, None for all.
    """

    id: str
    result: str | None = None
    detail: str = ""
    paused: bool = False
    failing: bool = False
    told: tuple[str, ...] | None = None
    url: str = ""
    seconds: float | None = None

    @property
    def failed(self) -> bool:
        return self.failing or self.result not in (None, "SUCCESS", "SKIPPED", "RETRY")


@dataclass(frozen=True, slots=True)
class Buildset:
    """One item tested on one base. A reset replaces it by a new one.

    `tested` are all changes under test, those ahead first, as they were when it was prepared: that some merge since changes nothing.
    `attempts` count from 1, `alternatives` (which of a job's nodesets) from 0.
    """

    id: str
    preparation: Preparation = Preparation.NEW
    tested: tuple[Key, ...] = ()
    graph: JobGraph | None = None
    takes_part: bool = True
    conflict: bool = False
    config_error: str = ""
    warnings: tuple[str, ...] = ()
    builds: Mapping[JobKey, Build] = field(default_factory=dict)
    requested: frozenset[JobKey] = frozenset()
    provided: frozenset[JobKey] = frozenset()
    attempts: Mapping[JobKey, int] = field(default_factory=dict)
    alternatives: Mapping[JobKey, int] = field(default_factory=dict)
    failing: tuple[str, ...] = ()
    result: str = ""

    @property
    def jobs(self) -> tuple[FrozenJob, ...]:
        return self.graph.jobs if self.graph is not None else ()


@dataclass(frozen=True, slots=True)
class Item:
    """What is tested as one: a change, or all changes of a cycle. Not `live`: there only to be tested on top of.

    With `reporter_jobs` it was reported as a success, and its jobs of that type run; nothing else happens in its queue meanwhile.
    """

    id: str
    changes: tuple[Key, ...]
    queue: str
    buildset: Buildset
    base: tuple[str, ...] = ()
    live: bool = True
    active: bool = False
    quiet: bool = False
    event: str = ""
    event_change: Key | None = None
    enqueued: datetime | None = None
    said_enqueue: bool = False
    said_start: bool = False
    needing: str = ""
    missing_requirements: bool = False
    reporting: str = ""
    reporter_jobs: bool = False


@dataclass(frozen=True, slots=True)
class Queue:
    """Items in order. `name` is shown; `owner` and `branch` say whose queue it is. A window of 0 is none."""

    id: str
    name: str
    owner: str = ""
    branch: str = ""
    projects: tuple[str, ...] = ()
    items: tuple[str, ...] = ()
    window: int = 0
    dynamic: bool = False


@dataclass(frozen=True, slots=True)
class PipelineState:
    """One pipeline's queues and items. `counter` numbers what is created, so that a pass repeated gives the same names.

    With a `seed` (the installation and tenant) names are unique in the world, 32 hexadecimal digits; without one they can be read.
    """

    queues: tuple[Queue, ...] = ()
    items: Mapping[str, Item] = field(default_factory=dict)
    failures: int = 0
    disabled: bool = False
    counter: int = 0
    seed: str = ""


@dataclass(frozen=True, slots=True)
class Tenancy:
    """All pipelines of a tenant by name, and who holds its semaphores."""

    pipelines: Mapping[str, PipelineState] = field(default_factory=dict)
    semaphores: Mapping[str, tuple[Holder, ...]] = field(default_factory=dict)
