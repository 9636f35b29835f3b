"""How fast nodes come: python -m benchmarks.nodes [--namespace TREE]

The allocator with 10,000 waiting requests; 2,000 nodes through the contract fake with launches of realistic length; with a tree, namespace
nodes until SSH answers.
"""

from __future__ import annotations

import argparse
import asyncio
import statistics
import tempfile
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path

import asyncssh

from headgate.nodes import Capacity, Launch, NodeRecord, NodeState, Offer, Request, Size, decide, share_fairly
from providers import registry
from providers.base import NodeSpec
from providers.fake import FakeCloud, FakeProvider, FakeSettings

NOW = datetime(2026, 11, 23, tzinfo=UTC)


def say(name: str, seconds: list[float]) -> None:
    ordered = sorted(seconds)
    p50, p99 = statistics.median(ordered), ordered[min(len(ordered) - 1, len(ordered) * 99 // 100)]
    print(f"{name}: p50 {p50 * 1000:.1f} ms, p99 {p99 * 1000:.1f} ms ({len(ordered)} times)")


def allocator(waiting: int = 10_000) -> None:
    labels = [f"label-{number}" for number in range(20)]
    offers = [Offer(f"cloud-{number}", {label: Size(8, 8192) for label in labels}, Capacity(nodes=100)) for number in range(10)]
    requests = [
        Request(f"{number:05}", (labels[number % 20],) * (1 + number % 3), NOW - timedelta(seconds=number % 4000))
        for number in range(waiting)
    ]
    shared = share_fairly(requests, {request.id: f"project-{number % 60}" for number, request in enumerate(requests)})
    for name, taken in (("full", 1000), ("half free", 500)):
        nodes = [
            NodeRecord(f"node-{number}", labels[number % 20], f"cloud-{number % 10}", NodeState.IN_USE, request="x")
            for number in range(taken)
        ]
        times = []
        for _ in range(20):
            start = time.process_time()  # a pass waits for nothing: other programs on this machine are not its affair
            decide(shared, nodes, offers, NOW)
            times.append(time.process_time() - start)
        say(f"allocator (processor time), {waiting} requests wait, providers {name}", times)


async def through_the_fake(count: int = 2000, delay: float = 30.0) -> None:
    """Requests of one node each, jobs of no length, launches of `delay` seconds played 100 times as fast."""
    clouds = [
        FakeProvider(FakeSettings(name=f"cloud-{n}", labels={"small": Size(8, 8192)}, max_servers=100, delay=delay / 100), FakeCloud())
        for n in range(4)
    ]
    waiting = {f"{number:05}": Request(f"{number:05}", ("small",), NOW) for number in range(count)}
    nodes: dict[str, NodeRecord] = {}
    decided: list[float] = []
    places = {cloud.name: cloud for cloud in clouds}
    offers = [await registry.offer(cloud) for cloud in clouds]
    running: set[asyncio.Task[str]] = set()

    async def live(action: Launch) -> str:
        await places[action.provider].launch(NodeSpec(action.request, "small", "benchmark", "ssh-ed25519 AAAA"))
        await places[action.provider].destroy(action.request)
        return action.request

    start = time.perf_counter()
    while waiting or running:
        before = time.perf_counter()
        plan = decide(list(waiting.values()), list(nodes.values()), offers, NOW)
        decided.append(time.perf_counter() - before)
        for action in plan.actions:
            if isinstance(action, Launch):
                waiting.pop(action.request)
                nodes[action.request] = NodeRecord(action.request, "small", action.provider, NodeState.BUILDING, request=action.request)
                running.add(asyncio.create_task(live(action)))
        done, running = await asyncio.wait(running, return_when=asyncio.FIRST_COMPLETED)
        for task in done:
            nodes.pop(task.result())
    wall = time.perf_counter() - start
    print(f"{count} nodes of {delay:.0f} s at 400 places, 100 times as fast: {wall:.1f} s (at least {count / 400 * delay / 100:.1f} s)")
    say(f"decisions, {sum(decided):.2f} s together", decided)


async def namespace(tree: Path, count: int = 40) -> None:
    key = asyncssh.generate_private_key("ssh-ed25519").export_public_key().decode().strip()
    with tempfile.TemporaryDirectory() as directory:
        provider = registry.create(
            {"name": "here", "driver": "namespace", "labels": [{"name": "small", "tree": str(tree)}]}, Path(directory)
        )
        up, gone = [], []
        for number in range(count):
            start = time.perf_counter()
            await provider.launch(NodeSpec(f"node-{number}", "small", "benchmark", key))
            up.append(time.perf_counter() - start)
            start = time.perf_counter()
            await provider.destroy(f"node-{number}")
            gone.append(time.perf_counter() - start)
    say("namespace, until SSH answers", up)
    say("namespace, destroyed", gone)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--namespace", type=Path, help="a tree of files with sshd and a user zuul; takes root")
    options = parser.parse_args()
    allocator()
    asyncio.run(through_the_fake())
    if options.namespace:
        asyncio.run(namespace(options.namespace))


if __name__ == "__main__":
    main()
