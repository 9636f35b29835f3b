"""The provision-nodes flow: one build's nodes, from the request to machines that can be logged in to.

Which provider serves the request is decided by `headgate.node_allocation` in a pass over all requests; this flow carries out what was
decided for its own: it launches the nodes, each as a task, and waits until the request is complete or refused. Whatever it launched and
nobody got is recorded and goes away, here or by housekeeping.
"""

from __future__ import annotations

import asyncio
import re

from prefect import flow
from prefect.artifacts import acreate_markdown_artifact

from flows.cancellation import cancellable
from headgate.builds import CANCELED, SUCCESS
from headgate.nodes import Capacity, Offer
from headgate.settings import Settings
from providers.base import AtCapacity, DestroyFailed, LaunchFailed, Node, NodeSpec
from providers.registry import offer
from tasks.effects import effect
from tasks.hurrying import fill_soon
from tasks.image_boots import image_for, launch_watched
from tasks.node_keys import hand_over
from tasks.node_store import NodeStore, StoredNode, request_topic
from tasks.runtime import Runtime, runtime
from tasks.store import new_id

LAUNCH_SECONDS = 7200
"""How long one launch may take whatever its provider's `launch-timeout` says."""

PASS_SECONDS = 30.0
"""A request that waits for room is told when there is some; this is for a notification that got lost."""


class NodeFailure(Exception):
    """No provider can give the build its nodes; one sentence why. Zuul's NODE_FAILURE."""


CONSOLE_CHARACTERS = 50_000


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
    try:
        return await launch_watched(this.images, place, spec)
    except LaunchFailed as problem:
        if problem.console:
            await keep_console(place.name, label, str(problem), problem.console)
        raise


async def keep_console(provider: str, label: str, problem: str, console: str) -> None:
    """What a node said that did not come up, as an artifact of this run in Prefect's UI."""
    key = re.sub(r"[^a-z0-9]+", "-", f"console-{provider}-{label}".lower()).strip("-")
    text = console[-CONSOLE_CHARACTERS:].replace("```", '"""')
    await acreate_markdown_artifact(markdown=f"{problem}\n\n```\n{text}\n```\n", key=key, description=f"Console of {label} at {provider}")


_passes: dict[NodeStore, asyncio.Task[None]] = {}


async def decide(this: Runtime) -> None:
    """A pass over all requests, begun after this call. Whoever asks while one is about to begin shares it, so that many that wait do
    not make many passes."""

    async def one_pass() -> None:
        try:
            known = await offers(this)
        finally:
            _passes.pop(this.nodes, None)
        await this.nodes.decide(known, new_id, tenant_limits(this.settings))

    if this.nodes not in _passes:
        _passes[this.nodes] = asyncio.create_task(one_pass(), name="pass over node requests")
    await asyncio.shield(_passes[this.nodes])


def tenant_limits(settings: Settings) -> dict[str, Capacity]:
    return {
        limit.tenant_name: Capacity(limit.max_servers, limit.max_cores, limit.max_ram, limit.max_volumes, limit.max_volume_gb)
        for limit in settings.tenant_resource_limits
    }


async def _launch(this: Runtime, node: StoredNode, public_key: str) -> None:
    try:
        up = await launch_node(node.id, node.label, node.provider, node.request, node.zone, public_key)
    except AtCapacity:
        await this.nodes.no_room(node.request, node.provider)
    except (LaunchFailed, TimeoutError) as problem:
        await this.nodes.failed(node.id, f"{node.provider}: {problem or 'the launch took too long'}")
    else:
        await this.nodes.up(up)
    await decide(this)


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
    await _hold_for_people(this, request_id)
    await this.nodes.release(request_id)
    gone = (destroy_node(node.id, node.provider) for node in await this.nodes.nodes_of(request_id) if node.state == "deleting")
    outcomes = await asyncio.gather(*gone, return_exceptions=True)
    if outcomes and await this.nodes.open_requests():
        await decide(this)  # what was given back may be what somebody waits for
    for outcome in outcomes:
        if isinstance(outcome, BaseException) and not isinstance(outcome, DestroyFailed):
            raise outcome


async def _hold_for_people(this: Runtime, request_id: str) -> None:
    """If it is the request of a build that failed, and somebody asked for that: its nodes stay."""
    build = await this.store.build(request_id)
    if build is None or build.result in (None, SUCCESS, CANCELED):
        return
    buildset = await this.store.buildset(build.buildset)
    item = await this.store.item(buildset.item) if buildset is not None else None
    if item is not None:
        await this.nodes.holds.hold_nodes_of(request_id, item.tenant, item.change.project, build.job, str(item.change))


async def _hand_over(this: Runtime, nodes: list[StoredNode], public_key: str) -> bool:
    """Nodes that were launched ahead get the build's key in place of their own. False when one of them is no good after all."""
    ahead = [node.node for node in nodes if node.ahead and node.node is not None]
    problems = await asyncio.gather(*(hand_over(this.settings.state, this.home, node, public_key) for node in ahead))
    for node, problem in zip(ahead, problems, strict=True):
        if problem:
            await this.nodes.reject(node.id, problem)
    return not any(problems)


@flow(name="provision-nodes", flow_run_name="nodes for {build_name}", validate_parameters=False, persist_result=False)
@cancellable
async def provision_nodes(request_id: str, build_name: str, public_key: str) -> list[Node]:
    """The request's nodes in the order of its labels, for this build alone. Raises `NodeFailure`."""
    this = await runtime()
    launches: dict[str, asyncio.Task[None]] = {}
    try:
        async with this.store.watch(request_topic(request_id)) as changed:
            await decide(this)
            while True:
                changed.clear()
                request = await this.nodes.request(request_id)
                if request is None or request.state in ("failed", "released"):
                    raise NodeFailure(request.reason if request and request.state == "failed" else "the request was withdrawn")
                nodes = await this.nodes.nodes_of(request_id)
                if request.state == "fulfilled":
                    if not await _hand_over(this, nodes, public_key):
                        await decide(this)
                        continue
                    await this.nodes.use(request_id)
                    if any(node.ahead for node in nodes):
                        await fill_soon(this, f"after {build_name}", request_id)
                    return _in_order(request.labels, nodes)
                for node in nodes:
                    if node.state == "building" and node.id not in launches:
                        launches[node.id] = asyncio.create_task(_launch(this, node, public_key))
                    elif node.state == "deleting":
                        await destroy_node(node.id, node.provider)
                if not await _wait(changed, launches):
                    await decide(this)
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
