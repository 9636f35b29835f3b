"""What a build costs beside bare Ansible: one trivial playbook, pre/run/post, and many builds at once, over ssh to nodes on this machine.

    python -m benchmarks.executor [repetitions]
    python -m benchmarks.executor waiting [builds]      # many that mostly wait: memory of each, processor time while nothing happens

Bare is `ansible-playbook` with the same settings for ssh (pipelining, one connection kept), once for each playbook. Ours is a whole
build: directories, agent, workspace pushed, playbooks under ansible-runner in the sandbox, console, and everything taken away again.
Both in turn, after a warm-up of each; medians. Processor time is that of everything but the nodes, by a cgroup of our own (as root;
else it is left out).
"""

from __future__ import annotations

import asyncio
import contextlib
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import ExitStack, asynccontextmanager
from pathlib import Path
from types import MappingProxyType

import psutil

from benchmarks.measuring import Bare, Meter
from headgate.build_facts import BuildFacts, ItemChange, ProjectState
from headgate.changes import Change
from headgate.jobs import FrozenJob, Nodeset, NodeUse, Playbook
from tasks.git import Caches
from tasks.playbooks import BuildPlan, run_build, sources_of
from tests.services.sshd import SshNode, sshd_node
from tests.services.workshop import processes

PROJECT = "review.example.org/org/project"
PLAYBOOK = "- hosts: all\n  gather_facts: false\n  tasks:\n    - command: echo hello\n"
WAITING = "- hosts: all\n  gather_facts: false\n  tasks:\n    - command: sleep 7654\n"
NAMES = ("pre", "run", "post")
NO_MORE: Mapping[str, str] = MappingProxyType({})
IDLE_SECONDS = 20.0
AT_ONCE = 20


class Case:
    """The same work both ways, on one of the nodes."""

    def __init__(self, root: Path, servers: list[SshNode], caches: Caches, commit: str) -> None:
        self.root, self.servers, self.caches, self.commit = root, servers, caches, commit
        self.count = 0

    async def bare(self, playbooks: tuple[str, ...], number: int = 0) -> None:
        bare = Bare(self.root / f"bare-{number}", self.servers[number])
        for name in playbooks:
            await bare.run(self.root / f"upstream/{name}.yaml")

    async def ours(self, playbooks: tuple[str, ...], number: int = 0) -> None:
        await self.build(self.plan(playbooks, self.servers[number]))

    async def build(self, plan: BuildPlan) -> None:
        outcome = await run_build(plan)
        assert outcome.verdict.result == "SUCCESS", (plan.directory / "console.log").read_text()

    def plan(self, playbooks: tuple[str, ...], server: SshNode) -> BuildPlan:
        self.count += 1
        found = {name: Playbook(PROJECT, "main", f"{name}.yaml", trusted=name != "run") for name in playbooks}
        job = FrozenJob(
            "benchmark",
            pre_run=(found["pre"],) if "pre" in found else (),
            run=tuple(playbook for name, playbook in found.items() if name not in ("pre", "post")),
            post_run=(found["post"],) if "post" in found else (),
            nodesets=(Nodeset("one", (NodeUse(("primary",), "test"),)),),
        )
        change = Change("review", "org/project", "main", 1, 1, "refs/changes/01/1/1", self.commit)
        items, projects = (ItemChange(change, PROJECT),), (ProjectState(PROJECT, self.commit, "main"),)
        facts = BuildFacts(f"build-{self.count}", "buildset", "event", "tenant", "check", items, projects)
        return BuildPlan(
            job=job,
            facts=facts,
            nodeset=job.nodesets[0],
            nodes={"primary": server.node},
            sources=dict.fromkeys(sources_of(job), self.commit),
            directory=self.root / facts.build,
            caches=self.caches,
            exports=self.root / "exports",
            private_key=server.private_key,
        )


@asynccontextmanager
async def case(root: Path, nodes: int = AT_ONCE, playbooks: Mapping[str, str] = NO_MORE) -> AsyncIterator[Case]:
    """`playbooks` are further ones, by the names that a case calls them by."""
    upstream = root / "upstream"
    git = ("git", "-C", str(upstream), "-c", "user.name=x", "-c", "user.email=x@example.org")
    subprocess.run(["git", "init", "-q", "-b", "main", str(upstream)], check=True)
    for name, text in {**dict.fromkeys(NAMES, PLAYBOOK), "wait": WAITING, **playbooks}.items():
        (upstream / f"{name}.yaml").write_text(text)
    subprocess.run([*git, "add", "-A"], check=True)
    subprocess.run([*git, "commit", "-q", "-m", "playbooks"], check=True)
    caches = Caches(root / "caches")
    await caches.fetch(PROJECT, str(upstream))
    with ExitStack() as stack:
        servers = [stack.enter_context(sshd_node(root, id=f"node-{number}")) for number in range(nodes)]
        yield Case(root, servers, caches, await caches.resolve(PROJECT, "main"))


