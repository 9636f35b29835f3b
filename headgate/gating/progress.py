"""From a prepared item to its builds: which jobs get nodes, which start, and what a result means for the others.

Law: a job asks for nodes when all it depends on (hard or soft) has ended, none of it failed, no hard part was skipped, what it requires of
items ahead is provided, its semaphores are free, and nothing ahead holds it back. It starts when the nodes are there.
"""

from __future__ import annotations

from dataclasses import replace

from headgate.gating.happenings import (
    BuildAgain,
    BuildEnded,
    BuildFailing,
    BuildPaused,
    NodesReady,
    Prepare,
    RequestNodes,
    ResumeBuild,
    StartBuild,
)
from headgate.gating.leaving import stop_job
from headgate.gating.outcome import dependents_of, needs_of, regular, skipped_by, to_run
from headgate.gating.semaphores import give_back, take
from headgate.gating.state import Build, Buildset, Item, JobKey, Preparation, job_key
from headgate.gating.work import Work
from headgate.jobs import FrozenJob

INVALID_AHEAD = "This change depends on a change with an invalid configuration.\n"


def note_holding(work: Work, item: Item) -> None:
    """Note whether items behind must wait for a job with `hold-following-changes` here or ahead. To be called in the queue's order."""
    holds = False
    if item.live and item.buildset.graph is not None:
        ahead = work.ahead(item)
        builds = item.buildset.builds
        holds = ahead is not None and ahead.id in work.holding
        for job in item.buildset.jobs:
            if job.hold_following_changes and job.type != "reporter":
                build = builds.get(job_key(job))
                holds = holds or build is None or build.result != "SUCCESS"
    if holds:
        work.holding.add(item.id)
    else:
        work.holding.discard(item.id)


def is_held(work: Work, item: Item) -> bool:
    ahead = work.ahead(item)
    return ahead is not None and ahead.id in work.holding


def are_requirements_met(work: Work, item: Item, job: FrozenJob) -> bool:
    """Have the items ahead provided what the job requires?"""
    wanted = set(job.requires)
    for each in work.all_ahead(item) if wanted else ():
        source = each
        if not each.live:
            twins = (other for other in work.items.values() if other.live and set(other.changes) == set(each.changes))
            source = next(twins, each)
        for other in source.buildset.jobs if source.live else ():
            if wanted.isdisjoint(other.provides):
                continue
            build = source.buildset.builds.get(job_key(other))
            if build is None or not (build.paused or build.result == "SUCCESS"):
                return False
    return True


def may_go(buildset: Buildset, job: FrozenJob) -> bool:
    """Has all ended well that the job depends on?"""
    for key in needs_of(buildset, job):
        build = buildset.builds.get(key)
        if build is None or not (build.result in ("SUCCESS", "SKIPPED") or build.paused):
            return False
    return all((build := buildset.builds.get(key)) is None or build.result != "SKIPPED" for key in needs_of(buildset, job, hard_only=True))


def prepare(work: Work, item: Item) -> bool:
    """Bring an item to where its jobs can run. True when they can."""
    current = work.items[item.id]
    ahead, buildset = work.ahead(current), current.buildset
    if ahead is not None and ahead.buildset.config_error:
        if not buildset.config_error:
            fail_configuration(work, current, INVALID_AHEAD)
        return False
    if buildset.preparation == Preparation.NEW:
        if ahead is None or ahead.buildset.preparation != Preparation.NEW:
            ask_preparation(work, current)
        return False
    if ahead is not None and ahead.buildset.preparation != Preparation.DONE:
        return False
    if buildset.preparation == Preparation.ASKED or buildset.conflict or buildset.config_error or not current.live:
        return False
    return bool(buildset.jobs)


def ask_preparation(work: Work, item: Item) -> None:
    ahead = tuple(change for each in work.all_ahead(item) for change in each.changes)
    work.change_buildset(item.id, preparation=Preparation.ASKED, tested=(*ahead, *item.changes))
    work.act([Prepare(item.id, item.buildset.id, ahead, item.changes, item.live)])


