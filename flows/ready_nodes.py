"""The ready-nodes flow: keep nodes of some labels ready ahead of requests.

Runs one at a time: who finds another at it leaves the pools to that one, which looks again before it ends. It is started when a pool gave a
node away, when Headgate starts (the configuration may be another one), and by housekeeping.
"""

from __future__ import annotations

import asyncio

from prefect import flow

from flows.cancellation import cancellable
from flows.provision_nodes import decide, destroy_node, launch_node, offers
from headgate.node_pools import pools_of
from headgate.nodes import NodeState
from providers.base import AtCapacity, DestroyFailed, LaunchFailed
from tasks.database import Lease
from tasks.node_keys import forget_key, make_key
from tasks.node_store import StoredNode
from tasks.runtime import Runtime, runtime
from tasks.store import new_id

LEASE = "ready nodes"


async def _launch(this: Runtime, node: StoredNode) -> str:
    """Why it did not come up, or `""`."""
    key = await make_key(this.settings.state, this.home, node.id)
    try:
        up = await launch_node(node.id, node.label, node.provider, "", node.zone, key)
    except AtCapacity as problem:
        await this.nodes.no_room("", node.provider)
        return str(problem)
    except (LaunchFailed, TimeoutError) as problem:
        await this.nodes.failed(node.id, f"{node.provider}: {problem or 'the launch took too long'}")
        return str(problem)
    await this.nodes.up(up)
    await decide(this)  # somebody may have begun to wait for it
    return ""


@flow(name="ready-nodes", validate_parameters=False, persist_result=False)
@cancellable
async def ready_nodes() -> str:
    """Destroy what is too old or failed, launch what is missing; what fails is tried again by the next run."""
    this = await runtime()
    lease = await Lease.take(this.database_url, LEASE)
    if lease is None:
        return "somebody else is at it"
    try:
        launched, problems = 0, list[str]()
        while not problems and (missing := await this.nodes.fill_pools(pools_of(this.settings.labels), await offers(this), new_id)):
            problems = [problem for problem in await asyncio.gather(*(_launch(this, node) for node in missing)) if problem]
            launched += len(missing) - len(problems)
        left = [node for node in await this.nodes.nodes_of("") if node.state in (NodeState.DELETING, NodeState.FAILED)]
        for node in left:
            await forget_key(this.settings.state, this.home, node.id)
            await this.nodes.discard(node.id)
        outcomes = await asyncio.gather(*(destroy_node(node.id, node.provider) for node in left), return_exceptions=True)
        for outcome in outcomes:
            if isinstance(outcome, BaseException) and not isinstance(outcome, DestroyFailed):
                raise outcome
        told = f"{launched} nodes launched, {len(problems)} failed, {len(left)} destroyed"
        return f"{told}: {problems[0]}" if problems else told
    finally:
        await lease.release()