async def measure(meter: Meter, act: Callable[[], Awaitable[object]]) -> tuple[float, float]:
    began, spent = time.monotonic(), meter.seconds()
    await act()
    return time.monotonic() - began, meter.seconds() - spent


def held() -> float:
    """Proportional memory (PSS, in bytes) of this process and all its descendants but the nodes; what they share is counted once."""
    total, nodes = 0.0, set[int]()
    for process in [(own := psutil.Process()), *own.children(recursive=True)]:  # one look at all: parents come before their children
        with contextlib.suppress(psutil.Error):
            if process.ppid() in nodes or process.name() == "sshd":
                nodes.add(process.pid)
            else:
                total += process.memory_full_info().pss
    return total


async def waiting(count: int) -> None:
    """Builds of which each waits for a command on its node."""
    with tempfile.TemporaryDirectory(prefix="headgate-benchmark-") as name:
        async with case(Path(name), nodes=count) as one:
            meter = Meter()
            try:
                await one.ours(("run",))
                before, began = held(), time.monotonic()
                plans = [one.plan(("wait",), one.servers[number]) for number in range(count)]
                builds = [asyncio.create_task(run_build(plan)) for plan in plans]
                while len(processes("sleep 7654")) < count:
                    await asyncio.sleep(0.2)
                started, memory, spent = time.monotonic() - began, held() - before, meter.seconds()
                await asyncio.sleep(IDLE_SECONDS)
                idle = (meter.seconds() - spent) / IDLE_SECONDS
                print(
                    f"{count} builds that wait: all up after {started:.1f} s; {memory / count / 1e6:.1f} MB each; "
                    f"{idle * 100:.1f} % of one core for all"
                )
                began = time.monotonic()
                for build in builds:
                    build.cancel()
                await asyncio.gather(*builds, return_exceptions=True)
                print(f"all cancelled after {time.monotonic() - began:.1f} s")
            finally:
                meter.close()


async def cancelled(one: Case) -> float:
    """Seconds from the cancellation of a build that waits for a command on its node until nothing of both runs any more."""
    build = asyncio.create_task(run_build(one.plan(("wait",), one.servers[0])))
    while not processes("sleep 7654"):
        await asyncio.sleep(0.05)
    began = time.monotonic()
    build.cancel()
    await asyncio.gather(build, return_exceptions=True)
    while processes("sleep 7654"):
        await asyncio.sleep(0.01)
    return time.monotonic() - began


def show(title: str, bare: list[tuple[float, float]], ours: list[tuple[float, float]]) -> None:
    (bare_wall, bare_cpu), (wall, cpu) = ([statistics.median(column) for column in zip(*rows, strict=True)] for rows in (bare, ours))
    print(
        f"{title:34} wall {bare_wall:6.2f} s bare, {wall:6.2f} s ours: {wall / bare_wall:4.2f}   "
        f"cpu {bare_cpu:6.2f} s bare, {cpu:6.2f} s ours: {cpu / bare_cpu:4.2f}",
        flush=True,
    )


async def main(repetitions: int) -> None:
    with tempfile.TemporaryDirectory(prefix="headgate-benchmark-") as name:
        async with case(Path(name)) as one:
            meter = Meter()
            try:
                began = await measure(meter, lambda: one.ours(("run",)))
                print(f"first build, with the start of the warm process: wall {began[0]:.2f} s, cpu {began[1]:.2f} s")
                await one.bare(("run",))
                for title, playbooks in (("one trivial playbook", ("run",)), ("pre, run, post", NAMES)):
                    bare, ours = [], []
                    for _ in range(repetitions):
                        bare.append(await measure(meter, lambda playbooks=playbooks: one.bare(playbooks)))
                        ours.append(await measure(meter, lambda playbooks=playbooks: one.ours(playbooks)))
                    show(title, bare, ours)
                bare = [await measure(meter, lambda: asyncio.gather(*(one.bare(("run",), number) for number in range(AT_ONCE))))]
                ours = [await measure(meter, lambda: asyncio.gather(*(one.ours(("run",), number) for number in range(AT_ONCE))))]
                show(f"{AT_ONCE} trivial builds at once", bare, ours)
                gone = sorted([await cancelled(one) for _ in range(repetitions)])
                middle, last = gone[len(gone) // 2], gone[-1]
                print(f"cancelled while its node works: all gone, on the node too, after {middle:.2f} s, at most {last:.2f} s")
            finally:
                meter.close()


if __name__ == "__main__":
    if sys.argv[1:2] == ["waiting"]:
        asyncio.run(waiting(int(sys.argv[2]) if len(sys.argv) > 2 else 50))
    else:
        asyncio.run(main(int(sys.argv[1]) if len(sys.argv) > 1 else 5))
