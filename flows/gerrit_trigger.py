"""The gerrit-trigger flow: one item of a pipeline on one exact state of what is ahead of it, from the merge to the vote.

What should happen the pipelines' rules say (`headgate.gating`, through the store): which jobs run, when, and what is said. The flow makes
it happen: merges, fans out a run per job, makes the reports. It may be started any number of times for the same buildset: what was merged
is kept, a job that has a result is not run again, a report is made once. So a crash, a Retry in Prefect's UI and a rerun of a job are all
the same to it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from contextlib import suppress
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

from prefect import Task, flow
from prefect.client.schemas.filters import FlowRunFilter, FlowRunFilterId
from prefect.client.schemas.objects import State, StateType, TaskRunResult
from prefect.context import FlowRunContext
from prefect.exceptions import CancelledRun
from prefect.states import Completed, Failed, Pending

from flows.cancellation import cancellable
from headgate.builds import CANCELED, SUCCESS, newest
from headgate.jobs import FrozenJob
from headgate.records import CANCELLED, GIVEN_UP, Build, Buildset, Command, CommandKind, Item
from tasks.buildsets import prepare_buildset
from tasks.prefect_api import cancel_run, create_run, runs_topic, start_again
from tasks.reporting import Outcome, deliver_report, report_evidence, summary
from tasks.runtime import Runtime, runtime
from tasks.store import new_id

LOOK_SECONDS = 15.0
"""How often a waiting change looks whether a job's run ended without leaving a result."""


@flow(name="gerrit-trigger", validate_parameters=False, persist_result=False)
@cancellable
async def gerrit_trigger(buildset: str) -> State[Any]:
    """Test what the item's changes come to together and report the outcome."""
    this = await runtime()
    found = await this.store.buildset(buildset)
    item = await this.store.item(found.item) if found is not None else None
    if found is None or item is None:
        return Failed(message=f"There is no buildset {buildset}.")
    if found.ended is not None and item.reason == CANCELLED:
        outcome = await resume(this, item)
        if outcome != "resumed":
            return Completed(name="Dequeued", message=f"This run is not resumed: {outcome}.")
        found = await this.store.buildset(buildset)
        assert found is not None
    if found.ended is not None and found.result in ("", GIVEN_UP):
        return Completed(name="Dequeued", message=f"This is not tested any more: {item.reason or 'what is ahead of it has changed'}.")
    try:
        ended = await follow(this, item, found)
    except (asyncio.CancelledError, CancelledRun):
        if not this.stopping:
            await asyncio.shield(leave(this, found.id))
        raise
    return finished(ended)


def finished(outcome: Outcome) -> State[Any]:
    """The state of a run whose buildset has this outcome."""
    state = Completed if outcome.result == SUCCESS else Failed
    return state(name=outcome.result.capitalize() if outcome.result not in (SUCCESS, "FAILURE") else None, message=outcome.summary)


async def follow(this: Runtime, item: Item, found: Buildset) -> Outcome:
    """Do what is to be done for the buildset until it has ended and everything about it was said."""
    if found.ended is not None and not await this.store.unsent(found.id):
        return await again(this, item, found)
    if found.prepared is None:
        found = await prepare_buildset(found.id)
    return await Jobs(this, item, found).run()


async def again(this: Runtime, item: Item, found: Buildset) -> Outcome:
    """A run that had come to its end is started again: if a job ran again since, its results are added up and said anew."""
    if item.id in {each.id for each in await this.store.items_with_new_evidence()}:
        return await report_evidence(found, item)
    builds = await this.store.builds(found.id)
    return Outcome(found.result, summary(found.result, found, builds, {}, ""))


async def resume(this: Runtime, item: Item) -> str:
    """Ask for an item back whose run was cancelled; what became of it."""
    command = Command(new_id(), item.tenant, item.pipeline, CommandKind.RESUME, datetime.now(UTC), item=item.id)
    async with this.store.watch("queues", "items") as changed:
        await this.store.ask(command)
        while (outcome := await this.store.outcome(command.id)) is None:
            with suppress(TimeoutError):
                await asyncio.wait_for(changed.wait(), LOOK_SECONDS)
            changed.clear()
    return outcome


async def leave(this: Runtime, buildset_id: str) -> None:
    """Somebody cancelled the run. What is to be said by now is said, and merged, without it; else its item leaves (also one that was spoken
    of and whose reporter jobs still ran), unless it was for that that the run was cancelled."""
    await this.store.hand_over(buildset_id)
    if await this.store.being_said(buildset_id):
        return
    found = await this.store.buildset(buildset_id)
    item = await this.store.item(found.item) if found is not None and found.ended is None else None
    if item is not None and found is not None:
        keys = tuple(change.key for change in found.changes)
        command = Command(new_id(), item.tenant, item.pipeline, CommandKind.DEQUEUE, datetime.now(UTC), keys, reason=CANCELLED)
        await this.store.ask(command)