def fail_configuration(work: Work, item: Item, message: str) -> None:
    work.change_buildset(item.id, config_error=message, preparation=Preparation.DONE, takes_part=False)
    skip_all(work, item, "Buildset configuration error")


def skip_all(work: Work, item: Item, why: str) -> None:
    """Every job of the item counts as skipped from now on."""
    jobs = regular(work.items[item.id].buildset) if item.live else []
    if jobs:
        work.change_buildset(item.id, builds={job_key(job): Build(work.name("build"), "SKIPPED", why) for job in jobs})


def request_nodes(work: Work, item: Item) -> bool:
    """Ask nodes for every job that may have them now. True if any was asked."""
    if is_held(work, item):
        return False
    asked = False
    position = work.queues[item.queue].items.index(item.id)
    for job in to_run(item):
        current = work.items[item.id]
        buildset, key = current.buildset, job_key(job)
        if key in buildset.builds or key in buildset.requested or key in buildset.provided:
            continue
        if not are_requirements_met(work, current, job) or not may_go(buildset, job) or not take(work, current, job, True):
            continue
        asked = True
        request(work, current, job, position)
    return asked


def request(work: Work, item: Item, job: FrozenJob, position: int) -> None:
    """Ask for a job's nodes, of the alternative that is its turn; a nodeset without nodes is there at once."""
    buildset, key = item.buildset, job_key(job)
    turn = buildset.alternatives.get(key, 0)
    if job.nodesets[turn].nodes:
        work.change_buildset(item.id, requested=buildset.requested | {key})
        work.act([RequestNodes(item.id, buildset.id, job, position, turn)])
    else:
        work.change_buildset(item.id, provided=buildset.provided | {key})


def end_request(work: Work, ready: NodesReady) -> None:
    """Nodes are there, or there are none: then the next alternative is tried, and after the last the job has failed."""
    item = work.find_buildset(ready.buildset)
    if item is None or ready.job not in item.buildset.requested:
        return
    buildset = work.change_buildset(item.id, requested=item.buildset.requested - {ready.job})
    if ready.fulfilled:
        work.change_buildset(item.id, provided=buildset.provided | {ready.job})
        return
    job = next(each for each in buildset.jobs if job_key(each) == ready.job)
    turn = buildset.alternatives.get(ready.job, 0) + 1
    if turn < len(job.nodesets):
        work.change_buildset(item.id, alternatives={**buildset.alternatives, ready.job: turn})
        request(work, work.items[item.id], job, work.queues[item.queue].items.index(item.id))
        return
    settle(work, item, job, Build(work.name("build"), "NODE_FAILURE", "the request for nodes failed"))
    give_back(work, item, job)


def start_builds(work: Work, item: Item) -> None:
    """Start every job whose nodes are there."""
    if is_held(work, item):
        return
    for job in to_run(item):
        current = work.items[item.id]
        buildset, key = current.buildset, job_key(job)
        if key in buildset.builds or key not in buildset.provided:
            continue
        if may_go(buildset, job) and are_requirements_met(work, current, job) and take(work, current, job, False):
            build = Build(work.name("build"))
            work.change_buildset(item.id, builds={**buildset.builds, key: build})
            work.act([StartBuild(item.id, buildset.id, build.id, job, buildset.tested)])


def end_build(work: Work, ended: BuildEnded) -> None:
    """Take a build's end in. One that is not the job's current build any more, or was cancelled, means nothing."""
    item = work.find_buildset(ended.buildset)
    if item is None:
        return
    job = next((each for each in item.buildset.jobs if job_key(each) == ended.job), None)
    build = item.buildset.builds.get(ended.job)
    if job is None or build is None or build.id != ended.build or build.result is not None:
        return
    give_back(work, item, job)
    if ended.warnings:
        work.change_buildset(item.id, warnings=(*item.buildset.warnings, *ended.warnings))
    attempt = item.buildset.attempts.get(ended.job, 1)
    if ended.result is None and attempt < job.attempts:
        _try_again(work, item, job, attempt + 1)
        return
    result = ended.result or "RETRY_LIMIT"
    settle(work, item, job, Build(build.id, result, ended.detail, told=ended.told, url=ended.url, seconds=ended.seconds))


