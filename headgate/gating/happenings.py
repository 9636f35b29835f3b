"""What goes into a pass and what comes out of it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from headgate.changes import Event
from headgate.configuration import Reporter
from headgate.gating.state import Item, JobKey, Key
from headgate.jobs import FrozenJob, JobGraph


@dataclass(frozen=True, slots=True)
class Heard:
    """An event about a change, of a kind that concerns the pipeline (`triggers` decides, or the change is in it)."""

    event: Event
    change: Key


@dataclass(frozen=True, slots=True)
class AskedEnqueue:
    """A person (or the rules, with `again`) puts a change in, whatever the pipeline requires."""

    change: Key
    event: str = ""
    again: bool = False


@dataclass(frozen=True, slots=True)
class AskedDequeue:
    change: Key


@dataclass(frozen=True, slots=True)
class AskedPromote:
    """These changes shall be at the head, in this order."""

    changes: tuple[Key, ...]


@dataclass(frozen=True, slots=True)
class Superceded:
    """A pipeline that supercedes this one took the change."""

    change: Key


@dataclass(frozen=True, slots=True)
class SemaphoreFreed:
    """Someone let go of a semaphore that another may wait for."""


@dataclass(frozen=True, slots=True)
class Prepared:
    """The answer to `Prepare`. `graph` is None when there is a `config_error`; `conflict` means it does not merge."""

    buildset: str
    graph: JobGraph | None = None
    takes_part: bool = True
    conflict: bool = False
    config_error: str = ""
    warnings: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class NodesReady:
    """The answer to `RequestNodes`."""

    buildset: str
    job: JobKey
    fulfilled: bool = True


@dataclass(frozen=True, slots=True)
class BuildEnded:
    """`result` None: the attempt says nothing about the change, another follows while attempts are left."""

    buildset: str
    job: JobKey
    build: str
    result: str | None
    url: str = ""
    seconds: float | None = None
    told: tuple[str, ...] | None = None
    warnings: tuple[str, ...] = ()
    detail: str = ""


@dataclass(frozen=True, slots=True)
class BuildFailing:
    """A build still runs, and will be a failure whatever follows. Not `failing`: it was lost, and another attempt has begun."""

    buildset: str
    job: JobKey
    build: str
    failing: bool = True


@dataclass(frozen=True, slots=True)
class BuildAgain:
    """Somebody had a build of a live item run again: its result does not count any more, another will come."""

    buildset: str
    job: JobKey


@dataclass(frozen=True, slots=True)
class Resumed:
    """An item comes back whose run somebody had cancelled, with the results it had; only into an independent pipeline."""

    item: Item


@dataclass(frozen=True, slots=True)
class BuildPaused:
    """A build waits, its nodes kept, until all that depends on it has ended. `told`: the names of the only dependents to run."""

    buildset: str
    job: JobKey
    build: str
    told: tuple[str, ...] | None = None


@dataclass(frozen=True, slots=True)
class Reported:
    """The answer to a `Report` of a final result: did everyone take it, and is every change merged now?"""

    buildset: str
    taken: bool
    merged: bool


Happening = (
    Heard
    | AskedEnqueue
    | AskedDequeue
    | AskedPromote
    | Superceded
    | SemaphoreFreed
    | Prepared
    | NodesReady
    | BuildEnded
    | BuildPaused
    | BuildFailing
    | BuildAgain
    | Resumed
    | Reported
)


@dataclass(frozen=True, slots=True)
class Prepare:
    """Merge `changes` onto `ahead` (all changes of all items ahead, oldest first), and freeze the job graph unless only looked through."""

    item: str
    buildset: str
    ahead: tuple[Key, ...]
    changes: tuple[Key, ...]
    live: bool


@dataclass(frozen=True, slots=True)
class RequestNodes:
    """`nodeset` is the position among the job's alternatives; `position` the item's place, for the request's priority."""

    item: str
    buildset: str
    job: FrozenJob
    position: int
    nodeset: int = 0


@dataclass(frozen=True, slots=True)
class StartBuild:
    """Run a job on the changes under test, `tested` being those ahead and the item's own."""

    item: str
    buildset: str
    build: str
    job: FrozenJob
    tested: tuple[Key, ...]


@dataclass(frozen=True, slots=True)
class CancelBuild:
    build: str


@dataclass(frozen=True, slots=True)
class ResumeBuild:
    """All that waited for a paused build has ended."""

    build: str


@dataclass(frozen=True, slots=True)
class Return:
    """Give back what was requested for a job that will not run."""

    buildset: str
    job: JobKey


@dataclass(frozen=True, slots=True)
class Report:
    """Say `messages` (one per change) with every reporter. `two_phases`: all votes first, then all submits.

    `answer`: the pass waits for a `Reported` before it goes on in this queue.
    """

    item: str
    buildset: str
    kind: str
    reporters: tuple[Reporter, ...]
    messages: Mapping[Key, str] = field(default_factory=dict)
    two_phases: bool = False
    answer: bool = False


@dataclass(frozen=True, slots=True)
class Left:
    """An item has left, as it was last: its buildset's result says how it ended ("" if it was not tested to its end)."""

    item: Item


@dataclass(frozen=True, slots=True)
class Notify:
    """Another pipeline (`""`: all of the tenant, in order) has to know."""

    pipeline: str
    happening: Happening


@dataclass(frozen=True, slots=True)
class Announce:
    """Pipelines have triggers of the `zuul` connection for what happened to a change here.

    `project-change-merged`: emit an event of this type for every open change of its project. `parent-change-enqueued`: for every open
    change that needs it (git children, and whose message depends on it), with `pipeline` as the event's pipeline.
    """

    type: str
    pipeline: str
    change: Key


Action = Announce | Prepare | RequestNodes | StartBuild | CancelBuild | ResumeBuild | Return | Report | Left | Notify
