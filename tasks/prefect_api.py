"""Prefect's server as Headgate uses it: creating runs, cancelling them, starting them again.

A run is created as Scheduled in its work pool and whoever runs it is told at once (`runs_topic`), so Prefect's limits hold and nobody waits
for a poll. `key` makes creation repeatable: the same key gives the same run.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Mapping
from contextlib import suppress
from typing import Any
from uuid import UUID

import httpx
from prefect.client.orchestration import PrefectClient
from prefect.client.schemas.objects import FlowRun
from prefect.exceptions import ObjectNotFound
from prefect.states import AwaitingRetry, Cancelled, Cancelling, Completed, Crashed, Failed, Scheduled


def runs_topic(pool: str) -> str:
    """What to tell when a run of a work pool was created, or could start now."""
    return f"runs:{pool}"


ALL_RUNS = (runs_topic("changes"), runs_topic("jobs"), runs_topic("images"))


_deployments: dict[str, UUID] = {}
_lock = asyncio.Lock()


async def deployment_id(client: PrefectClient, name: str) -> UUID:
    """The id of `flow/deployment`, looked up once."""
    if name not in _deployments:
        async with _lock:
            _deployments[name] = (await client.read_deployment_by_name(name)).id
    return _deployments[name]


async def create_run(
    client: PrefectClient,
    deployment: str,
    *,
    name: str,
    parameters: Mapping[str, Any],
    key: str,
    tags: Iterable[str] = (),
    parent_task_run: UUID | None = None,
) -> FlowRun:
    """The run of `deployment` with this idempotency key, created now unless it exists. Tell its pool's topic afterwards."""
    arguments: dict[str, Any] = {
        "name": name,
        "parameters": dict(parameters),
        "state": Scheduled(),
        "idempotency_key": key,
        "tags": sorted(tags),
        "parent_task_run_id": parent_task_run,
    }
    try:
        return await client.create_flow_run_from_deployment(await deployment_id(client, deployment), **arguments)
    except httpx.HTTPStatusError as problem:
        if problem.response.status_code != httpx.codes.NOT_FOUND:
            raise
        _deployments.pop(deployment, None)  # deployed anew under another id
        return await client.create_flow_run_from_deployment(await deployment_id(client, deployment), **arguments)


async def cancel_run(client: PrefectClient, flow_run: UUID) -> None:
    """Ask for a run to stop; one that has ended, or that Prefect has forgotten, is left alone."""
    try:
        run = await client.read_flow_run(flow_run)
    except ObjectNotFound:
        return
    if run.state is None or not run.state.is_final():
        await client.set_flow_run_state(flow_run, Cancelling())


async def start_again(client: PrefectClient, flow_run: UUID, reason: str) -> bool:
    """Let the same run start again, as Retry in Prefect's UI does; False when Prefect has forgotten it."""
    try:
        await client.set_flow_run_state(flow_run, AwaitingRetry(message=reason), force=True)
    except ObjectNotFound:
        return False
    return True


async def finish_run(client: PrefectClient, flow_run: UUID, success: bool, message: str) -> None:
    """Give a run whose worker died the end it had reached."""
    with suppress(ObjectNotFound):
        await client.set_flow_run_state(flow_run, Completed(message=message) if success else Failed(message=message), force=True)


async def mark_crashed(client: PrefectClient, flow_run: UUID, reason: str) -> bool:
    """Record that a run died with its worker; False when it had ended by itself, was being cancelled
    anyway (then it is), or Prefect has forgotten it."""
    try:
        run = await client.read_flow_run(flow_run)
        if run.state is not None and run.state.is_final() and not run.state.is_crashed():
            return False
        if run.state is not None and run.state.is_cancelling():
            await client.set_flow_run_state(flow_run, Cancelled(message=reason), force=True)
            return False
        await client.set_flow_run_state(flow_run, Crashed(message=reason), force=True)
    except ObjectNotFound:
        return False
    return True
