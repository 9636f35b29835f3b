"""Has the pools of ready nodes filled at once when there is a reason to, instead of by the next housekeeping."""

from __future__ import annotations

from contextlib import suppress

import httpx

from tasks.prefect_api import create_run, runs_topic
from tasks.runtime import Runtime


async def fill_soon(this: Runtime, why: str, key: str) -> None:
    """A run of the ready-nodes flow, if any pool is configured; the same one for the same `key`. What Prefect does not
    take now, housekeeping makes up for."""
    if not this.settings.labels:
        return
    with suppress(httpx.HTTPError):
        await create_run(this.prefect, "ready-nodes/ready-nodes", name=f"ready nodes {why}", parameters={}, key=f"ready-nodes/{key}")
        await this.store.tell(runs_topic("changes"))
