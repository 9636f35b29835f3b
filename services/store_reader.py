"""What the web pages show, read from the store: the answers of `services.web.reader.Reader`."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

from headgate.builds import Place, choices, current, next_jobs, results
from headgate.configuration import Layout
from headgate.gating import Item as RuledItem
from headgate.gating import Queue
from headgate.image_overview import ImageOverview, overview
from headgate.images import Build as ImageBuild
from headgate.images import BuildState
from headgate.jobs import JobGraph
from headgate.problems import Problem
from headgate.records import Build, Buildset, Item
from headgate.reruns import Flakiness, flakiness
from services.web.reader import (
    FLAKY_DAYS,
    BuildDetail,
    BuildQuery,
    BuildRow,
    BuildsetDetail,
    PipelineStatus,
    QueuedItem,
    QueueStatus,
    Status,
    TenantStatus,
)
from tasks.building import build_directory
from tasks.image_files import BuildFiles
from tasks.image_store import TOPIC as IMAGES
from tasks.node_store import TOPIC as NODES
from tasks.runtime import Runtime


class StoreReader:
    """Reads with the web process's own runtime."""

    def __init__(self, runtime: Runtime) -> None:
        self._runtime = runtime
        self._store = runtime.store

    async def status(self) -> Status:
        items = {item.id: item for item in await self._store.live_items()}
        facts = await self._facts(items)
        problems: list[str] = []
        tenants = []
        for tenant in self._runtime.tenants.tenants():
            try:
                layout = await self._runtime.tenants.layout(tenant.name)
            except Problem as problem:
                problems.append(str(problem))
                continue
            tenants.append(_tenant(layout, facts))
        return Status(tuple(tenants), tuple(problems))

    async def _facts(self, items: Mapping[str, Item]) -> _Facts:
        buildsets = await self._store.buildsets_of(list(items))
        builds: dict[str, list[Build]] = {}
        for build in await self._store.builds_of([buildset.id for buildset in buildsets.values()]):
            builds.setdefault(build.buildset, []).append(build)
        waiting = {request.id: request.reason for request in await self._runtime.nodes.open_requests()}
        jobs = {job for buildset in buildsets.values() if buildset.graph is not None for job in buildset.graph.names}
        expected = await self._store.expected_seconds(jobs) if jobs else {}
        return _Facts(items, await self._store.queues(), await self._store.ruled_items(), buildsets, builds, waiting, expected)

    async def updates(self) -> AsyncIterator[None]:
        async with self._store.watch("items", "events", NODES, IMAGES) as changed:
            while True:
                await changed.wait()
                changed.clear()
                yield

    async def build(self, build_id: str) -> BuildDetail | None:
        build = await self._store.build(build_id)
        detail = await self.buildset(build.buildset) if build is not None else None
        if build is None or detail is None:
            return None
        attempts = tuple(each for each in detail.builds if each.job == build.job and each.position == build.position)
        return BuildDetail(build, detail.buildset, detail.item, attempts)

    async def buildset(self, buildset_id: str) -> BuildsetDetail | None:
        buildset = await self._store.buildset(buildset_id)
        item = await self._store.item(buildset.item) if buildset is not None else None
        if buildset is None or item is None:
            return None
        builds = await self._store.builds(buildset.id)
        requests = {request.id: request.reason for request in await self._runtime.nodes.open_requests()}
        reports = tuple(report for report in await self._store.reports(item.id) if report.buildset == buildset.id)
        return BuildsetDetail(buildset, item, tuple(builds), reports, _waiting(buildset, builds, requests))

    async def flakiness(self, job: str = "") -> tuple[Flakiness, ...]:
        return tuple(flakiness(await self._store.rerun_builds(datetime.now(UTC) - timedelta(days=FLAKY_DAYS), job)))

    async def builds(self, query: BuildQuery) -> tuple[BuildRow, ...]:
        found = await self._store.find_builds(
            tenant=query.tenant,
            pipeline=query.pipeline,
            project=query.project,
            change=query.change,
            job=query.job,
            result=query.result,
            limit=query.limit,
            skip=query.skip,
        )
        return tuple(BuildRow(build, item) for build, item in found)

    def logs(self, build_id: str) -> Path:
        return build_directory(self._runtime, build_id) / "logs"

    def console(self, build_id: str) -> Path:
        return build_directory(self._runtime, build_id) / "console.log"

    async def ended(self, build_id: str) -> None:
        build = await self._store.build(build_id)
        if build is None:
            return
        async with self._store.watch(f"buildset:{build.buildset}") as changed:
            while True:
                build = await self._store.build(build_id)
                if build is None or build.ended is not None:
                    return
                await changed.wait()
                changed.clear()

    async def images(self) -> tuple[ImageOverview, ...]:
        records = self._runtime.images
        builds, uploads, users, paused = await records.builds(), await records.uploads(), await records.users(), await records.paused()
        return overview(self._runtime.diskimages, builds, uploads, users, paused)

    async def image_build(self, build_id: str) -> ImageBuild | None:
        return await self._runtime.images.find_build(build_id)

    def image_log(self, build: ImageBuild) -> Path:
        return BuildFiles(self._runtime.settings.image_directory, build.image, build.id).log

    async def image_ended(self, build_id: str) -> None:
        async with self._store.watch(IMAGES) as changed:
            while (build := await self._runtime.images.build(build_id)) is not None and build.state is BuildState.BUILDING:
                await changed.wait()
                changed.clear()


