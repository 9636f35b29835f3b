"""The housekeeping flow: give back what a crash left, and forget what is too old. Every step may be repeated at any time."""

from __future__ import annotations

import asyncio
import shutil
from datetime import timedelta
from pathlib import Path

from prefect import flow

from flows.cancellation import cancellable
from flows.provision_nodes import destroy_node
from headgate.nodes import NodeState
from tasks.effects import effect
from tasks.runtime import runtime


@effect(name="destroy left nodes")
async def destroy_left_nodes() -> int:
    """Nodes whose build has ended, or that are to be deleted, and what providers have that nobody knows; how many there were."""
    this = await runtime()
    ended = await this.store.ended_builds([node.request for node in await this.nodes.nodes()])
    for request in ended:
        await this.nodes.release(request)
    left = [node for node in await this.nodes.nodes() if node.state is NodeState.DELETING]
    known = {node.id for node in await this.nodes.nodes()}
    strangers = [
        (node_id, provider.name)
        for provider in this.providers.values()
        for node_id in await provider.owned(this.owner)
        if node_id not in known
    ]
    gone = [(node.id, node.provider) for node in left] + strangers
    await asyncio.gather(*(destroy_node(node_id, provider) for node_id, provider in gone), return_exceptions=True)
    return len(gone)


@effect(name="forget old items")
async def forget_old() -> int:
    """Items that left long ago, with their builds and logs; how many."""
    this = await runtime()
    age = timedelta(days=this.settings.keep_days)
    builds = await this.store.old_builds(age)
    for build in builds:
        await asyncio.to_thread(shutil.rmtree, Path(this.settings.state) / "builds" / build, True)
    return await this.store.forget(age)


@flow(name="housekeeping", validate_parameters=False)
@cancellable
async def housekeeping() -> str:
    """Leave only what is in use or still worth keeping."""
    nodes = await destroy_left_nodes()
    items = await forget_old()
    return f"{nodes} nodes destroyed, {items} items forgotten"
