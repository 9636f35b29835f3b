"""What the pages need to know, and in which shape. `Reader` is answered by the store; in fast tests by a dictionary.

The facts are the store's own (`headgate.records`); only what is computed from several of them has a shape of its own here.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from headgate.builds import Place
from headgate.image_overview import ImageOverview
from headgate.images import Build as ImageBuild
from headgate.records import Build, Buildset, Item, StoredReport
from headgate.reruns import Flakiness

FLAKY_DAYS = 30


@dataclass(frozen=True, slots=True)
class QueuedItem:
    """A live item. `builds` are all of its newest buildset; `ahead` is the id of the item before it in its queue, if any.

    `why` says in words of its own what becomes of the item; `waiting` names what jobs that have not started wait for (such as
    "nodes: no room at cloud"). `expected` is how long jobs usually take, in seconds, where that is known.
    """

    item: Item
    buildset: Buildset | None = None
    builds: tuple[Build, ...] = ()
    ahead: str = ""
    why: str = ""
    waiting: Mapping[Place, str] = field(default_factory=dict)
    expected: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class QueueStatus:
    """Items in their order, the head first. `window`: how many may run at once, None for no limit."""

    name: str
    items: tuple[QueuedItem, ...] = ()
    window: int | None = None


@dataclass(frozen=True, slots=True)
class PipelineStatus:
    name: str
    description: str = ""
    manager: str = "independent"
    queues: tuple[QueueStatus, ...] = ()


@dataclass(frozen=True, slots=True)
class TenantStatus:
    """`problems` are configuration errors, one sentence each."""

    name: str
    pipelines: tuple[PipelineStatus, ...] = ()
    problems: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Status:
    """`problems` concern everyone, such as a connection that is down; one sentence each."""

    tenants: tuple[TenantStatus, ...] = ()
    problems: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class BuildDetail:
    """`attempts` are all builds of the same job in the buildset, this one among them, oldest first."""

    build: Build
    buildset: Buildset
    item: Item
    attempts: tuple[Build, ...] = ()


@dataclass(frozen=True, slots=True)
class BuildsetDetail:
    """`builds` are all attempts of all rounds, `reports` what was said on the change about it, both oldest first."""

    buildset: Buildset
    item: Item
    builds: tuple[Build, ...] = ()
    reports: tuple[StoredReport, ...] = ()
    waiting: Mapping[Place, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class BuildRow:
    """A build in a list, with the item it was made for."""

    build: Build
    item: Item


@dataclass(frozen=True, slots=True)
class BuildQuery:
    """Empty fields do not filter. Values are matched whole; `project` may be the name without its host."""

    tenant: str = ""
    pipeline: str = ""
    project: str = ""
    change: int | None = None
    job: str = ""
    result: str = ""
    limit: int = 50
    skip: int = 0


class Reader(Protocol):
    """Answers from stored facts. All methods may be called concurrently from one event loop."""

    async def status(self) -> Status:
        """Every tenant with all of its pipelines, also empty ones."""
        ...

    def updates(self) -> AsyncIterator[None]:
        """Yields whenever any answer of this reader may have changed since; several changes may be one. Called once."""
        ...

    async def build(self, build_id: str) -> BuildDetail | None:
        """The build with this id, or the only one whose id begins so."""
        ...

    async def buildset(self, buildset_id: str) -> BuildsetDetail | None: ...

    async def builds(self, query: BuildQuery) -> tuple[BuildRow, ...]:
        """The newest first."""
        ...

    async def flakiness(self, job: str = "") -> tuple[Flakiness, ...]:
        """Of the reruns of the last `FLAKY_DAYS` days: of all jobs that had any, or of one."""
        ...

    def logs(self, build_id: str) -> Path:
        """Where what a build leaves to be published lies, whether or not there is any yet. `build_id` is whole and of a build
        that exists."""
        ...

    def console(self, build_id: str) -> Path:
        """The build's console, whether or not it was begun: a file that is only appended to, and that no job can touch. The
        pages show it as `console.log` among the logs."""
        ...

    async def ended(self, build_id: str) -> None:
        """Returns as soon as nothing more will be written to the build's console."""
        ...

    async def images(self) -> tuple[ImageOverview, ...]:
        """Every image with its builds and uploads, by name."""
        ...

    async def image_build(self, build_id: str) -> ImageBuild | None:
        """The build of an image with this id, or the only one whose id begins so; or the newest build of the image of this name."""
        ...

    def image_log(self, build: ImageBuild) -> Path:
        """What diskimage-builder said, whether or not there is any of it (yet, still, or on this machine)."""
        ...

    async def image_ended(self, build_id: str) -> None:
        """Returns as soon as nothing more will be written to the log of this build of an image."""
        ...
