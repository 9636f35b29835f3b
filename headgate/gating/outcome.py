"""What an item's builds come to, and which jobs depend on which. Functions of a buildset alone.

Law: skipped jobs count neither way, but skipping them all is no success; jobs without a vote never fail an item.
"""

from __future__ import annotations

from collections.abc import Iterable

from headgate.gating.state import Build, Buildset, Item, JobKey, job_key
from headgate.jobs import FrozenJob


def regular(buildset: Buildset) -> list[FrozenJob]:
    """The jobs that decide: all but those that run after the report."""
    return [job for job in buildset.jobs if job.type != "reporter"]


def reporters(buildset: Buildset) -> list[FrozenJob]:
    """The jobs that run after the report of a success."""
    return [job for job in buildset.jobs if job.type == "reporter"]


def to_run(item: Item) -> list[FrozenJob]:
    """The jobs whose turn it is."""
    return list(item.buildset.jobs) if item.reporter_jobs else regular(item.buildset)


def is_complete(buildset: Buildset) -> bool:
    """Is there nothing more to wait for?"""
    if buildset.config_error or buildset.conflict:
        return True
    if buildset.graph is None:
        return False
    return have_ended(buildset, regular(buildset))


def have_ended(buildset: Buildset, jobs: Iterable[FrozenJob]) -> bool:
    return all((build := buildset.builds.get(job_key(job))) is not None and build.result for job in jobs)


def has_succeeded(buildset: Buildset) -> bool:
    """Did every voting job succeed, and at least one run?"""
    return buildset.graph is not None and have_succeeded(buildset, regular(buildset))


def have_succeeded(buildset: Buildset, jobs: Iterable[FrozenJob]) -> bool:
    ran = False
    for job in jobs:
        build = buildset.builds.get(job_key(job))
        if build is not None:
            ran = ran or build.result != "SKIPPED"
            if job.voting and build.result not in ("SUCCESS", "SKIPPED"):
                return False
        elif job.voting:
            return False
    return ran


def has_failed_already(buildset: Buildset) -> bool:
    """Has a voting job failed, whatever the others will do?"""
    builds = buildset.builds
    return any(job.voting and (build := builds.get(job_key(job))) is not None and build.failed for job in regular(buildset))


def needs_of(buildset: Buildset, job: FrozenJob, hard_only: bool = False) -> set[JobKey]:
    """All jobs that `job` depends on, however far."""
    return _reach(buildset, job, _parents, hard_only)


def dependents_of(buildset: Buildset, job: FrozenJob, hard_only: bool = False) -> set[JobKey]:
    """All jobs that depend on `job`, however far."""
    return _reach(buildset, job, _children, hard_only)


def _reach(buildset: Buildset, job: FrozenJob, step: object, hard_only: bool) -> set[JobKey]:
    assert callable(step)
    found: set[JobKey] = set()
    waiting = [job]
    while waiting:
        for other in step(buildset, waiting.pop(), hard_only):
            if job_key(other) not in found:
                found.add(job_key(other))
                waiting.append(other)
    return found


def _parents(buildset: Buildset, job: FrozenJob, hard_only: bool) -> Iterable[FrozenJob]:
    names = {need.name for need in job.dependencies if not (hard_only and need.soft)}
    return [other for other in buildset.jobs if other.name in names and _shares(other, job)] if names else []


def _children(buildset: Buildset, job: FrozenJob, hard_only: bool) -> Iterable[FrozenJob]:
    return [other for other in buildset.jobs if _shares(other, job) and _depends(other, job.name, hard_only)]


def _depends(job: FrozenJob, name: str, hard_only: bool) -> bool:
    return any(need.name == name and not (hard_only and need.soft) for need in job.dependencies)


def _shares(one: FrozenJob, other: FrozenJob) -> bool:
    return not set(one.changes).isdisjoint(other.changes)


def direct_dependents(buildset: Buildset, job: FrozenJob) -> list[FrozenJob]:
    return list(_children(buildset, job, False))


def skipped_by(buildset: Buildset, job: FrozenJob, build: Build) -> tuple[set[JobKey], str]:
    """The jobs that a build's end leaves out, and why."""
    if build.result in ("SUCCESS",) or build.paused:
        if build.told is None:
            return set(), ""
        why = f"Skipped due to child_jobs return value in job {job.name}"
        if not build.told:
            return dependents_of(buildset, job, hard_only=True), why
        left_out: set[JobKey] = set()
        for other in direct_dependents(buildset, job):
            if other.name not in build.told:
                left_out |= {job_key(other)} | dependents_of(buildset, other, hard_only=True)
        return left_out, why
    if build.result == "SKIPPED":
        return set(), ""
    return dependents_of(buildset, job), f"Skipped due to failed job {job.name}"