@dataclass(frozen=True, slots=True)
class _Facts:
    """What there is, by item, buildset, build; `expected` by job."""

    items: Mapping[str, Item]
    queues: Mapping[tuple[str, str], tuple[Queue, ...]]
    ruled: Mapping[str, RuledItem]
    buildsets: Mapping[str, Buildset]
    builds: Mapping[str, list[Build]]
    requests: Mapping[str, str]
    expected: Mapping[str, float]


def _tenant(layout: Layout, facts: _Facts) -> TenantStatus:
    pipelines = []
    for pipeline in layout.pipelines.values():
        queues = facts.queues.get((layout.tenant.name, pipeline.name), ())
        shown = tuple(_queue(queue, facts) for queue in queues if any(each in facts.items for each in queue.items))
        pipelines.append(PipelineStatus(pipeline.name, pipeline.description or "", pipeline.manager, shown))
    errors = tuple(str(problem) for problem in layout.problems if problem.severity == "error")
    return TenantStatus(layout.tenant.name, tuple(pipelines), errors)


def _queue(queue: Queue, facts: _Facts) -> QueueStatus:
    there = [facts.items[each] for each in queue.items if each in facts.items]
    name = queue.name or there[-1].change.project
    shown = tuple(_queued(item, facts) for item in there if not item.ahead_only)
    return QueueStatus(name, shown, queue.window or None)


def _queued(item: Item, facts: _Facts) -> QueuedItem:
    buildset = facts.buildsets.get(item.id)
    builds = facts.builds.get(buildset.id, []) if buildset is not None else []
    ruled = facts.ruled.get(item.id)
    ahead = next((each for each in reversed(ruled.base) if each in facts.items), "") if ruled is not None else ""
    waiting = _waiting(buildset, builds, facts.requests)
    return QueuedItem(item, buildset, tuple(builds), ahead, _why(item, buildset, ruled, facts), waiting, facts.expected)


def _why(item: Item, buildset: Buildset | None, ruled: RuledItem | None, facts: _Facts) -> str:
    """What becomes of the item, where its jobs alone do not say it."""
    if ruled is not None and ruled.reporting:
        return "it is being merged"
    if ruled is not None and ruled.reporter_jobs:
        return "it was reported; the jobs that follow its report run"
    if ruled is not None and not ruled.active:
        return "it waits for its queue's window"
    if buildset is None or (buildset.prepared is None and item.flow_run is None):
        return "its run has not begun"
    if buildset.prepared is None:
        return "its changes are being merged for the test"
    if ruled is not None and ruled.buildset.builds and all(each.result for each in ruled.buildset.builds.values()) and ruled.base:
        return "its jobs have ended; it waits for what is ahead of it"
    return ""


def _waiting(buildset: Buildset | None, builds: Sequence[Build], requests: Mapping[str, str]) -> dict[Place, str]:
    """Why each job that has not started waits."""
    found: dict[Place, str] = {}
    if buildset is None or buildset.graph is None:
        return found
    for position in {position for job in buildset.graph.jobs for position in job.changes}:
        mine = JobGraph(tuple(job for job in buildset.graph.jobs if position in job.changes))
        own = [build for build in builds if (job := mine.find(build.job, position)) is not None and build.position in job.changes]
        for name, reason in _waiting_of_one(mine, own, requests).items():
            found[(name, mine[name].changes[0])] = reason
    return found


def _waiting_of_one(graph: JobGraph, builds: Sequence[Build], requests: Mapping[str, str]) -> dict[str, str]:
    """The same for the jobs of one change, by name."""
    known = {name: result for (name, _), result in results(builds).items()}
    begun = {name: build for (name, _), build in current(builds).items()}
    free = set(next_jobs(graph, known, begun, choices(graph, builds)).start)
    found = {}
    for job in graph.jobs:
        build = begun.get(job.name)
        if build is None and job.name in free:
            found[job.name] = "a worker"
        elif build is None and job.name not in known:
            found[job.name] = ", ".join(d.name for d in job.dependencies if d.name not in known) or "a worker"
        elif build is not None and build.started is None and build.ended is None:
            reason = requests.get(build.id)
            found[job.name] = f"nodes: {reason}" if reason else "nodes" if build.id in requests else "its workspace"
    return found
