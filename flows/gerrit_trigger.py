"""The gerrit-trigger flow: one change in one pipeline, from the merge to the vote.

It may be started any number of times for the same item: the merge and the frozen job graph are made once and kept, a job that has a result
is not run again, and equal evidence is reported once. So a crash, a Retry in Prefect's UI and a rerun of a job are all the same to it.
"""

from __future__ import annotations

import asyncio
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
from headgate.builds import CANCELED, NOOP, SKIPPED, SUCCESS, choices, next_jobs, results
from headgate.jobs import FrozenJob
from headgate.queues import CANCELLED, REPORTED
from headgate.records import Build, Buildset, Item
from tasks.buildsets import prepare_buildset
from tasks.prefect_api import cancel_run, create_run, runs_topic, start_again
from tasks.reporting import report_result, report_start
from tasks.runtime import Runtime, runtime
from tasks.store import new_id

LOOK_SECONDS = 15.0
"""How often a waiting change looks whether a job's run ended without leaving a result."""


@flow(name="gerrit-trigger", validate_parameters=False)
@cancellable
async def gerrit_trigger(item: str) -> State[Any]:
    """Test the change of one item and report the outcome."""
    this = await runtime()
    found = await this.store.item(item)
    if found is None:
        return Failed(message=f"There is no item {item}.")
    back = found.reason == CANCELLED and await this.store.come_back(item)
    if found.dequeued is not None and found.reason != REPORTED and not back:
        return Completed(name="Dequeued", message=f"The change has left the pipeline: {found.reason}")
    try:
        await report_start(item)
        buildset = await prepare_buildset(item)
        await Jobs(this, found, buildset).run()
        outcome = await report_result(item)
    except (asyncio.CancelledError, CancelledRun):
        if not this.stopping:
            await asyncio.shield(this.store.leave_cancelled(item))
        raise
    finished = Completed if outcome.result == SUCCESS else Failed
    return finished(name=outcome.result.capitalize() if outcome.result not in (SUCCESS, "FAILURE") else None, message=outcome.summary)


class Jobs:
    """The jobs of one buildset, each a run of the run-job deployment and a child of this flow run."""

    def __init__(self, this: Runtime, item: Item, buildset: Buildset) -> None:
        self._this = this
        self._item = item
        self._buildset = buildset
        self._graph = buildset.graph
        self._runs: dict[str, UUID] = {}
        self._nodes: dict[str, UUID] = {}

    async def run(self) -> None:
        """Until every job has a result. Cancelled, it cancels its jobs."""
        if self._graph is None:
            return
        try:
            async with self._this.store.watch(f"buildset:{self._buildset.id}") as changed:
                while not await self._step():
                    try:
                        async with asyncio.timeout(LOOK_SECONDS):
                            await changed.wait()
                    except TimeoutError:
                        await self._record_lost()
                    changed.clear()
        except asyncio.CancelledError:
            if not self._this.stopping:
                await asyncio.shield(self._cancel())
            raise

    async def _step(self) -> bool:
        """Start and skip what may be now; are all done?"""
        assert self._graph is not None
        builds = await self._this.store.builds(self._buildset.id)
        step = next_jobs(self._graph, results(builds), self._runs, choices(self._graph, builds))
        for name in step.skip:
            await self._end(self._graph[name], SKIPPED)
        noops = [name for name in step.start if name == NOOP]
        for name in noops:
            await self._end(self._graph[name], SUCCESS)
        started = [name for name in step.start if name != NOOP]
        await asyncio.gather(*(self._start(self._graph[name]) for name in started))
        if started:
            await self._this.store.tell(runs_topic("jobs"))
        return step.done or (bool(noops) and await self._step())

    async def _end(self, job: FrozenJob, result: str, message: str = "") -> None:
        """Record a result that no run was needed for."""
        now = datetime.now(UTC)
        await self._this.store.begin_build(
            Build(
                id=new_id(),
                buildset=self._buildset.id,
                job=job.name,
                attempt=1,
                voting=job.voting,
                created=now,
                ended=now,
                result=result,
                message=message,
            )
        )

    async def _start(self, job: FrozenJob) -> None:
        """Create the job's run as a child of this one, drawn after the jobs it depends on. The same job gives the same run again."""
        context = FlowRunContext.get()
        parent = None
        if context is not None and context.flow_run is not None:
            shown: Task[[], None] = Task(fn=_shown, name=job.name, task_run_name=job.name)
            shown.task_key = f"headgate.job.{job.name}"
            after: list[Any] = [TaskRunResult(id=self._nodes[d.name]) for d in job.dependencies if d.name in self._nodes]
            node = await self._this.prefect.create_task_run(
                task=shown, flow_run_id=context.flow_run.id, dynamic_key="0", name=job.name, state=Pending(), task_inputs={"after": after}
            )
            self._nodes[job.name] = parent = node.id
        change = self._item.change
        run = await create_run(
            self._this.prefect,
            "run-job/run-job",
            name=f"{job.name} on {change}",
            parameters={"buildset": self._buildset.id, "job": job.name},
            key=f"{self._buildset.id}/{job.name}",
            tags=[f"job:{job.name}", f"change:{change.number}", f"project:{change.project}", f"pipeline:{self._item.pipeline}"],
            parent_task_run=parent,
        )
        if run.state is not None and run.state.is_final() and not run.state.is_crashed():
            # it was cancelled with its change; a crashed one is started again by the reconciler
            await start_again(self._this.prefect, run.id, "Its job has no result.")
        self._runs[job.name] = run.id

    async def _record_lost(self) -> None:
        """A job's run that ended without a result (cancelled before it began, say) must not be waited for for ever."""
        assert self._graph is not None
        if not self._runs:
            return
        known = results(await self._this.store.builds(self._buildset.id))
        waiting = {run: name for name, run in self._runs.items() if name not in known}
        runs = await self._this.prefect.read_flow_runs(
            flow_run_filter=FlowRunFilter(id=FlowRunFilterId(any_=list(waiting) or list(self._runs.values())))
        )
        for run in runs:
            if run.id in waiting and run.state is not None and run.state.is_final() and not run.state.is_crashed():
                cancelled = run.state.type == StateType.CANCELLED
                await self._end(self._graph[waiting[run.id]], CANCELED if cancelled else "ERROR", run.state.message or "")

    async def _cancel(self) -> None:
        await asyncio.gather(*(cancel_run(self._this.prefect, run) for run in self._runs.values()))


def _shown() -> None:
    """What stands for a job's run in its parent's picture in Prefect's UI."""