def begin_again(work: Work, again: BuildAgain) -> None:
    """A build that had ended runs again, and what it had kept from running waits for it."""
    item = work.find_buildset(again.buildset)
    job = next((each for each in item.buildset.jobs if job_key(each) == again.job), None) if item is not None else None
    if item is None or job is None or item.reporting or item.buildset.result:
        return
    builds = dict(item.buildset.builds)
    if (build := builds.get(again.job)) is None or build.result is None:
        return
    builds[again.job] = Build(build.id)
    for key in dependents_of(item.buildset, job):
        if key in builds and builds[key].result == "SKIPPED":
            del builds[key]
    work.change_buildset(item.id, builds=builds)


def note_failing(work: Work, failing: BuildFailing) -> None:
    """A build will fail: those behind need not wait for its end. It runs on, and so do the item's other builds, also where failures are
    to be fast (Zuul cancels those at its end)."""
    item = work.find_buildset(failing.buildset)
    build = item.buildset.builds.get(failing.job) if item is not None else None
    if item is not None and build is not None and build.id == failing.build and build.result is None:
        work.change_buildset(item.id, builds={**item.buildset.builds, failing.job: replace(build, failing=failing.failing)})


def pause_build(work: Work, paused: BuildPaused) -> None:
    """A build waits for its dependents."""
    item = work.find_buildset(paused.buildset)
    build = item.buildset.builds.get(paused.job) if item is not None else None
    if item is None or build is None or build.id != paused.build or build.result is not None:
        return
    job = next(each for each in item.buildset.jobs if job_key(each) == paused.job)
    settle(work, item, job, replace(build, paused=True, told=paused.told))


def _resume(work: Work, item: str) -> None:
    """Let paused builds go on whose dependents have all ended."""
    buildset = work.items[item].buildset
    for job in buildset.jobs:
        build = buildset.builds.get(job_key(job))
        if build is None or not build.paused or build.result:
            continue
        if all((other := buildset.builds.get(key)) is not None and other.result for key in dependents_of(buildset, job)):
            buildset = work.change_buildset(item, builds={**buildset.builds, job_key(job): replace(build, paused=False)})
            work.act([ResumeBuild(build.id)])


def settle(work: Work, item: Item, job: FrozenJob, build: Build) -> None:
    """Give a job its result, with what follows for those that depend on it."""
    buildset = work.items[item.id].buildset
    builds = {**buildset.builds, job_key(job): build}
    skipped, why = skipped_by(buildset, job, build)
    for key in (job_key(each) for each in buildset.jobs):
        if key in skipped and key not in builds:
            builds[key] = Build(work.name("build"), "SKIPPED", why)
    buildset = work.change_buildset(item.id, builds=builds)
    if buildset.graph is not None and buildset.graph.fail_fast and build.failed and job.voting:
        for other in to_run(work.items[item.id]):
            done = work.items[item.id].buildset.builds.get(job_key(other))
            if done is None or not done.result:
                stop_job(work, item.id, other)
    _resume(work, item.id)


def _try_again(work: Work, item: Item, job: FrozenJob, attempt: int) -> None:
    """Forget a build; if it was paused, also what was built on it."""
    again: set[JobKey] = dependents_of(item.buildset, job)
    for other in item.buildset.jobs:
        if job_key(other) in again:
            stop_job(work, item.id, other)
    again.add(job_key(job))
    buildset = work.items[item.id].buildset
    work.change_buildset(
        item.id,
        builds={key: build for key, build in buildset.builds.items() if key not in again},
        requested=buildset.requested - again,
        provided=buildset.provided - again,
        attempts={**buildset.attempts, job_key(job): attempt},
    )
