"""Publishing what a build left, once its result is known: by the job's run, or later by housekeeping if that did not live to do it or
the store did not take it.

That it is to be done, and from when on, is kept with the result, and that it is done with the address. Done again, the same objects are put
at the same names, the pages that lead to them last.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from headgate.publication import MOST_FAILURES, next_try
from tasks.building import build_directory
from tasks.effects import effect
from tasks.log_storage import StorageProblem
from tasks.publishing import publish, with_log_url
from tasks.runtime import Runtime, runtime

NOT_PUBLISHED = "The logs are not published: "
LAST_WORD = "This is not tried any more; they are where they were written, as long as the build is remembered."


@effect(name="publish logs", task_run_name="publish logs", retries=3, retry_delay_seconds=[2, 10, 60], timeout_seconds=1800)
async def publish_logs(build: str, title: str) -> str:
    """Put what the build left where the settings say; its address there. Retried because object stores refuse for a while."""
    this = await runtime()
    return await publish(this.settings.logs, build_directory(this, build) / "logs", build, title)


publish_logs_once = publish_logs.with_options(retries=0)


async def publish_build(this: Runtime, build_id: str, title: str, again: bool = False) -> bool:
    """Publish the logs of a build that has ended. When nobody takes them they are on this machine only, which its page says; housekeeping
    tries `again`, later and later, in the end no more. Its result does not change."""
    build = await this.store.build(build_id)
    if build is None:
        return False
    warnings = [said for said in build.warnings if not said.startswith(NOT_PUBLISHED)]
    data: Mapping[str, Any] = build.data
    try:
        data = with_log_url(dict(data), await (publish_logs_once if again else publish_logs)(build_id, title))
    except (StorageProblem, TimeoutError) as problem:
        now = datetime.now(UTC)
        later = next_try(build.ended or now, now)
        why = str(problem) or "the store took too long"
        said = f"{NOT_PUBLISHED}{why.rstrip('.')}. {LAST_WORD if later is None else f'They are tried again from {later:%H:%M} UTC on.'}"
        await this.store.set_build(build_id, warnings=[*warnings, said], unpublished=later)
        return False
    await this.store.set_build(build_id, data=data, warnings=warnings, unpublished=None)
    return True


async def publish_left_logs() -> int:
    """Publish what runs have left that were killed before or while they published, and what is to be tried again; of how many builds."""
    this = await runtime()
    if this.settings.logs.driver == "local":
        return 0
    published = failed = 0
    for build_id in await this.store.unpublished_builds():
        if not (build_directory(this, build_id) / "logs").is_dir():  # it never came to any, or they were too old
            if this.home is None:  # else they are at home, where a worker publishes them
                await this.store.set_build(build_id, unpublished=None)
        elif await publish_build(this, build_id, f"build {build_id}", again=True):
            published += 1
        elif (failed := failed + 1) == MOST_FAILURES:
            break
    return published
