"""The housekeeping flow: give back what a crash left, and forget what is too old. Every step may be repeated at any time."""

from __future__ import annotations

import asyncio
import shutil
from datetime import timedelta
from pathlib import Path

from prefect import flow, get_run_logger

from flows.cancellation import cancellable
from flows.provision_nodes import destroy_node
from flows.ready_nodes import ready_nodes
from headgate.nodes import NodeState
from tasks.effects import effect
from tasks.runtime import runtime

HISTORY_DAYS = 7
"""How long is remembered what became of nodes, for failure rates and estimates."""


@effect(name="destroy left nodes")
async def destroy_left_nodes() -> int:
    """Nodes whose build has ended, or that are to be deleted, and what providers have that nobody knows; how many there were."""
    this = await runtime()
    await this.nodes.holds.expired()
    ended = await this.store.ended_builds([node.request for node in await this.nodes.nodes()])
    for request in ended:
        await this.nodes.release(request)
    # what exists is asked for before what is known: a node is known before it exists, so one that is just launched is no stranger
    owned = await asyncio.gather(*(provider.owned(this.owner) for provider in this.providers.values()), return_exceptions=True)
    known = {node.id: node for node in await this.nodes.nodes()}
    left = [node for node in known.values() if node.state is NodeState.DELETING]
    strangers = []
    for name, found in zip(this.providers, owned, strict=True):
        if isinstance(found, BaseException):
            get_run_logger().warning("Provider %s does not say what it has: %s", name, found)
        else:
            strangers += [(node_id, name) for node_id in found if node_id not in known]
    gone = [(node.id, node.provider) for node in left] + strangers
    await asyncio.gather(*(destroy_node(node_id, provider) for node_id, provider in gone), return_exceptions=True)
    return len(gone)


@effect(name="forget old items")
async def forget_old() -> int:
    """Items that left long ago, with their builds and logs; how many."""
    this = await runtime()
    age = timedelta(days=this.settings.keep_days)
    await this.nodes.forget_history(timedelta(days=HISTORY_DAYS))
    builds = await this.store.old_builds(age)
    for build in builds:
        await asyncio.to_thread(shutil.rmtree, Path(this.settings.state) / "builds" / build, True)
    return await this.store.forget(age)


@flow(name="housekeeping", validate_parameters=False)
@cancellable
async def housekeeping() -> str:
    """Leave only what is in use or still worth keeping."""
    nodes = await destroy_left_nodes()
    if (await runtime()).settings.labels:
        await ready_nodes()
    items = await forget_old()
    return f"{nodes} nodes destroyed, {items} items forgotten"
