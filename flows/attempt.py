"""One attempt at a job, a build: nodes, workspace, the playbooks one by one, its result; then the nodes go back whatever happened."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from prefect import get_run_logger
from sqlalchemy.exc import SQLAlchemyError

from flows.provision_nodes import NodeFailure, provision_nodes, release_nodes
from flows.publishing import publish_build
from headgate.builds import CANCELED, beside, results
from headgate.frozen_secrets import SecretProblem
from headgate.jobs import FrozenJob, Nodeset, Playbook
from headgate.nodes import PRECEDENCES
from headgate.records import Build, Buildset, Item
from headgate.results import Outcome, Phase, Played, Verdict, following, succeeded, verdict
from headgate.returned import descendants, pauses, remarks_of, warnings_of
from providers.base import Node
from tasks import playbooks
from tasks.build_variables import keep_secret_data
from tasks.building import DiskFull, make_directory, make_key, make_plan
from tasks.disk import for_want_of_disk, why_full
from tasks.effects import effect
from tasks.git import GitProblem
from tasks.home import HomeProblem
from tasks.playbooks import BuildProblem
from tasks.publishing import with_tests
from tasks.runtime import Runtime
from tasks.sandbox import SandboxProblem
from tasks.sending import begin_sending
from tasks.workspace import NodeUnreachable, WorkspaceProblem
from tasks.zygote import ZygoteProblem

LOST = "the worker that ran it is gone"


@effect(
    name="workspace",
    task_run_name="workspace",
    retries=2,
    retry_delay_seconds=[1, 5],
    retry_condition_fn=lambda _t, _r, state: state.is_failed(),
)
async def push_workspace(build: playbooks.Build) -> None:
    """The repositories, merged, on every node. Retried because a fresh machine's network may need a moment."""
    await build.push_workspace()


@effect(name="playbook", task_run_name="{phase}: {path}")
async def play(build: playbooks.Build, phase: Phase, playbook: Playbook, path: str) -> Played:
    """One playbook. Never retried: what its outcome means is the job's to say."""
    return await build.play(phase, playbook)


