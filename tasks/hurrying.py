"""What is done about nodes at once when there is a reason to, instead of by the next housekeeping."""

from __future__ import annotations

from contextlib import suppress

import httpx

from tasks.node_store import DISCARDED
from tasks.prefect_api import ALL_RUNS, create_run, runs_topic
from tasks.runtime import Runtime
from tasks.store import new_id


async def fill_soon(this: Runtime, why: str, key: str) -> None:
    """A run of the ready-nodes flow, if any pool is configured; the same one for the same `key`. What Prefect does not
    take now, housekeeping makes up for."""
    if not this.settings.labels:
        return
    with suppress(httpx.HTTPError):
        await create_run(this.prefect, "ready-nodes/ready-nodes", name=f"ready nodes {why}", parameters={}, key=f"ready-nodes/{key}")
        await this.store.tell(runs_topic("changes"))


async def destroy_discarded(this: Runtime) -> None:
    """For ever: a run of housekeeping whenever somebody wants a node to be destroyed now."""
    async with this.store.watch(DISCARDED) as told:
        while True:
            await told.wait()
            told.clear()
            with suppress(httpx.HTTPError):  # then the next housekeeping does it
                await create_run(
                    this.prefect, "housekeeping/housekeeping", name="housekeeping for nodes delete", parameters={}, key=f"nodes/{new_id()}"
                )
                await this.store.tell(*ALL_RUNS)
