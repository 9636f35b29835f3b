"""A `services.web.reader.Reader` in memory, and a small world to look at: a check pipeline, a gate, builds of every kind."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

from headgate.changes import Change
from headgate.diskimages import parse_diskimages
from headgate.image_overview import ImageOverview, overview
from headgate.images import Build as ImageBuild
from headgate.images import BuildState, Upload, UploadState
from headgate.jobs import Dependency, FrozenJob, JobGraph
from headgate.records import Build, Buildset, FrozenProject, Item, StoredReport
from headgate.reruns import Flakiness, flakiness
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


class FakeReader:
    """Holds records by id; `changed` after editing them wakes the pages."""

    def __init__(self, directory: Path, now: datetime) -> None:
        self.directory = directory
        self.now = now
        self.items: dict[str, Item] = {}
        self.buildsets: dict[str, Buildset] = {}
        self.build_records: dict[str, Build] = {}
        self.reports: list[StoredReport] = []
        self.pipelines: dict[str, PipelineStatus] = {}
        self.queues: dict[str, str] = {}
        self.waiting: dict[tuple[str, int], str] = {}
        self.expected: dict[str, float] = {}
        self.problems: tuple[str, ...] = ()
        self.tenant_problems: tuple[str, ...] = ()
        self.image_builds: dict[str, ImageBuild] = {}
        self.image_uploads: list[Upload] = []
        self._change = asyncio.Condition()

    async def changed(self) -> None:
        async with self._change:
            self._change.notify_all()

    async def updates(self) -> AsyncIterator[None]:
        while True:
            async with self._change:
                await self._change.wait()
            yield

    async def images(self) -> tuple[ImageOverview, ...]:
        configured = parse_diskimages(
            [{"name": "debian-12", "elements": ["ci-debian"]}, {"name": "rocky-9", "elements": ["x"], "pause": True}]
        )
        return overview(configured, self.image_builds.values(), self.image_uploads, {"upload-1": 3}, ())

    async def image_build(self, build_id: str) -> ImageBuild | None:
        return self.image_builds.get(build_id)

    def image_log(self, build: ImageBuild) -> Path:
        return self.directory / f"{build.image}-{build.id}.log"

    async def image_ended(self, build_id: str) -> None:
        async with self._change:
            await self._change.wait_for(lambda: self.image_builds[build_id].state is not BuildState.BUILDING)

    def add_image_build(self, name: str, state: BuildState, minutes: float, message: str = "") -> ImageBuild:
        """A build of debian-12 that began so long ago."""
        began = self.now - timedelta(minutes=minutes)
        ended = None if state is BuildState.BUILDING else began + timedelta(minutes=2)
        sizes = {"qcow2": 400_000_000} if state is BuildState.READY else {}
        self.image_builds[name] = ImageBuild(name, "debian-12", state, began, sizes, ended, message, "run-of-the-image")
        return self.image_builds[name]

    def _builds_of(self, buildset: str) -> tuple[Build, ...]:
        return tuple(build for build in self.build_records.values() if build.buildset == buildset)

    async def status(self) -> Status:
        pipelines = []
        for pipeline in self.pipelines.values():
            queues: dict[str, list[QueuedItem]] = {}
            for item in self.items.values():
                if item.pipeline != pipeline.name or not item.live:
                    continue
                queue = queues.setdefault(self.queues.get(item.id, item.id), [])
                buildset = next((one for one in self.buildsets.values() if one.item == item.id), None)
                builds = self._builds_of(buildset.id) if buildset else ()
                ahead = queue[-1].item.id if queue else ""
                queue.append(QueuedItem(item, buildset, builds, ahead, waiting=self.waiting, expected=self.expected))
            window = 20 if pipeline.manager == "dependent" else None
            pipelines.append(replace(pipeline, queues=tuple(QueueStatus(name, tuple(found), window) for name, found in queues.items())))
        return Status((TenantStatus("openstack", tuple(pipelines), self.tenant_problems),), self.problems)

    async def build(self, build_id: str) -> BuildDetail | None:
        found = [build for name, build in self.build_records.items() if name.startswith(build_id)]
        if len(found) != 1:
            return None
        buildset = self.buildsets[found[0].buildset]
        attempts = tuple(one for one in self._builds_of(buildset.id) if one.job == found[0].job)
        return BuildDetail(found[0], buildset, self.items[buildset.item], attempts)

    async def buildset(self, buildset_id: str) -> BuildsetDetail | None:
        buildset = self.buildsets.get(buildset_id)
        if buildset is None:
            return None
        reports = tuple(report for report in self.reports if report.buildset == buildset_id)
        return BuildsetDetail(buildset, self.items[buildset.item], self._builds_of(buildset_id), reports, self.waiting)

    async def flakiness(self, job: str = "") -> tuple[Flakiness, ...]:
        return tuple(each for each in flakiness(self.build_records.values()) if job in ("", each.job))

    async def builds(self, query: BuildQuery) -> tuple[BuildRow, ...]:
        rows = [BuildRow(build, self.items[self.buildsets[build.buildset].item]) for build in self.build_records.values()]
        rows = [row for row in rows if query.tenant in ("", row.item.tenant) and query.pipeline in ("", row.item.pipeline)]
        rows = [row for row in rows if query.job in ("", row.build.job) and query.result in ("", row.build.result)]
        rows = [row for row in rows if query.project in ("", row.item.project, row.item.change.project)]
        rows = [row for row in rows if query.change in (None, row.item.change.number)]
        rows.sort(key=lambda row: row.build.created, reverse=True)
        return tuple(rows[query.skip : query.skip + query.limit])

    def logs(self, build_id: str) -> Path:
        return self.directory / build_id / "logs"

    def console(self, build_id: str) -> Path:
        return self.directory / build_id / "console.log"

    async def ended(self, build_id: str) -> None:
        async with self._change:
            await self._change.wait_for(lambda: self.build_records[build_id].ended is not None)

    # --- telling it what there is -------------------------------------------------------------------------------------------------------

    def enqueue(self, pipeline: str, number: int, project: str, subject: str, minutes: float, *jobs: FrozenJob) -> Item:
        change = Change(
            connection="gerrit",
            project=project,
            branch="master",
            number=number,
            patchset=2,
            ref=f"refs/changes/{number % 100:02}/{number}/2",
            commit=f"{number:040x}",
            subject=subject,
            owner="alice" if number % 2 else "bob",
            url=f"https://review.example.org/c/{project}/+/{number}",
        )
        when = self.now - timedelta(minutes=minutes)
        item = Item(f"item-{number}", "openstack", pipeline, f"review.example.org/{project}", change, when, flow_run=f"run-{number}")
        self.items[item.id] = item
        if jobs:
            projects = {item.project: FrozenProject("gerrit", project, "master", f"{number:040x}", {"master": f"{number - 1:040x}"})}
            self.buildsets[f"set-{number}"] = Buildset(f"set-{number}", item.id, when, projects, JobGraph(jobs))
        return item

    def add_build(
        self, number: int, job: str, result: str | None, started: float | None, took: float = 0, attempt: int = 1, **more: object
    ) -> Build:
        """`started` is minutes ago, None while there is no node yet; `took` is seconds, 0 while it runs."""
        buildset = self.buildsets[f"set-{number}"]
        begun = self.now - timedelta(minutes=started) if started is not None else None
        graph = buildset.graph
        assert graph
        build = Build(
            id=f"{number}-{job}-{attempt}",
            buildset=buildset.id,
            job=job,
            attempt=attempt,
            voting=graph[job].voting,
            created=(begun or self.now) - timedelta(seconds=20),
            flow_run=f"flow-{number}-{job}",
            started=begun,
            ended=begun + timedelta(seconds=took) if begun and (took or result) else None,
            result=result,
        )
        self.build_records[build.id] = replace(build, **more)  # type: ignore[arg-type]  # fields of Build
        return self.build_records[build.id]

    def write(self, build: Build, name: str, text: str | bytes) -> Path:
        path = self.console(build.id) if name == "console.log" else self.logs(build.id) / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(text if isinstance(text, bytes) else text.encode())
        return path


def job(name: str, *after: str, voting: bool = True) -> FrozenJob:
    return FrozenJob(name, voting=voting, dependencies=tuple(Dependency(other) for other in after))


CONSOLE = """\
2026-11-22 11:40:01.000000 | Build 1002-tox-py311-1 of tox-py311, attempt 1 of 3
2026-11-22 11:40:01.100000 | PLAY [Prepare the workspace]
2026-11-22 11:40:01.200000 | TASK [Push the merged commits]
2026-11-22 11:40:02.340000 | node-1 | ok: 1.12 s
2026-11-22 11:40:02.400000 | PLAY [Run tox]
2026-11-22 11:40:02.500000 | TASK [tox : Run the tests <py311>]
2026-11-22 11:40:04.000000 | node-1 | py311: commands[0]> stestr run
2026-11-22 11:40:31.000000 | node-1 | {0} tests.test_api.TestServers.test_boot [2.311s] ... FAILED
2026-11-22 11:40:31.000001 | node-1 | AssertionError: 409 != 202
2026-11-22 11:40:31.400000 | node-1 | FAILED: rc=1, 28.90 s
2026-11-22 11:40:31.400000 | node-1 | non-zero return code
2026-11-22 11:40:31.500000 | TASK [Collect the results]
2026-11-22 11:40:31.900000 | node-1 | skipped
2026-11-22 11:40:32.000000 | PLAY RECAP
2026-11-22 11:40:32.000000 | node-1 | ok: 3 changed: 1 failed: 1
"""


def world(directory: Path) -> FakeReader:
    """As it may look on a busy day."""
    now = datetime.now(UTC)
    reader = FakeReader(directory, now)
    for name, description, manager in (
        ("check", "Newly uploaded patchsets get a Verified vote.", "independent"),
        ("gate", "Approved changes are tested together in the order in which they will merge.", "dependent"),
        ("post", "Runs after a change has merged.", "supercedent"),
        ("periodic", "Once a day.", "independent"),
    ):
        reader.pipelines[name] = PipelineStatus(name, description, manager)
    jobs = (job("linters"), job("tox-py311"), job("tox-docs", voting=False), job("functional", "tox-py311"), job("release-notes"))
    reader.enqueue("check", 1001, "openstack/nova", "Report a clear error when the cell database is unreachable", 12, *jobs)
    reader.add_build(1001, "linters", "SUCCESS", 11.5, 58)
    reader.add_build(1001, "tox-py311", None, 9)
    reader.add_build(1001, "tox-docs", "FAILURE", 11, 131)
    reader.add_build(1001, "release-notes", None, None)
    reader.waiting = {("release-notes", 0): "nodes: cloud-north has no room"}
    reader.expected = {"tox-py311": 900.0}
    reader.enqueue("check", 1002, "openstack/placement", "Drop the deprecated policy defaults", 31, *jobs[:4])
    reader.add_build(1002, "linters", "SUCCESS", 30, 61)
    nodes = ({"name": "node-1", "label": "debian-bookworm", "provider": "cloud-north", "host": "192.0.2.17"},)
    links = [{"name": "Test results", "url": "testr_results.html"}, {"name": "evil", "url": "javascript:alert(1)"}]
    artifacts = {"zuul": {"artifacts": links}}
    failed = reader.add_build(
        1002, "tox-py311", "FAILURE", 20, 31, 2, nodes=nodes, data=artifacts, warnings=("The role ensure-tox is deprecated.",)
    )
    reader.add_build(1002, "tox-py311", None, 29, 15, 1, message="The node became unreachable.")
    reader.write(failed, "console.log", CONSOLE)
    reader.write(failed, "job-output.json", '[{"plays": []}]')
    reader.write(failed, "testr_results.html", "<h1>Results</h1><script>document.title = 'executed'</script>")
    reader.write(failed, "controller/logs/nova-api.txt.gz", b"\x1f\x8b\x08\0")
    reader.add_build(1002, "tox-docs", None, 5)
    reader.add_build(1002, "functional", "SKIPPED", None)
    said = now - timedelta(minutes=4)
    text = "Build failed (check).\nhttps://ci.example.org/buildset/set-1002"
    reader.reports.append(StoredReport("report-1", "item-1002", "set-1002", "failure", text, {"Verified": -1}, said, sent=said))
    reader.enqueue("check", 1003, "openstack/keystone", "Add application credential access rules to the API reference", 0.2)
    for number, subject in (
        (1010, "Bump the minimum microversion"),
        (1011, "Fix a race in the scheduler's claim"),
        (1012, "Speed up archival"),
    ):
        reader.enqueue("gate", number, "openstack/nova", subject, 40 - number % 10, *jobs[:2], job("tempest-full"))
        reader.queues[f"item-{number}"] = "integrated"
    reader.expected |= {"tempest-full": 4800.0}
    reader.add_build(1010, "linters", "SUCCESS", 38, 60)
    reader.add_build(1010, "tox-py311", "SUCCESS", 38, 412)
    reader.add_build(1010, "tempest-full", None, 37)
    reader.add_build(1011, "linters", "SUCCESS", 36, 60)
    reader.add_build(1011, "tox-py311", "FAILURE", 36, 300)
    reader.add_build(1011, "tempest-full", None, 35)
    reader.add_build(1012, "linters", None, None)
    conflict = reader.enqueue("check", 1004, "openstack/glance", "Rework the image import workflow", 0.5)
    reader.buildsets["set-1004"] = Buildset(
        "set-1004", conflict.id, now, {}, None, "MERGE_CONFLICT", ("glance/api/v2/images.py does not merge with master.",)
    )
    reader.add_image_build("imagebuild1", BuildState.READY, 1500)
    proved, said = now - timedelta(minutes=1490), "4 checks passed"
    reader.image_uploads.append(
        Upload("upload-1", "imagebuild1", "debian-12", "cloud-north", "qcow2", UploadState.READY, proved, "glance-1", proved, said)
    )
    reader.add_image_build("imagebuild2", BuildState.FAILED, 60, "install.d/90-mine failed with exit code 7: it breaks here")
    reader.add_image_build("imagebuild3", BuildState.BUILDING, 1)
    return reader
