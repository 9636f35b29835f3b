"""A simulated executor and its nodes: builds succeed at once unless told to fail or held."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from datetime import datetime

from headgate.gating import Key, StartBuild
from headgate.refs import is_ref


@dataclass(slots=True)
class Running:
    """A build under way. `branch` is what it checks out where there is such a branch."""

    start: StartBuild
    tenant: str
    pipeline: str
    started: datetime
    branch: str
    held: bool

    @property
    def job(self) -> str:
        return self.start.job.name

    @property
    def tested(self) -> tuple[Key, ...]:
        return self.start.tested


@dataclass(frozen=True, slots=True)
class Ended:
    job: str
    result: str | None
    tested: tuple[Key, ...]
    buildset: str


@dataclass(slots=True)
class Executor:
    """`failing` are (job, change number): that job fails wherever the change's first patchset is in what it has checked out."""

    running: dict[str, Running] = field(default_factory=dict)
    history: list[Ended] = field(default_factory=list)
    failing: set[tuple[str, int]] = field(default_factory=set)
    hold: bool = False

    def begin(self, running: Running) -> None:
        self.running[running.start.build] = running

    def end(self, build: str, result: str | None) -> Running:
        """Take a build out and note its result, except that of a job that never runs anywhere."""
        running = self.running.pop(build)
        if running.job != "noop":
            self.history.append(Ended(running.job, result, running.tested, running.start.buildset))
        return running

    def to_release(self, regex: str | None, change: int | None) -> list[str]:
        """The held builds that match, fewest changes under test first, then by name."""
        found = [
            build
            for build, running in self.running.items()
            if running.held
            and (not regex or re.fullmatch(regex, running.job))
            and (change is None or (bool(running.tested) and running.tested[-1][1] == change))
        ]
        return sorted(found, key=lambda build: self._order(self.running[build]))

    @staticmethod
    def _order(running: Running) -> tuple[int, str, tuple[Key, ...]]:
        return sum(not is_ref(key) for key in running.tested), running.job, running.tested
