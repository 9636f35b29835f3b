"""From the push to the vote, beside bare `ansible-playbook` of the same play: wall time, processor time, memory.

    python -m benchmarks.vote [repetitions]

A whole Headgate (`headgate up`: PostgreSQL, Prefect's server, scheduler, web, worker) with a local git connection and a node reached by ssh
on this machine. The clock runs from the end of `git push` until the vote is recorded. Bare is `ansible-playbook` over ssh with the same
settings. Processor time is that of every process of Headgate (the node's are in neither), by a cgroup of its own: run it as root. One
warm-up, medians.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import psutil
import yaml

from benchmarks.measuring import Bare, Meter
from deployments.gerrit import free_port
from tasks.database import Listener, open_engine
from tasks.installation import database_url, read_settings
from tasks.local_reviews import Reviews
from tasks.store import Store
from tests.services.sshd import SshNode, sshd_node

PLAY = "- hosts: all\n  gather_facts: false\n  tasks:\n    - command: echo hello\n"
MANY_JOBS, MANY_CHANGES = 20, 50
CONFIG = f"""
- pipeline:
    name: check
    manager: independent
    trigger: {{review: {{event: patchset-created}}}}
    success: {{review: {{Verified: 1}}}}
    failure: {{review: {{Verified: -1}}}}
- job: {{name: base, parent: null, run: play.yaml, nodeset: {{nodes: [{{name: node, label: node}}]}}}}
{"".join(f"- job: {{name: job-{n}}}{chr(10)}" for n in range(MANY_JOBS))}
- project: {{name: nothing, check: {{jobs: [noop]}}}}
- project: {{name: one, check: {{jobs: [job-0]}}}}
- project: {{name: many, check: {{jobs: [{", ".join(f"job-{n}" for n in range(MANY_JOBS))}]}}}}
"""
PROJECTS = ("nothing", "one", "many")


def git(directory: Path, *arguments: str) -> str:
    who = ("-c", "user.name=x", "-c", "user.email=x@example.org", "-c", "init.defaultBranch=main")
    return subprocess.run(["git", *who, *arguments], cwd=directory, check=True, capture_output=True, text=True).stdout


class World:
    """A running Headgate and clones of its projects."""

    def __init__(self, root: Path, store: Store, process: subprocess.Popen[bytes], node: SshNode) -> None:
        self.root, self.store, self.process, self.node = root, store, process, node
        self.count = 0

    def commit(self, project: str, changes: int) -> list[str]:
        """Changes that do not depend on each other; they are what to push."""
        clone = self.root / project
        refs = []
        for _ in range(changes):
            git(clone, "checkout", "-q", "--detach", "origin/main")
            self.count += 1
            (clone / f"file-{self.count}").write_text("x")
            git(clone, "add", "-A")
            git(clone, "commit", "-q", "-m", f"Change {self.count}\n\nChange-Id: I{self.count:040x}")
            git(clone, "tag", f"change-{self.count}")
            refs.append(f"change-{self.count}:refs/for/main%topic=change-{self.count}")
        return refs

    async def vote(self, project: str, changes: int = 1) -> tuple[float, float]:
        """Seconds from the end of the push until all votes are there; and until the first is."""
        refs = self.commit(project, changes)
        before = len(await self.store.items())
        git(self.root / project, "push", "-q", "origin", *refs)
        began = time.monotonic()
        first = 0.0
        async with self.store.watch("items") as changed:
            while True:
                changed.clear()
                done = (await self.store.told_items())[before:]
                if done and not first:
                    first = time.monotonic() - began
                if len(done) >= changes:
                    break
                await changed.wait()
        took = time.monotonic() - began
        for item in done:
            reports = await self.store.reports(item.id)
            assert [report.kind for report in reports] == ["SUCCESS"], "\n".join(report.message for report in reports)
        return took, first

    def memory(self) -> float:
        """MB of everything, shared pages counted once."""
        processes = [psutil.Process(self.process.pid), *psutil.Process(self.process.pid).children(recursive=True)]
        processes += [p for p in psutil.process_iter(["cmdline"]) if any(str(self.root) in word for word in p.info["cmdline"] or ())]
        for server in [p for p in processes if p.name() == "postgres"]:
            processes += server.children(recursive=True)
        return sum(p.memory_full_info().pss for p in set(processes) if p.is_running()) / 1e6


@asynccontextmanager
async def world(root: Path, group: Path | None) -> AsyncIterator[World]:
    with sshd_node(root, id="node") as node:
        reviews = Reviews(root / "repositories")
        for project in ("config", *PROJECTS):
            bare = reviews.create_project(project)
            git(root, "clone", "-q", str(bare), str(root / project))
            (root / project / "README").write_text(project)
            if project == "config":
                (root / project / "zuul.yaml").write_text(CONFIG)
                (root / project / "play.yaml").write_text(PLAY)
            git(root / project, "add", "-A")
            git(root / project, "commit", "-q", "-m", "first")
            git(root / project, "push", "-q", "origin", "HEAD:refs/heads/main")
            git(root / project, "fetch", "-q")
        (root / "main.yaml").write_text(
            yaml.safe_dump(
                [
                    {
                        "tenant": {
                            "name": "benchmark",
                            "source": {
                                "review": {"config-projects": [{"config": {"load-branch": "main"}}], "untrusted-projects": list(PROJECTS)}
                            },
                        }
                    }
                ]
            )
        )
        host = {
            "name": node.node.host,
            "labels": ["node"],
            "username": node.node.username,
            "connection-port": node.node.port,
            "host-key": node.node.host_keys[0],
            "python-path": node.node.python_path,
            "private-key": str(node.private_key),
            "authorized-keys-file": "",
            "max-parallel-jobs": MANY_JOBS,
        }
        settings = {
            "state-dir": "state",
            "tenants": "main.yaml",
            "web": {"port": free_port()},
            "prefect": {"port": free_port()},
            "connections": [{"name": "review", "driver": "git", "path": "repositories"}],
            "providers": [{"name": "host", "driver": "static", "nodes": [host]}],
        }
        (root / "headgate.yaml").write_text(yaml.safe_dump(settings, sort_keys=False))
        began = time.monotonic()

        def join() -> None:
            if group is not None:
                (group / "cgroup.procs").write_text(str(os.getpid()))

        with (root / "up.log").open("wb") as log:
            process = subprocess.Popen(
                [str(Path(sys.executable).parent / "headgate"), "up", "--config", str(root / "headgate.yaml")],
                stdout=log,
                stderr=log,
                preexec_fn=join,
            )
        try:
            while b"ready" not in (root / "up.log").read_bytes():
                assert process.poll() is None, (root / "up.log").read_text()
                await asyncio.sleep(0.05)
            print(f"headgate up: ready after {time.monotonic() - began:.1f} s", flush=True)
            url = database_url(read_settings(root / "headgate.yaml"))
            listener = Listener(url)
            await listener.start()
            store = Store(open_engine(url), listener)
            yield World(root, store, process, node)
            await store.close()
        finally:
            process.send_signal(signal.SIGTERM)
            process.wait(60)


def median(rows: list[tuple[float, ...]]) -> list[float]:
    return [statistics.median(column) for column in zip(*rows, strict=True)]


async def settle(seconds: Callable[[], float]) -> None:
    """Until Headgate is idle, so that the last run's echoes are not counted for the next."""
    while True:
        before = seconds()
        await asyncio.sleep(1)
        if not seconds() - before > 0.08:
            return


