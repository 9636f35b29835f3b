"""What the web pages show, read from the store: the answers of `services.web.reader.Reader`."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping, Sequence
from pathlib import Path

from headgate.builds import choices, current, next_jobs, results
from headgate.configuration import Layout
from headgate.problems import Problem
from headgate.records import Build, Buildset, Item
from services.web.reader import (
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
from tasks.node_store import TOPIC as NODES
from tasks.runtime import Runtime


class StoreReader:
    """Reads with the web process's own runtime."""

    def __init__(self, runtime: Runtime) -> None:
        self._runtime = runtime
        self._store = runtime.store

    async def status(self) -> Status:
        items = await self._store.live_items()
        buildsets = await self._store.buildsets_of([item.id for item in items])
        builds: dict[str, list[Build]] = {}
        for build in await self._store.builds_of([buildset.id for buildset in buildsets.values()]):
            builds.setdefault(build.buildset, []).append(build)
        waiting = {request.id: request.reason for request in await self._runtime.nodes.open_requests()}
        problems: list[str] = []
        tenants = []
        for tenant in self._runtime.tenants.tenants():
            try:
                layout = await self._runtime.tenants.layout(tenant.name)
            except Problem as problem:
                problems.append(str(problem))
                continue
            mine = [item for item in items if item.tenant == tenant.name]
            tenants.append(self._tenant(layout, mine, buildsets, builds, waiting))
        return Status(tuple(tenants), tuple(problems))

    def _tenant(
        self,
        layout: Layout,
        items: Sequence[Item],
        buildsets: Mapping[str, Buildset],
        builds: Mapping[str, list[Build]],
        waiting: Mapping[str, str],
    ) -> TenantStatus:
        pipelines = []
        for pipeline in layout.pipelines.values():
            queues: dict[str, list[QueuedItem]] = {}
            for item in items:
                if item.pipeline == pipeline.name:
                    buildset = buildsets.get(item.id)
                    own = builds.get(buildset.id, []) if buildset is not None else []
                    queues.setdefault(item.change.project, []).append(_queued(item, buildset, own, waiting))
            shown = tuple(QueueStatus(name, tuple(queue)) for name, queue in queues.items())
            pipelines.append(PipelineStatus(pipeline.name, pipeline.description or "", pipeline.manager, shown))
        errors = tuple(str(problem) for problem in layout.problems if problem.severity == "error")
        return TenantStatus(layout.tenant.name, tuple(pipelines), errors)

    async def updates(self) -> AsyncIterator[None]:
        async with self._store.watch("items", "events", NODES) as changed:
            while True:
                await changed.wait()
                changed.clear()
                yield

    async def build(self, build_id: str) -> BuildDetail | None:
        build = await self._store.build(build_id)
        detail = await self.buildset(build.buildset) if build is not None else None
        if build is None or detail is None:
            return None
        attempts = tuple(each for each in detail.builds if each.job == build.job)
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


def _queued(item: Item, buildset: Buildset | None, builds: Sequence[Build], requests: Mapping[str, str]) -> QueuedItem:
    why = "" if buildset is not None else "it is being merged" if item.flow_run is not None else "its run has not begun"
    return QueuedItem(item, buildset, tuple(builds), why=why, waiting=_waiting(buildset, builds, requests))


def _waiting(buildset: Buildset | None, builds: Sequence[Build], requests: Mapping[str, str]) -> dict[str, str]:
    """Why each job that has not started waits."""
    if buildset is None or buildset.graph is None:
        return {}
    known = results(builds)
    begun = current(builds)
    free = set(next_jobs(buildset.graph, known, begun, choices(buildset.graph, builds)).start)
    found = {}
    for job in buildset.graph.jobs:
        build = begun.get(job.name)
        if build is None and job.name in free:
            found[job.name] = "a worker"
        elif build is None and job.name not in known:
            found[job.name] = ", ".join(d.name for d in job.dependencies if d.name not in known) or "a worker"
        elif build is not None and build.started is None and build.ended is None:
            reason = requests.get(build.id)
            found[job.name] = f"nodes: {reason}" if reason else "nodes" if build.id in requests else "its workspace"
    return found
