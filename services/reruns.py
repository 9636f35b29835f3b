"""Running builds again when a person asks: the job's own flow run starts again, and everything else follows from that."""

from __future__ import annotations

from uuid import UUID

from headgate.builds import SKIPPED, SUCCESS, current
from headgate.changes import Event
from headgate.problems import Problem
from headgate.records import REPORTED, Build
from headgate.reruns import asked_in, wanted
from tasks.prefect_api import ALL_RUNS, start_again
from tasks.runtime import Runtime


async def rerun(runtime: Runtime, what: str, reason: str = "") -> list[Build]:
    """Start the build `what` (an id or its beginning) again, or every build of change number `what` that did not succeed.

    `reason` is remembered. Returns the builds as they were. Raises `Problem` when there is none, or one is still running."""
    builds = await _of_change(runtime, int(what)) if what.isdecimal() and len(what) < 12 else await _one(runtime, what)
    for build in builds:
        if build.ended is None:
            raise Problem(f"The build {build.id} of {build.job} has not ended yet.")
        if build.flow_run is None or not await start_again(runtime.prefect, UUID(build.flow_run), reason or "Somebody asked for it."):
            raise Problem(f"The build {build.id} of {build.job} has no flow run that could start again.")
    await runtime.store.tell(*ALL_RUNS)
    return builds


async def rerun_as_asked(runtime: Runtime, event: Event) -> list[str]:
    """The jobs that a comment on a review asks for, started again; [] if it asks for none, or none of them can."""
    words = asked_in(event.comment) if event.type == "comment-added" and event.change is not None else ()
    if not words:
        return []
    items = [item for item in await runtime.store.items_of_change(event.change or 0) if item.change.connection == event.connection]
    found: list[str] = []
    for pipeline in dict.fromkeys((item.tenant, item.pipeline) for item in items):
        last = [item for item in items if (item.tenant, item.pipeline) == pipeline and not item.ahead_only][-1:]
        if not last or last[0].live or last[0].reason != REPORTED or last[0].change.patchset != event.patchset:
            continue
        buildset = await runtime.store.buildset_of(last[0].id)
        again = wanted(words, await runtime.store.builds(buildset.id)) if buildset is not None else []
        reason = f"{event.username} asked for it."
        found += [build.job for build in again if build.flow_run and await start_again(runtime.prefect, UUID(build.flow_run), reason)]
    if found:
        await runtime.store.tell(*ALL_RUNS)
    return found


async def _one(runtime: Runtime, build_id: str) -> list[Build]:
    build = await runtime.store.build(build_id)
    if build is None:
        raise Problem(f"There is no build whose id begins with '{build_id}', or more than one.")
    return [build]


async def _of_change(runtime: Runtime, number: int) -> list[Build]:
    items = await runtime.store.items_of_change(number)
    if not items:
        raise Problem(f"No change {number} was ever in a pipeline.")
    buildset = await runtime.store.buildset_of(items[-1].id)
    builds = current(await runtime.store.builds(buildset.id)).values() if buildset is not None else ()
    failed = [build for build in builds if build.result not in (SUCCESS, SKIPPED) and build.flow_run is not None]
    if not failed:
        raise Problem(f"No build of change {items[-1].change} has failed.")
    return failed