async def main(repetitions: int) -> None:
    with tempfile.TemporaryDirectory(prefix="headgate-benchmark-") as name, contextlib.closing(Meter("ours", join=False)) as ours_meter:
        root = Path(name)
        with contextlib.closing(Meter("bare")) as bare_meter:
            async with world(root, ours_meter.group) as here:
                bare, play = Bare(root / "bare", here.node), root / "play.yaml"
                play.write_text(PLAY)

                async def ours(project: str, changes: int = 1) -> tuple[float, float, float]:
                    await settle(ours_meter.seconds)
                    spent, began = ours_meter.seconds(), time.monotonic()
                    wall, first = await here.vote(project, changes)
                    await settle(ours_meter.seconds)
                    return wall, ours_meter.seconds() - spent - idle * (time.monotonic() - began), first

                async def theirs(count: int = 1) -> tuple[float, float]:
                    spent, began = bare_meter.seconds(), time.monotonic()
                    await asyncio.gather(*(bare.run(play) for _ in range(count)))
                    return time.monotonic() - began, bare_meter.seconds() - spent

                for project in PROJECTS[:2]:
                    await here.vote(project)
                await bare.run(play)
                print(f"memory when idle: {here.memory():.0f} MB")
                spent, began = ours_meter.seconds(), time.monotonic()
                await asyncio.sleep(10)
                idle = (ours_meter.seconds() - spent) / (time.monotonic() - began)
                print(f"when idle: {idle * 100:.1f} % of one core; the CPU figures below are beyond that")
                wall, cpu, _ = median([await ours("nothing") for _ in range(repetitions)])
                print(f"noop job: push to vote {wall:.2f} s, {cpu:.2f} CPU s   (targets 0.5 and 0.4)", flush=True)
                pairs = [(*await ours("one"), *await theirs()) for _ in range(repetitions)]
                wall, cpu, _, bare_wall, bare_cpu = median(pairs)
                print(
                    f"one trivial job: push to vote {wall:.2f} s, {cpu:.2f} CPU s; bare {bare_wall:.2f} s, {bare_cpu:.2f} CPU s   "
                    f"(target {1.3 * bare_wall + 0.5:.2f} s)",
                    flush=True,
                )
                pairs = [(*await ours("many"), *await theirs(MANY_JOBS)) for _ in range(min(3, repetitions))]
                wall, cpu, _, bare_wall, bare_cpu = median(pairs)
                print(
                    f"{MANY_JOBS} such jobs in one change: {wall:.2f} s, {cpu:.2f} CPU s; {MANY_JOBS} bare at once {bare_wall:.2f} s, "
                    f"{bare_cpu:.2f} CPU s: {cpu / bare_cpu:.2f} times the CPU   (target 1.4)",
                    flush=True,
                )
                wall, cpu, first = await ours("nothing", MANY_CHANGES)
                print(f"{MANY_CHANGES} changes at once: all voted after {wall:.2f} s (the first after {first:.2f} s), {cpu:.2f} CPU s")
                print(f"memory after all this: {here.memory():.0f} MB")


if __name__ == "__main__":
    asyncio.run(main(int(sys.argv[1]) if len(sys.argv) > 1 else 5))
