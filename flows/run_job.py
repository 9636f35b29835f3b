"""The run-job flow: one job of one change, from its nodes to its result.

Each attempt is a build: nodes, workspace, the playbooks one by one, then the nodes go back whatever happened. An attempt that says nothing
about the change (a failed pre-run, an unreachable node, a lost worker) is followed by another while the job has attempts left. The flow run
started again after its job had a result is a rerun: a new round, on the same merged commit.
"""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

from prefect import flow
from prefect.client.schemas.objects import State
from prefect.context import FlowRunContext
from prefect.states import AwaitingRetry, Cancelled, Completed, Failed

from flows.attempt import LOST, Attempt
from flows.cancellation import cancellable
from flows.provision_nodes import release_nodes
from headgate.builds import SUCCESS
from headgate.jobs import FrozenJob
from headgate.records import CANCELLED, Build, Buildset
from tasks.runtime import Runtime, runtime
from tasks.store import new_id


@flow(name="run-job", validate_parameters=False, persist_result=False)
@cancellable
async def run_job(buildset: str, job: str, position: int = 0) -> State[Any]:
    """Run one job until it has a result."""
    this = await runtime()
    found = await this.store.buildset(buildset)
    item = await this.store.item(found.item) if found is not None else None
    frozen = found.graph.find(job, position) if found is not None and found.graph is not None else None
    if found is None or item is None or frozen is None:
        return Failed(message=f"There is no job {job} in a buildset {buildset}.")
    this_try = await next_attempt(this, found, frozen)
    if this_try is None:
        return Cancelled(message="Its result is not wanted any more.")
    round, attempt = this_try
    nodeset = 0
    while True:
        build = await begin(this, found, frozen, round, attempt)
        running = Attempt(this, item, found, frozen, build, nodeset)
        ended = await running.run()
        if not ended.retry:
            break
        attempt += 1
        if running.unreachable:  # its next alternative may do better
            nodeset = min(running.nodeset + 1, len(frozen.nodesets) - 1)
    where = f"{this.settings.web_url}/build/{build.id}"
    if ended.result == SUCCESS:
        return Completed(message=f"{ended.result}: {where}")
    return Failed(message=f"{ended.result}: {where}")


async def next_attempt(this: Runtime, buildset: Buildset, job: FrozenJob) -> tuple[int, int] | None:
    """Which round and attempt this run of the flow begins with; an attempt that was left unfinished is ended as lost. None: the job was
    stopped by what decides about its change."""
    builds = [build for build in await this.store.builds(buildset.id) if build.job == job.name and build.position in job.changes]
    if not builds:
        return 1, 1
    last = max(builds, key=lambda build: (build.round, build.attempt))
    if last.cancelled is not None:
        return None
    if last.flow_run is None and last.ended is None:
        return last.round, last.attempt
    if last.result is not None or last.message == CANCELLED:
        return last.round + 1, 1
    if last.ended is None:
        await release_nodes(last.id)
        await this.store.end_build(last.id, None, message=LOST)
    return last.round, last.attempt + 1


async def begin(this: Runtime, buildset: Buildset, job: FrozenJob, round: int, attempt: int) -> Build:
    """Write the attempt down before anything is done for it."""
    context = FlowRunContext.get()
    flow_run = str(context.flow_run.id) if context is not None and context.flow_run is not None else None
    now = datetime.now(UTC)
    build = await this.store.begin_build(
        Build(
            id=new_id(),
            buildset=buildset.id,
            job=job.name,
            attempt=attempt,
            voting=job.voting,
            created=now,
            flow_run=flow_run,
            round=round,
            reason=await why_again(this, flow_run) if round > 1 and attempt == 1 and flow_run else "",
            position=job.changes[0],
        )
    )
    if build.flow_run is None and await this.store.start_build(build.id, flow_run):
        build = replace(build, flow_run=flow_run)
    return build


async def why_again(this: Runtime, flow_run: str) -> str:
    """What was said when the run was asked to start again; Retry in Prefect's UI says nothing."""
    states = await this.prefect.read_flow_run_states(UUID(flow_run))
    asked = [state for state in states if state.name == AwaitingRetry().name]
    return (asked[-1].message if asked else None) or "Retry in Prefect"
