"""The housekeeping flow: give back what a crash left, and forget what is too old. Every step may be repeated at any time."""

from __future__ import annotations

import asyncio
import logging
import shutil
from datetime import UTC, datetime, timedelta
from pathlib import Path

from prefect import flow

from flows.cancellation import cancellable
from flows.provision_nodes import destroy_node
from flows.publishing import publish_left_logs
from flows.ready_nodes import ready_nodes
from headgate.nodes import NodeState
from tasks.effects import effect
from tasks.node_keys import forget_keys_of_others
from tasks.runtime import Runtime, runtime
from tasks.sending import UNSENT

logger = logging.getLogger("headgate.housekeeping")

HISTORY_DAYS = 7
"""How long is remembered what became of nodes, for failure rates and estimates."""


async def strangers(this: Runtime) -> list[tuple[str, str]]:
    """(node, provider) of what providers have that nobody knows."""
    # what exists is asked for before what is known: a node is known before it exists, so one that is just launched is no stranger
    owned = await asyncio.gather(*(provider.owned(this.owner) for provider in this.providers.values()), return_exceptions=True)
    known = {node.id for node in await this.nodes.nodes()}
    found = []
    for name, theirs in zip(this.providers, owned, strict=True):
        if isinstance(theirs, BaseException):
            logger.warning("Provider %s does not say what it has: %s", name, theirs)
        else:
            found += [(node_id, name) for node_id in theirs if node_id not in known]
    return found


async def tidy(this: Runtime) -> None:
    """What a worker that was killed on this machine left on it: nodes that others have forgotten since and their keys, files of builds
    that have ended. For a worker to begin with."""
    gone = (this.providers[provider].destroy(node_id) for node_id, provider in await strangers(this))
    for outcome in await asyncio.gather(*gone, return_exceptions=True):
        if isinstance(outcome, BaseException):
            logger.warning("A node that was left here cannot be destroyed: %s", outcome)

    async def known() -> list[str]:
        return [node.id for node in await this.nodes.nodes()]

    await forget_keys_of_others(this.settings.state, known)
    builds = this.settings.state / "builds"
    if this.home is not None and builds.is_dir():
        oldest = (datetime.now(UTC) - timedelta(days=this.settings.keep_days)).timestamp()
        for build in await this.store.ended_builds([path.name for path in builds.iterdir()]):
            unsent = builds / build / UNSENT
            if not unsent.exists() or unsent.stat().st_mtime < oldest:
                await asyncio.to_thread(shutil.rmtree, builds / build, True)


@effect(name="destroy left nodes")
async def destroy_left_nodes() -> int:
    """Nodes whose build has ended, or that are to be deleted, and what providers have that nobody knows; how many there were."""
    this = await runtime()
    await this.nodes.holds.expired()
    ended = await this.store.ended_builds([node.request for node in await this.nodes.nodes()])
    for request in ended:
        await this.nodes.release(request)
    unknown = await strangers(this)
    left = [(node.id, node.provider) for node in await this.nodes.nodes() if node.state is NodeState.DELETING]
    await asyncio.gather(*(destroy_node(node_id, provider) for node_id, provider in left + unknown), return_exceptions=True)
    return len(left + unknown)


@effect(name="forget old items")
async def forget_old() -> int:
    """Items that left long ago, with their builds and logs; how many."""
    this = await runtime()
    age = timedelta(days=this.settings.keep_days)
    await this.nodes.forget_history(timedelta(days=HISTORY_DAYS))
    builds = await this.store.old_builds(age)
    for build in builds:
        if this.home is not None:
            await this.home.forget(build)
        await asyncio.to_thread(shutil.rmtree, Path(this.settings.state) / "builds" / build, True)
    return await this.store.forget(age)


@flow(name="housekeeping", flow_run_name="housekeeping", validate_parameters=False, persist_result=False)
@cancellable
async def housekeeping() -> str:
    """Leave only what is in use or still worth keeping."""
    nodes = await destroy_left_nodes()
    if (await runtime()).settings.labels:
        await ready_nodes()
    items = await forget_old()
    published = await publish_left_logs()  # last: a store that is away makes it long
    return f"{nodes} nodes destroyed, logs of {published} builds published, {items} items forgotten"
