"""The provision-nodes flow: one build's nodes, from the request to machines that can be logged in to.

Which provider serves the request is decided by `headgate.nodes` in a pass over all requests; this flow carries out what was decided for
its own: it launches the nodes, each as a task, and waits until the request is complete or refused. Whatever it launched and nobody got is
recorded and goes away, here or by housekeeping.
"""

from __future__ import annotations

import asyncio

from prefect import flow

from flows.cancellation import cancellable
from headgate.nodes import Offer
from providers.base import AtCapacity, DestroyFailed, LaunchFailed, Node, NodeSpec
from providers.registry import offer
from tasks.effects import effect
from tasks.image_boots import image_for, launch_watched
from tasks.node_store import StoredNode, request_topic
from tasks.runtime import Runtime, runtime
from tasks.store import new_id

LAUNCH_SECONDS = 3600
"""How long one launch may take; Nodepool's launch-timeout."""

PASS_SECONDS = 30.0
"""A request that waits for room is told when there is some; this is for a notification that got lost."""


class NodeFailure(Exception):
    """No provider can give the build its nodes; one sentence why. Zuul's NODE_FAILURE."""


async def offers(this: Runtime) -> list[Offer]:
    """Every configured provider as the rules see it now."""
    full = await this.nodes.full()
    return [await offer(provider, full=name in full) for name, provider in this.providers.items()]


@effect(name="launch node", task_run_name="launch {label} at {provider}", timeout_seconds=LAUNCH_SECONDS)
async def launch_node(node_id: str, label: str, provider: str, request: str, zone: str, public_key: str) -> Node:
    """One node, up. Not retried here: whether to try again, and where, is the pass's to decide."""
    this = await runtime()
    place = this.providers[provider]
    spec = NodeSpec(
        id=node_id,
        label=label,
        owner=this.owner,
        public_key=public_key,
        request=request,
        zone=zone,
        hostname=f"headgate-{node_id[:12]}",
        image=await image_for(this.images, place, node_id, label),
    )
    return await launch_watched(this.images, place, spec)


async def _launch(this: Runtime, node: StoredNode, public_key: str) -> None:
    try:
        up = await launch_node(node.id, node.label, node.provider, node.request, node.zone, public_key)
    except AtCapacity:
        await this.nodes.no_room(node.request, node.provider)
    except (LaunchFailed, TimeoutError) as problem:
        await this.nodes.failed(node.id, f"{node.provider}: {problem or 'the launch took too long'}")
    else:
        await this.nodes.up(up)
    await this.nodes.decide(await offers(this), new_id)


@effect(name="destroy node", task_run_name="destroy {node_id}", retries=3, retry_delay_seconds=[1, 5, 20], timeout_seconds=600)
async def destroy_node(node_id: str, provider: str) -> None:
    """Take one node away. Retried because clouds refuse deletions for a while; what is left then is housekeeping's."""
    this = await runtime()
    if provider in this.providers:
        await this.providers[provider].destroy(node_id)
    await this.nodes.gone(node_id)


async def release_nodes(request_id: str) -> None:
    """Give back all nodes of a request. Repeatable; never fails: what cannot be destroyed now stays recorded for housekeeping."""
    this = await runtime()
    await this.nodes.release(request_id)
    gone = (destroy_node(node.id, node.provider) for node in await this.nodes.nodes_of(request_id) if node.state == "deleting")
    outcomes = await asyncio.gather(*gone, return_exceptions=True)
    if outcomes and await this.nodes.open_requests():
        await this.nodes.decide(await offers(this), new_id)  # what was given back may be what somebody waits for
    for outcome in outcomes:
        if isinstance(outcome, BaseException) and not isinstance(outcome, DestroyFailed):
            raise outcome


@flow(name="provision-nodes", flow_run_name="nodes for {build_name}", validate_parameters=False)
@cancellable
async def provision_nodes(request_id: str, build_name: str, public_key: str) -> list[Node]:
    """The request's nodes in the order of its labels, for this build alone. Raises `NodeFailure`."""
    this = await runtime()
    launches: dict[str, asyncio.Task[None]] = {}
    try:
        async with this.store.watch(request_topic(request_id)) as changed:
            await this.nodes.decide(await offers(this), new_id)
            while True:
                changed.clear()
                request = await this.nodes.request(request_id)
                if request is None or request.state in ("failed", "released"):
                    raise NodeFailure(request.reason if request and request.state == "failed" else "the request was withdrawn")
                nodes = await this.nodes.nodes_of(request_id)
                if request.state == "fulfilled":
                    await this.nodes.use(request_id)
                    return _in_order(request.labels, nodes)
                for node in nodes:
                    if node.state == "building" and node.id not in launches:
                        launches[node.id] = asyncio.create_task(_launch(this, node, public_key))
                    elif node.state == "deleting":
                        await destroy_node(node.id, node.provider)
                if not await _wait(changed, launches):
                    await this.nodes.decide(await offers(this), new_id)
    finally:
        for launch in launches.values():
            launch.cancel()
        await asyncio.gather(*launches.values(), return_exceptions=True)


async def _wait(changed: asyncio.Event, launches: dict[str, asyncio.Task[None]]) -> bool:
    """Until the request changed; False when only time has passed. A launch that broke is an error of ours and shown as such."""
    told = asyncio.create_task(changed.wait())
    pending = [launch for launch in launches.values() if not launch.done()]
    done, _ = await asyncio.wait([told, *pending], return_when=asyncio.FIRST_COMPLETED, timeout=PASS_SECONDS)
    told.cancel()
    for launch in done - {told}:
        launch.result()
    return bool(done)


def _in_order(labels: tuple[str, ...], nodes: list[StoredNode]) -> list[Node]:
    shelf = [stored for stored in nodes if stored.node is not None and stored.state in ("ready", "in-use")]
    found: list[Node] = []
    for label in labels:
        stored = next(candidate for candidate in shelf if candidate.label == label)
        shelf.remove(stored)
        assert stored.node is not None
        found.append(stored.node)
    return found
