"""How fast nodes come: python -m benchmarks.nodes [--machines COUNT]

The allocator with 10,000 waiting requests; 2,000 nodes through the contract fake with launches of realistic length; with
`--machines`, nodes on this machine until they can be used: namespace, and virtual machines that resume beside such that boot.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import statistics
import tempfile
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import asyncssh

from headgate.node_allocation import decide, share_fairly
from headgate.nodes import Capacity, Launch, NodeRecord, NodeState, Offer, Request, Size
from providers import qemu_machine, registry
from providers.base import Node, NodeSpec
from providers.fake import FakeCloud, FakeProvider, FakeSettings
from providers.locks import Process
from providers.ssh import logged_in
from tests.services import machines

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


def processor_seconds(node: Node) -> float | None:
    """What the machine's process has used since it began, whatever else this computer did; None for nodes of other kinds."""
    process = Process.read(Path(node.external_id) / "process.json")
    if process is None:
        return None
    fields = Path(f"/proc/{process.pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


async def until_ssh(title: str, driver: dict[str, Any], label: dict[str, Any], count: int) -> None:
    """One node after the other: until `launch` returns, until the first command by SSH has run, until it is destroyed."""
    key = asyncssh.generate_private_key("ssh-ed25519")
    public = key.export_public_key().decode().strip()
    up, used, gone, worked = [], [], [], []
    with tempfile.TemporaryDirectory() as directory:
        provider = registry.create({"name": "here", "labels": [{"name": "small"} | label]} | driver, Path(directory))
        for number in range(-1, count):  # the first one saves the machine that the others go on from, or fills caches
            start = time.perf_counter()
            node = await provider.launch(NodeSpec(f"node-{number}", "small", "benchmark", public))
            launched = time.perf_counter()
            async with logged_in(node.host, node.port, node.username, key, node.host_keys, 120) as connection:
                await connection.run("true", check=True)
            ran = time.perf_counter()
            work = processor_seconds(node)
            await provider.destroy(node.id)
            if number < 0:
                print(f"{title}, the first one: {launched - start:.1f} s")
                continue
            up.append(launched - start)
            used.append(ran - start)
            gone.append(time.perf_counter() - ran)
            worked += [] if work is None else [work]
    say(f"{title}, until SSH answers", up)
    say(f"{title}, until a command has run by SSH", used)
    say(f"{title}, destroyed", gone)
    if worked:
        say(f"{title}, processor time of the machine until then", worked)


async def machines_here(count: int) -> None:
    """Namespace nodes of a small Debian, virtual machines of it that go on from a saved one, and as the baseline ones that boot."""
    disk, kernel, initrd = machines.disk()
    label = {"file": str(disk), "kernel": str(kernel), "initrd": str(initrd), "ram": 512}
    label["kernel-arguments"] = "root=LABEL=root ro console=ttyS0 quiet mitigations=off audit=0 random.trust_cpu=1"
    print(f"virtual machines: {qemu_machine.choose('auto')}; load {os.getloadavg()[0]:.1f}")
    await until_ssh("namespace", {"driver": "namespace"}, {"tree": str(machines.tree())}, count)
    await until_ssh("qemu, resumed", {"driver": "qemu"}, label, count)
    await until_ssh("qemu, booted", {"driver": "qemu", "resume": False}, label, max(1, count // 10))
    print(f"load {os.getloadavg()[0]:.1f}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--machines", type=int, default=0, metavar="COUNT", help="nodes here, of a Debian made for it; takes root")
    options = parser.parse_args()
    allocator()
    asyncio.run(through_the_fake())
    if options.machines:
        asyncio.run(machines_here(options.machines))


if __name__ == "__main__":
    main()