class Attempt:
    """One build, on the first of the job's alternative nodesets, from `nodeset` on, that can be had."""

    def __init__(self, this: Runtime, item: Item, buildset: Buildset, job: FrozenJob, build: Build, nodeset: int = 0) -> None:
        self._this = this
        self._item = item
        self._buildset = buildset
        self._job = job
        self._build = build
        self._values: dict[str, Any] = {}
        self.nodeset = nodeset
        self.unreachable = False

    async def run(self) -> Verdict:
        """Its verdict, recorded as soon as it is known: nobody waits for the nodes to go away, which follows whatever happened.
        Cancelled, the build ends as CANCELED, or as lost if the worker stops."""
        if self._build.attempt > self._job.attempts:
            return await self._end(Verdict("RETRY_LIMIT"), LOST)
        sending = begin_sending(self._this, self._build.id)
        try:
            came_to = await self._on_some_nodeset()
            if sending is not None and (problem := await sending.end()):
                self._values["warnings"] = [*self._values.get("warnings", []), problem]
            ended = await self._end(*came_to)
        except asyncio.CancelledError:
            if not self._this.stopping:
                await asyncio.shield(self._this.store.end_build(self._build.id, CANCELED, **self._last_values()))
            raise
        finally:
            await asyncio.shield(release_nodes(self._build.id))
            if sending is not None:
                await asyncio.shield(sending.close())
        if self._this.settings.logs.driver != "local" and self._this.home is None:  # from home, where they were sent, housekeeping does it
            await publish_build(self._this, self._build.id, f"{self._job.name} on {self._item.change}")
        return ended

    async def _end(self, ended: Verdict, why: str = "") -> Verdict:
        await self._this.store.end_build(self._build.id, None if ended.retry else ended.result, message=why, **self._last_values())
        return ended

    def _last_values(self) -> dict[str, Any]:
        """What is kept with the build's end: with it, that its logs are to be published."""
        return self._values if self._this.settings.logs.driver == "local" else {**self._values, "unpublished": datetime.now(UTC)}

    async def _on_some_nodeset(self) -> tuple[Verdict, str]:
        why = ""
        for number, nodeset in list(enumerate(self._job.nodesets))[self.nodeset :]:
            self.nodeset = number
            try:
                nodes = await self._nodes(nodeset)
            except NodeFailure as failure:
                why = str(failure)
                continue
            except DiskFull as problem:
                return Verdict("DISK_FULL"), str(problem)
            return await self._play(nodeset, nodes)
        return Verdict("NODE_FAILURE"), why

    async def _nodes(self, nodeset: Nodeset) -> Mapping[str, Node]:
        if not nodeset.nodes:
            return {}
        directory = await asyncio.to_thread(make_directory, self._this, self._build.id)
        _, public_key = await asyncio.to_thread(make_key, directory)
        layout = await self._this.tenants.layout(self._item.tenant)
        pipeline = layout.pipelines.get(self._item.pipeline)
        await self._this.nodes.ask(
            self._build.id,
            [node.label for node in nodeset.nodes],
            pipeline.priority if pipeline is not None else PRECEDENCES["normal"],
            self._item.project,
            self._item.tenant,
        )
        nodes = await provision_nodes(self._build.id, f"{self._job.name} on {self._item.change}", public_key)
        return {name: node for use, node in zip(nodeset.nodes, nodes, strict=True) for name in use.names}

    async def _play(self, nodeset: Nodeset, nodes: Mapping[str, Node]) -> tuple[Verdict, str]:
        try:
            plan = await make_plan(self._this, self._item, self._buildset, self._job, self._build, nodeset, nodes)
        except (LookupError, GitProblem, BuildProblem, SecretProblem) as problem:
            return Verdict("ERROR"), str(problem).strip("'")
        except DiskFull as problem:
            return Verdict("DISK_FULL"), str(problem)
        except HomeProblem as problem:
            return verdict(self._job, [], self._build.attempt), str(problem)
        shown = [{"name": name, "label": node.label, "provider": node.provider, "host": node.host} for name, node in nodes.items()]
        await self._this.store.set_build(self._build.id, started=datetime.now(UTC), nodes=shown)
        build = playbooks.Build(plan, self._failing)
        try:
            came_to = await self._play_all(build)
            await self._keep_secret_data(build)
            return came_to
        except (BuildProblem, WorkspaceProblem) as problem:
            return Verdict("ERROR"), str(problem)
        except (SandboxProblem, ZygoteProblem) as problem:
            # this machine cannot run playbooks: another may
            return verdict(self._job, [], self._build.attempt), str(problem)
        except OSError as problem:
            if not for_want_of_disk(problem):
                raise
            return Verdict("DISK_FULL"), why_full(plan.directory)
        finally:
            self._remember(build)
            await asyncio.shield(build.end())
            self._values["data"] = await with_tests(self._values["data"], build.logs)

    async def _failing(self) -> None:
        """It will fail, whatever it still does: those behind it need not wait for its end."""
        try:
            await self._this.store.note_failing(self._build.id)
        except (OSError, SQLAlchemyError) as problem:  # its end will tell
            get_run_logger().warning("That the build will fail could not be kept: %s", problem)

    async def _play_all(self, build: playbooks.Build) -> tuple[Verdict, str]:
        cancelled = False
        try:
            await build.prepare()
            try:
                await push_workspace(build)
            except NodeUnreachable as unreachable:
                self.unreachable = True
                return verdict(self._job, [], self._build.attempt), str(unreachable)
            paused = False
            while (step := following(self._job, build.played)) is not None:
                if step[0] in (Phase.POST, Phase.CLEANUP) and not paused:
                    paused = True
                    await self._pause(build)
                await play(build, *step, step[1].path)
            if not paused:
                await self._pause(build)
            await build.report()
        except asyncio.CancelledError:
            cancelled = True
            build.console.say("CANCELED")
            raise
        finally:
            if cancelled and not self._this.stopping:
                while (step := following(self._job, build.played, cancelled=True)) is not None:
                    await asyncio.shield(build.play(*step))
        ended = verdict(self._job, build.played, self._build.attempt, build.said())
        if build.disk_full:
            return ended, build.disk_full
        self.unreachable = any(one.outcome == Outcome.UNREACHABLE for one in build.played)
        bad = next((one for one in build.played if one.outcome != Outcome.OK), None)
        return ended, f"{bad.phase} {bad.playbook.path}: {bad.outcome}" if bad is not None else ""

    async def _pause(self, build: playbooks.Build) -> None:
        """If the run passed and asked for it, stay up until every job that depends on this one has its result."""
        assert self._buildset.graph is not None
        waiting = set(descendants(self._buildset.graph, self._job.name))
        if not waiting or not succeeded(build.played) or not pauses(build.returned()["data"]):
            return
        self._remember(build)
        await self._keep_secret_data(build)
        build.console.say(f"PAUSED until {', '.join(sorted(waiting))} have ended")
        async with self._this.store.watch(f"buildset:{self._buildset.id}") as changed:
            await self._this.store.set_build(self._build.id, **self._values)
            while waiting - await self._ended():
                await changed.wait()
                changed.clear()
        build.console.say("RESUMED")

    async def _ended(self) -> set[str]:
        """The jobs beside this one that have a result."""
        assert self._buildset.graph is not None
        known = results(await self._this.store.builds(self._buildset.id))
        return set(beside(self._buildset.graph, self._job, known))

    def _remember(self, build: playbooks.Build) -> None:
        """What the build returned, for the store."""
        returned = build.returned()
        changes = [self._buildset.changes[each] for each in self._job.changes] if self._buildset.changes else [self._item.change]
        _, odd_remarks = remarks_of(returned["data"], tuple(path for change in changes for path in change.files))
        self._values = {"data": returned["data"], "warnings": [*build.warnings, *warnings_of(returned["data"]), *odd_remarks]}

    async def _keep_secret_data(self, build: playbooks.Build) -> None:
        """What it returned for the eyes of other jobs only."""
        try:
            await keep_secret_data(self._this, self._build.id, build.returned()["secret_data"])
        except HomeProblem as problem:
            build.warnings.append(f"The secret data that it returned could not be kept: {problem}")
