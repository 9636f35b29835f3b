"""What a build costs beside bare Ansible: one trivial playbook, pre/run/post, and many builds at once, over ssh to nodes on this machine.

    python -m benchmarks.executor [repetitions]

Bare is `ansible-playbook` with the same settings for ssh (pipelining, one connection kept), once for each playbook. Ours is a whole
build: directories, agent, workspace pushed, playbooks under ansible-runner in the sandbox, console, and everything taken away again.
Both in turn, after a warm-up of each; medians. Processor time is that of everything but the nodes, by a cgroup of our own (as root;
else it is left out).
"""

from __future__ import annotations

import asyncio
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import ExitStack, asynccontextmanager
from pathlib import Path

from benchmarks.measuring import Meter
from headgate.changes import Change
from headgate.inventory import BuildFacts, ItemChange, ProjectState
from headgate.jobs import FrozenJob, Nodeset, NodeUse, Playbook
from tasks.git import Caches
from tasks.playbooks import BuildPlan, run_build, sources_of
from tests.services.sshd import SshNode, sshd_node

PROJECT = "review.example.org/org/project"
PLAYBOOK = "- hosts: all\n  gather_facts: false\n  tasks:\n    - command: echo hello\n"
NAMES = ("pre", "run", "post")
AT_ONCE = 20


class Case:
    """The same work both ways, on one of the nodes."""

    def __init__(self, root: Path, servers: list[SshNode], caches: Caches, commit: str) -> None:
        self.root, self.servers, self.caches, self.commit = root, servers, caches, commit
        self.count = 0

    async def bare(self, playbooks: tuple[str, ...], number: int = 0) -> None:
        server = self.servers[number]
        node, root = server.node, self.root / f"bare-{number}"
        root.mkdir(exist_ok=True)
        hosts = root / "known_hosts"
        hosts.write_text(f"[{node.host}]:{node.port} {node.host_keys[0]}\n")
        (root / "inventory.yaml").write_text(
            f"all: {{hosts: {{primary: {{ansible_host: {node.host}, ansible_port: {node.port}, ansible_user: {node.username}, "
            f"ansible_ssh_private_key_file: {server.private_key}, ansible_python_interpreter: {node.python_path}}}}}}}\n"
        )
        (root / "ansible.cfg").write_text(
            "[connection]\npipelining = True\n[ssh_connection]\npipelining = True\n"
            f"ssh_args = -F none -o ControlMaster=auto -o ControlPersist=5s -o UserKnownHostsFile={hosts}\n"
        )
        for name in playbooks:
            process = await asyncio.create_subprocess_exec(
                *(str(Path(sys.executable).parent / "ansible-playbook"), "-i", str(root / "inventory.yaml")),
                str(self.root / f"upstream/{name}.yaml"),
                env={
                    **os.environ,
                    "ANSIBLE_CONFIG": str(root / "ansible.cfg"),
                    "PATH": f"{Path(sys.executable).parent}:/usr/bin:/bin",
                },
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,  # a kept ssh connection would keep ours open
            )
            assert await process.wait() == 0

    async def ours(self, playbooks: tuple[str, ...], number: int = 0) -> None:
        server = self.servers[number]
        self.count += 1
        found = {name: Playbook(PROJECT, "main", f"{name}.yaml", trusted=name != "run") for name in playbooks}
        job = FrozenJob(
            "benchmark",
            pre_run=(found["pre"],) if "pre" in found else (),
            run=(found["run"],),
            post_run=(found["post"],) if "post" in found else (),
            nodesets=(Nodeset("one", (NodeUse(("primary",), "test"),)),),
        )
        change = Change("review", "org/project", "main", 1, 1, "refs/changes/01/1/1", self.commit)
        items, projects = (ItemChange(change, PROJECT),), (ProjectState(PROJECT, self.commit, "main"),)
        facts = BuildFacts(f"build-{self.count}", "buildset", "event", "tenant", "check", items, projects)
        plan = BuildPlan(
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
        outcome = await run_build(plan)
        assert outcome.verdict.result == "SUCCESS", (plan.directory / "console.log").read_text()


@asynccontextmanager
async def case(root: Path) -> AsyncIterator[Case]:
    upstream = root / "upstream"
    git = ("git", "-C", str(upstream), "-c", "user.name=x", "-c", "user.email=x@example.org")
    subprocess.run(["git", "init", "-q", "-b", "main", str(upstream)], check=True)
    for name in NAMES:
        (upstream / f"{name}.yaml").write_text(PLAYBOOK)
    subprocess.run([*git, "add", "-A"], check=True)
    subprocess.run([*git, "commit", "-q", "-m", "playbooks"], check=True)
    caches = Caches(root / "caches")
    await caches.fetch(PROJECT, str(upstream))
    with ExitStack() as stack:
        servers = [stack.enter_context(sshd_node(root, id=f"node-{number}")) for number in range(AT_ONCE)]
        yield Case(root, servers, caches, await caches.resolve(PROJECT, "main"))


async def measure(meter: Meter, act: Callable[[], Awaitable[object]]) -> tuple[float, float]:
    began, spent = time.monotonic(), meter.seconds()
    await act()
    return time.monotonic() - began, meter.seconds() - spent


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
            finally:
                meter.close()


if __name__ == "__main__":
    asyncio.run(main(int(sys.argv[1]) if len(sys.argv) > 1 else 5))