class Jobs:
    """The jobs of one buildset, each a run of the run-job deployment and a child of this flow run; and the reports about it."""

    def __init__(self, this: Runtime, item: Item, buildset: Buildset) -> None:
        self._this = this
        self._item = item
        self._found = buildset
        self._graph = buildset.graph
        self._id = buildset.id
        self._runs: dict[tuple[str, int], UUID] = {}
        self._nodes: dict[str, UUID] = {}
        self._stopped: set[UUID] = set()
        self._refused = ""
        self._votes: dict[str, int] = {}

    async def run(self) -> Outcome:
        """Until the buildset has ended and all was said. Cancelled, it cancels its jobs."""
        try:
            async with self._this.store.watch(f"buildset:{self._id}") as changed:
                while (outcome := await self._step()) is None:
                    try:
                        await asyncio.wait_for(changed.wait(), LOOK_SECONDS)
                    except TimeoutError:
                        await self._record_lost()
                    changed.clear()
                return outcome
        except asyncio.CancelledError:
            if not self._this.stopping:
                await asyncio.shield(self._cancel())
            raise

    async def _step(self) -> Outcome | None:
        """Start and stop what may be now, say what is to be said; the outcome if that was all."""
        builds = await self._this.store.builds(self._id)
        result = await self._this.store.ended_as(self._id)
        jobs = self._graph.jobs if self._graph is not None and result is None else ()
        await self._start_all([job for job in jobs if job.type != "reporter"], builds)
        await self._stop_all(builds)
        said = await self._say_all()
        await self._start_all([job for job in jobs if job.type == "reporter"], builds)  # what they follow has been said now
        if said or result is None:
            return None
        return Outcome(result, summary(result, self._found, builds, self._votes, self._refused))

    async def _start_all(self, jobs: Iterable[FrozenJob], builds: list[Build]) -> None:
        started = []
        for job in jobs:
            mine = [build for build in builds if build.job == job.name and build.position in job.changes]
            if mine and (job.name, job.changes[0]) not in self._runs and _wants_run(latest := newest(mine)):
                started.append(self._start(job, latest))
        if started:
            await asyncio.gather(*started)
            await self._this.store.tell(runs_topic("jobs"))

    async def _stop_all(self, builds: list[Build]) -> None:
        """Stop the runs of builds that are not wanted any more, those among them that have not begun."""
        for build in builds:
            run = self._runs.get((build.job, build.position)) or (UUID(build.flow_run) if build.flow_run is not None else None)
            unwanted = build.cancelled is not None and (build.ended is None or build.flow_run is None)
            if unwanted and run is not None and run not in self._stopped:
                self._stopped.add(run)
                await cancel_run(self._this.prefect, run)

    async def _say_all(self) -> bool:
        """Was anything said?"""
        unsent = await self._this.store.unsent(self._id)
        for report in unsent:
            self._refused = await deliver_report(self._this, self._item, report) or self._refused
            self._votes = dict(report.labels)
        return bool(unsent)

    async def _start(self, job: FrozenJob, build: Build) -> None:
        """Create the job's run as a child of this one, drawn after the jobs it depends on. The same job gives the same run again."""
        context = FlowRunContext.get()
        parent = None
        if context is not None and context.flow_run is not None:
            shown: Task[[], None] = Task(fn=_shown, name=job.name, task_run_name=job.name)
            shown.task_key = f"headgate.job.{job.name}"
            after: list[Any] = [TaskRunResult(id=self._nodes[d.name]) for d in job.dependencies if d.name in self._nodes]
            node = await self._this.prefect.create_task_run(
                task=shown,
                flow_run_id=context.flow_run.id,
                dynamic_key=str(job.changes[0]),
                name=job.name,
                state=Pending(),
                task_inputs={"after": after},
            )
            self._nodes[job.name] = parent = node.id
        change = self._item.change
        run = await create_run(
            self._this.prefect,
            "run-job/run-job",
            name=f"{job.name} on {change}",
            parameters={"buildset": self._id, "job": job.name, "position": job.changes[0]},
            key=f"{self._id}/{job.name}/{job.changes[0]}",
            tags=[f"job:{job.name}", f"change:{change.number}", f"project:{change.project}", f"pipeline:{self._item.pipeline}"],
            parent_task_run=parent,
        )
        self._runs[(job.name, job.changes[0])] = run.id
        if run.state is not None and run.state.is_final() and not run.state.is_crashed():
            # it was cancelled with its change; a crashed one is started again by the reconciler
            await start_again(self._this.prefect, run.id, "Its job has no result.")

    async def _record_lost(self) -> None:
        """A job's run that ended without a result (cancelled before it began, say) must not be waited for for ever."""
        if not self._runs:
            return
        builds = await self._this.store.builds(self._id)
        waiting: dict[UUID, Build] = {}
        for (job, position), going in self._runs.items():
            mine = [build for build in builds if build.job == job and build.position == position]
            if mine and (latest := newest(mine)).result is None:
                waiting[going] = latest
        if not waiting:
            return
        for run in await self._this.prefect.read_flow_runs(flow_run_filter=FlowRunFilter(id=FlowRunFilterId(any_=list(waiting)))):
            if run.state is not None and run.state.is_final() and not run.state.is_crashed():
                cancelled = run.state.type == StateType.CANCELLED
                await self._this.store.end_build(waiting[run.id].id, CANCELED if cancelled else "ERROR", message=run.state.message or "")

    async def _cancel(self) -> None:
        await asyncio.gather(*(cancel_run(self._this.prefect, run) for run in self._runs.values()))


def _wants_run(build: Build) -> bool:
    """Is it a build whose run nobody has made, or one that was cancelled and came back?"""
    if build.result is not None or build.cancelled is not None:
        return False
    return build.ended is None or build.message == CANCELLED


def _shown() -> None:
    """What stands for a job's run in its parent's picture in Prefect's UI."""
