"""Builds for tests: write playbooks, get a plan, run it, read its console.

workshop = await Workshop.open(tmp_path)
plan = await workshop.plan(run="- hosts: all\n  tasks: [...]", nodes={"primary": workshop.local_node()})
outcome = await run_build(plan)
workshop.console(plan)   # lines without their times
"""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
from collections.abc import AsyncIterator, Mapping
from pathlib import Path
from typing import Any

from headgate.build_facts import BuildFacts, ItemChange, ProjectState
from headgate.changes import Change
from headgate.jobs import FrozenJob, GroupUse, Nodeset, NodeUse, Playbook, RoleSource
from headgate.results import Outcome, Phase, Played, following
from providers.base import Node
from tasks.git import Caches
from tasks.playbooks import Build, BuildPlan, sources_of
from tests.services.upstream import Upstream

PROJECT = "review.example.org/org/nova"


def tasks(*lines: str, hosts: str = "all") -> str:
    """A playbook of one play; each line is one task in YAML's flow style."""
    return f"- hosts: {hosts}\n  gather_facts: false\n  tasks:\n" + "".join(f"    - {line}\n" for line in lines)


def processes(marker: str) -> list[int]:
    """Ids of the processes of this machine (sandboxes and test nodes included) with this text in their command line."""
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            with contextlib.suppress(OSError):  # ended meanwhile
                if marker in (entry / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace"):
                    found.append(int(entry.name))
    return found


def inside(directory: Path) -> list[int]:
    """Ids of the processes in sandboxes that show something of `directory`."""
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            with contextlib.suppress(OSError):
                if f" {directory}" in (entry / "mountinfo").read_text():
                    found.append(int(entry.name))
    return found


async def until_running(marker: str) -> None:
    while not processes(marker):
        await asyncio.sleep(0.01)


async def until_gone(marker: str) -> None:
    while processes(marker):
        await asyncio.sleep(0.01)


class Workshop:
    def __init__(self, root: Path) -> None:
        self.root = root
        self.upstream = Upstream(root / "upstream")
        self.caches = Caches(root / "caches")
        self.count = 0

    def local_node(self, name: str = "home") -> Node:
        home = self.root / "nodes" / name
        home.mkdir(parents=True)
        return Node(name, "local", "test", name, "local", "localhost", 0, "", str(home))

    async def plan(
        self,
        *,
        pre: str | tuple[str, ...] = (),
        run: str | tuple[str, ...] = (),
        post: str | tuple[str, ...] = (),
        cleanup: str | tuple[str, ...] = (),
        nodes: Mapping[str, Node] | None = None,
        groups: Mapping[str, tuple[str, ...]] | None = None,
        files: Mapping[str, str] | None = None,
        trusted: bool = False,
        roles: tuple[RoleSource, ...] = (),
        private_key: Path | None = None,
        facts: Mapping[str, Any] | None = None,
        message: str = "A change\n",
        **attributes: Any,
    ) -> BuildPlan:
        """A build of a job with these playbooks (texts of YAML), all of them in the one project, at its main branch."""
        self.count += 1
        written = dict(files or {})
        phases: dict[str, tuple[Playbook, ...]] = {}
        for phase, texts in {"pre": pre, "run": run, "post": post, "cleanup": cleanup}.items():
            played = []
            for number, text in enumerate((texts,) if isinstance(texts, str) else texts):
                path = f"playbooks/{self.count}/{phase}-{number}.yaml"
                written[path] = text
                played.append(Playbook(PROJECT, "main", path, trusted, roles=roles))
            phases[phase] = tuple(played)
        self.upstream.commit(f"playbooks of build {self.count}", written)
        await self.caches.fetch(PROJECT, str(self.upstream.path))
        commit = await self.caches.resolve(PROJECT, "main")
        nodes = nodes or {}
        nodeset = Nodeset(
            "test",
            tuple(NodeUse((name,), node.label) for name, node in nodes.items()),
            tuple(GroupUse(name, members) for name, members in (groups or {}).items()),
        )
        job = FrozenJob(
            f"job-{self.count}",
            pre_run=phases["pre"],
            run=phases["run"],
            post_run=phases["post"],
            cleanup_run=phases["cleanup"],
            nodesets=(nodeset,),
            **attributes,
        )
        change = Change("review", "org/nova", "main", 1234, 5, "refs/changes/34/1234/5", commit, subject="A change", message=message)
        known = BuildFacts(
            build=f"build-{self.count}",
            buildset="buildset-1",
            event_id="event-1",
            tenant="example",
            pipeline="check",
            items=(ItemChange(change, PROJECT),),
            projects=(ProjectState(PROJECT, commit, "main", required=True),),
        )
        return BuildPlan(
            job=job,
            facts=dataclasses.replace(known, **(facts or {})),
            nodeset=nodeset,
            nodes=nodes,
            sources=dict.fromkeys(sources_of(job), commit),
            directory=self.root / known.build,
            caches=self.caches,
            exports=self.root / "exports",
            private_key=private_key,
        )

    def console(self, plan: BuildPlan) -> list[str]:
        """The console's lines without their times."""
        return [line.partition(" | ")[2] for line in (plan.directory / "console.log").read_text().splitlines()]

    def said(self, plan: BuildPlan, host: str = "primary") -> list[str]:
        """What a host wrote, without banners of Headgate's and Ansible's."""
        start = f"{host} | "
        return [line.removeprefix(start) for line in self.console(plan) if line.startswith(start)]


def outcomes(build: Build) -> list[tuple[Phase, Outcome]]:
    return [(one.phase, one.outcome) for one in build.played]


async def play(plan: BuildPlan) -> Build:
    """The whole build, step by step as a flow does it."""
    async with Build(plan) as build:
        await build.push_workspace()
        while (step := following(plan.job, build.played)) is not None:
            await build.play(*step)
        return build


@contextlib.asynccontextmanager
async def running_until_it_fails(plan: BuildPlan) -> AsyncIterator[tuple[Build, asyncio.Task[Played]]]:
    """A build whose run playbook goes on, after it was told that it will fail; and what the playbook comes to."""
    known = asyncio.Event()

    async def failing() -> None:
        known.set()

    async with Build(plan, failing) as build:
        await build.push_workspace()
        running = asyncio.create_task(build.play(Phase.RUN, plan.job.run[0]))
        await known.wait()
        yield build, running
