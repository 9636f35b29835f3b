"""What the store says of buildsets and builds, as the happenings that the rules take in; and the rules' own results, as builds."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from datetime import datetime

from headgate.builds import SUCCESS, newest
from headgate.gating import Build as RuledBuild
from headgate.gating import BuildAgain, BuildEnded, BuildFailing, BuildPaused, Happening, JobKey, Prepared, job_key
from headgate.gating import Item as RuledItem
from headgate.jobs import JobGraph
from headgate.records import Build, Buildset
from headgate.returned import pauses, zuul_section
from tasks.buildsets import CONFIG_ERROR, CONFLICT


def happened(item: RuledItem, key: JobKey, ruled: RuledBuild, build: Build, web_url: str) -> tuple[Happening, ...]:
    """What the rules have to be told of a build of theirs, given what the store says of it."""
    buildset = item.buildset.id
    if ruled.result is None:
        if build.result is not None:
            return (_ended(item, key, ruled, build, web_url),)
        found: list[Happening] = []
        if build.ended is None and (build.failing is not None) != ruled.failing:
            found.append(BuildFailing(buildset, key, ruled.id, build.failing is not None))
        if build.ended is None and not ruled.paused and pauses(build.data):
            found.append(BuildPaused(buildset, key, ruled.id, _told(build)))
        return tuple(found)
    if build.round > 1 and build.ended is None and ruled.result not in ("SKIPPED", "CANCELED"):
        again = replace(ruled, result=None, failing=False, paused=False)  # it may have come far before anybody looked
        return (BuildAgain(buildset, key), *happened(item, key, again, build, web_url))
    return ()


def _ended(item: RuledItem, key: JobKey, ruled: RuledBuild, build: Build, web_url: str) -> BuildEnded:
    seconds = None if build.started is None or build.ended is None else (build.ended - build.started).total_seconds()
    detail = build.message if build.result not in ("SUCCESS", "FAILURE") else ""
    warnings = tuple(f"{build.job}: {warning}" for warning in build.warnings)
    url = f"{web_url}/build/{build.id}"
    return BuildEnded(item.buildset.id, key, ruled.id, build.result, url, seconds, _told(build), warnings, detail)


def prepared(buildset: Buildset) -> Prepared:
    """What the rules are told of a buildset that was prepared."""
    conflict = buildset.problem == CONFLICT
    error = "\n\n".join(buildset.messages) if buildset.problem == CONFIG_ERROR else ""
    return Prepared(buildset.id, buildset.graph, buildset.takes_part, conflict, error, buildset.messages if conflict else ())


def _told(build: Build) -> tuple[str, ...] | None:
    chosen = zuul_section(build.data).get("child_jobs")
    return tuple(name for name in chosen if isinstance(name, str)) if isinstance(chosen, list) else None


def by_job(graph: JobGraph | None, builds: Iterable[Build]) -> dict[JobKey, Build]:
    """The build that counts for each job of the graph."""
    found: dict[JobKey, Build] = {}
    for job in graph.jobs if graph is not None else ():
        mine = [build for build in builds if build.job == job.name and build.position in job.changes]
        if mine:
            found[job_key(job)] = newest(mine)
    return found


def results_of(item: RuledItem, known: RuledItem | None, now: datetime) -> list[Build]:
    """The builds of an item that the rules gave a result since, such as those that were skipped."""
    before = known.buildset.builds if known is not None and known.buildset.id == item.buildset.id else {}
    found = []
    for job in item.buildset.jobs:
        build = item.buildset.builds.get(job_key(job))
        if build is not None and build.result is not None and build != before.get(job_key(job)):
            message = build.detail if build.result != SUCCESS else ""
            found.append(
                Build(
                    build.id, item.buildset.id, job.name, 1, job.voting, now,
                    ended=now, result=build.result, message=message, position=job.changes[0],
                )
            )  # fmt: skip
    return found
