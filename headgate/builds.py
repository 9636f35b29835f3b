"""What the builds of one buildset add up to: which jobs may start, which are skipped, and the buildset's result.

Law: the build that counts for a job is the newest attempt of its newest round. A job starts when every dependency has ended or pauses; it
is SKIPPED when a dependency that ran failed, a hard one was skipped, or one has not chosen it (`child_jobs`). A buildset succeeds when no
voting job failed and not all were skipped.
Source of the rules: Zuul 14.3 (`voting: false` never decides; SKIPPED is neither good nor bad).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import TypeVar

from headgate.jobs import FrozenJob, JobGraph
from headgate.records import Build
from headgate.returned import left_out, pauses

SUCCESS, FAILURE, SKIPPED, CANCELED = "SUCCESS", "FAILURE", "SKIPPED", "CANCELED"
NOOP = "noop"
"""The name of the job that Zuul defines itself: it always succeeds and runs nothing."""


Place = tuple[str, int]
"""A job's name and the position, in the item, of the change it runs for: in a cycle several jobs may have one name."""
Fact = TypeVar("Fact")


def current(builds: Iterable[Build]) -> dict[Place, Build]:
    """The build that counts for each job."""
    found: dict[Place, Build] = {}
    for build in builds:
        place = (build.job, build.position)
        known = found.get(place)
        if known is None or (build.round, build.attempt) > (known.round, known.attempt):
            found[place] = build
    return found


def newest(builds: Iterable[Build]) -> Build:
    """The one of a single job's builds that counts."""
    return max(builds, key=lambda build: (build.round, build.attempt))


def results(builds: Iterable[Build]) -> dict[Place, str]:
    """Job to result, for jobs that have one."""
    return {place: build.result for place, build in current(builds).items() if build.result is not None}


def of_job(job: FrozenJob, known: Mapping[Place, Fact]) -> Fact | None:
    """What is known of a job, whichever of its changes it was noted for."""
    return next((known[(job.name, position)] for position in job.changes if (job.name, position) in known), None)


def beside(graph: JobGraph, job: FrozenJob, known: Mapping[Place, Fact]) -> dict[str, Fact]:
    """What is known of the jobs that run for a change that `job` runs for too, by name: those that it can depend on, and they on it."""
    near = [other for other in graph.jobs if not set(other.changes).isdisjoint(job.changes)]
    return {other.name: fact for other in near if (fact := of_job(other, known)) is not None}


@dataclass(frozen=True, slots=True)
class Choices:
    """What builds have said about other jobs: `left_out` do not run, and those that depend on `paused` ones need not wait for their end."""

    left_out: frozenset[str] = frozenset()
    paused: frozenset[str] = frozenset()


def choices(graph: JobGraph, builds: Iterable[Build]) -> Choices:
    """What the builds that succeeded or pause have chosen; the graph and the builds are those of one change."""
    known = {name: build for (name, _), build in current(builds).items()}
    paused = frozenset(name for name, build in known.items() if build.ended is None and pauses(build.data))
    return Choices(left_out(graph, {name: each.data for name, each in known.items() if name in paused or each.result == SUCCESS}), paused)


@dataclass(frozen=True, slots=True)
class Next:
    """What to do now. `start` and `skip` are in the graph's order; `done` when every job has a result."""

    start: tuple[str, ...] = ()
    skip: tuple[str, ...] = ()
    done: bool = False


def _skipped(job: FrozenJob, known: Mapping[str, str]) -> bool:
    for dependency in job.dependencies:
        result = known.get(dependency.name)
        if result == SKIPPED and dependency.soft:
            continue
        if result not in (None, SUCCESS):
            return True
    return False


def next_jobs(graph: JobGraph, known: Mapping[str, str], begun: Iterable[str] = (), choices: Choices = Choices()) -> Next:
    """Which jobs of one change to start and to skip, given the results there are and the jobs that have begun already."""
    known = dict(known)
    skip = [name for name in choices.left_out if name not in known and name not in set(begun)]
    known.update(dict.fromkeys(skip, SKIPPED))
    while skipped := [job.name for job in graph.jobs if job.name not in known and _skipped(job, known)]:
        skip += skipped
        known.update(dict.fromkeys(skipped, SKIPPED))
    waiting = [job for job in graph.jobs if job.name not in known and job.name not in set(begun)]
    names = set(graph.names)
    reached = known.keys() | choices.paused
    start = [job.name for job in waiting if all(d.name in reached for d in job.dependencies if d.name in names)]
    return Next(tuple(start), tuple(name for name in graph.names if name in skip), all(name in known for name in names))


def failing(graph: JobGraph, known: Mapping[Place, str]) -> tuple[str, ...]:
    """The voting jobs that keep the buildset from succeeding, in the graph's order."""
    return tuple(job.name for job in graph.jobs if job.voting and of_job(job, known) not in (None, SUCCESS, SKIPPED))


def buildset_result(graph: JobGraph, known: Mapping[Place, str]) -> str | None:
    """SUCCESS or FAILURE once every job has a result, else None."""
    found = [of_job(job, known) for job in graph.jobs]
    if None in found:
        return None
    if failing(graph, known) or all(result == SKIPPED for result in found):
        return FAILURE
    return SUCCESS


def seconds(build: Build, now: datetime) -> float:
    """How long a build has run."""
    return 0.0 if build.started is None else ((build.ended or now) - build.started).total_seconds()
