"""A build: its workspace and its playbooks, one by one, each in the build's sandbox, with one console.

    plan = BuildPlan(job, facts, nodeset, nodes, sources, directory, caches, private_key)
    async with Build(plan) as build:              # prepare: directories, inventory, agent, executor's workspace
        await build.push_workspace()              # the nodes' workspace; raises NodeUnreachable, WorkspaceProblem
        while (step := following(plan.job, build.played)) is not None:
            await build.play(*step)               # appended to build.played; never raises for what a playbook does
    print(verdict(plan.job, build.played, plan.facts.attempt, build.said()))

`run_build` is this in one call. Cancelling the task that awaits `play` kills everything of the build, here and on its nodes, before the
cancellation goes on; the caller may then `play` the cleanup playbooks (`following(..., cancelled=True)`). `Build.end` (leaving the
context) kills what is left and removes all but the logs. Below `plan.directory`: `console.log` (append-only, from the first moment),
`logs/` (what playbooks leave to be published), `ansible/inventory.yaml`, `runner/` (ansible-runner's private data: not for publishing).
"""

from __future__ import annotations

import asyncio
import contextlib
import shutil
import time
from collections.abc import Awaitable, Callable, Iterable
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from headgate.build_facts import RESULTS
from headgate.inventory import known_hosts
from headgate.jobs import Playbook
from headgate.results import Outcome, Phase, Played, Said, following, is_watched, seconds_left, succeeded, verdict
from headgate.zuul_variables import checks_out
from providers.base import Node
from tasks.account import give
from tasks.agent import start_agent
from tasks.ansible.early import MATCHED
from tasks.ansible.streaming import HIDDEN
from tasks.ara import add_report
from tasks.build_plan import BuildOutcome, BuildPlan, BuildProblem, Source, sources_of
from tasks.build_sandboxes import accounts, checkouts, local_homes
from tasks.console import JOB_OUTPUT, BuildConsole, console_copied, put, shows
from tasks.disk import disk_watched, for_want_of_disk, is_full, why_full
from tasks.job_output import JobOutput
from tasks.listening import Ear, listening
from tasks.log_files import clean, clean_file, make_readable
from tasks.playbook_runner import PlaybookEnd, outcome_of
from tasks.player import Player
from tasks.redaction import hidden, texts
from tasks.returned_file import SECTIONS, NotReadable, read_returned
from tasks.sandbox import Sandbox
from tasks.workspace import NodeUnreachable, WorkspaceProblem, make_workspace, node_shell, push_workspace

__all__ = ["Build", "BuildOutcome", "BuildPlan", "BuildProblem", "Source", "run_build", "sources_of"]


class Build:
    """One build on this executor. See the module's text for the order of calls. `failing` is the phase in which it was decided that it
    fails while a playbook went on; `on_failing` is awaited then, beside the playbook, and must not raise."""

    def __init__(self, plan: BuildPlan, on_failing: Callable[[], Awaitable[None]] | None = None) -> None:
        self.plan = plan
        self._on_failing = on_failing
        self._saying: list[asyncio.Future[None]] = []
        self.played: list[Played] = []
        self.warnings: list[str] = []
        self.failing: Phase | None = None
        self.disk_full = ""
        """Why the build ended for want of disk, if it did."""
        self.exposed = False
        self._secrets: set[str] = set()
        self.console_path = plan.directory / "console.log"
        self.console = BuildConsole(self.console_path)
        self.logs = plan.directory / "logs"
        self.player = Player(plan, self.console)
        self._output = JobOutput(plan.directory, self.logs, plan.account)
        self._agent: Sandbox | None = None

    async def __aenter__(self) -> Self:
        await self.prepare()
        return self

    async def __aexit__(self, kind: type[BaseException] | None, problem: BaseException | None, trace: TracebackType | None) -> None:
        await self.end()

    @property
    def _written(self) -> list[Path]:
        """What playbooks can fill of this machine's disk."""
        return [self.plan.directory, *(Path(home) for home in dict.fromkeys(local_homes(self.plan).values()))]

    async def prepare(self) -> None:
        """Directories, console, inventory, exported playbooks and roles, the executor's workspace, the agent. Repeatable after a crash.
        Raises `BuildProblem`, `SandboxProblem` or `ZygoteProblem`."""
        directory = self.plan.directory
        for name in ("ansible", "facts", "work", "home", "events", "agent", "logs"):  # nothing is written through links that a job has left
            await asyncio.to_thread(shutil.rmtree, directory / name, ignore_errors=True)
        for name in ("ansible", "facts", "work/src", "work/tmp", "home/.ssh", "events", "agent", "runner", "logs"):
            (directory / name).mkdir(parents=True, exist_ok=True, mode=0o700)
        nodes = list(self.plan.nodes.values())
        self.console_path.touch(mode=0o640)
        (directory / "home/.ssh/known_hosts").write_text(known_hosts(nodes))
        try:
            files = checks_out(self.plan.job, self.plan.nodeset)
            await make_workspace(self.plan.caches, checkouts(self.plan), directory / "work", files)
            await self.player.prepare()
        except (LookupError, WorkspaceProblem) as problem:
            raise BuildProblem(str(problem)) from None
        for name in ("ansible", "facts", "work", "home", "agent", "logs"):
            await asyncio.to_thread(give, directory / name, self.plan.account)
        if self.plan.private_key is not None and any(node.connection == "ssh" for node in nodes):
            self._agent = await start_agent(directory, accounts(self.plan), self._keys(nodes), self.plan.account)

    def _keys(self, nodes: Iterable[Node]) -> list[Path]:
        """The private keys that let the build in at these nodes."""
        keys = (self.plan.private_key, *(Path(node.private_key_path) for node in nodes if node.private_key_path))
        return [key for key in keys if key is not None]

    async def push_workspace(self) -> None:
        """Bring the repositories to every node. Raises `NodeUnreachable` or `WorkspaceProblem`, after saying so in the console."""
        nodes = {node.id: node for node in self.plan.nodes.values()}
        try:
            async with asyncio.TaskGroup() as pushes:
                for node in nodes.values():
                    pushes.create_task(self._push(node))
        except* (NodeUnreachable, WorkspaceProblem) as problems:
            first = problems.exceptions[0]
            while isinstance(first, BaseExceptionGroup):
                first = first.exceptions[0]
            self.console.say(str(first))
            raise first from None

    async def _push(self, node: Node) -> None:
        if node.connection == "local":
            await make_workspace(self.plan.caches, checkouts(self.plan), Path(node.home), files=True)
            await asyncio.to_thread(give, Path(node.home), self.plan.account)
            return
        hosts = self.plan.directory / "home/.ssh/known_hosts"
        async with node_shell(node, hosts, self._keys([node]), self.plan.directory) as shell:
            if not await push_workspace(self.plan.caches, checkouts(self.plan), shell):
                self.console.say(f"node {node.id} has no git, so no repositories are put there")

    async def play(self, phase: Phase, playbook: Playbook) -> Played:
        """Play one playbook and append what it came to to `played`. Its secrets exist for this playbook only; what is known to be secret
        by then, its own or an earlier one's, is blotted out of the console. Raises `BuildProblem`, `SandboxProblem` or `ZygoteProblem`."""
        self._secrets |= texts(self.plan.secrets.get(playbook, {}))
        secret = self._secrets
        source = f"{playbook.project}: {playbook.path}@{playbook.branch}"
        if not self.player.prepared:
            self.played.append(Played(phase, playbook, Outcome.CRASHED))
            self.console.say(f"{phase.upper()} is left out, the build was not prepared: {source}")
            return self.played[-1]
        self.console.begins(phase, source, playbook.trusted)
        start = self.console_path.stat().st_size
        began = time.monotonic()
        end: PlaybookEnd | None = None
        watched = is_watched(self.plan.job, phase, self.played, self.plan.facts.attempt, self.said())
        ear = Ear(partial(self._decided, phase) if watched else None)
        variables = self._variables(phase, playbook)
        try:
            async with asyncio.timeout(seconds_left(self.plan.job, phase, self.played)):
                async with (
                    console_copied(self.console_path, self.logs, self.plan.account, phase in (Phase.POST, Phase.CLEANUP)),
                    disk_watched(self._written, self.plan.disk_bytes, self._end_for_disk),
                    listening(ear.hear) as telling,
                ):
                    end = await self.player.play(len(self.played) + 1, phase, playbook, variables, secret, telling)
        except TimeoutError:
            outcome, why = Outcome.TIMED_OUT, "everything it started is killed"
        except OSError as problem:
            if not for_want_of_disk(problem):
                raise BuildProblem(f"this machine cannot play {playbook.path}: {problem.strerror}") from None
            outcome, why = Outcome.CRASHED, "there is no room to play it"
        else:
            outcome, why = outcome_of(end)
        played = Played(phase, playbook, outcome, time.monotonic() - began)
        if outcome != Outcome.OK and not self.disk_full and is_full(self.plan.directory):
            await self._end_for_disk(why_full(self.plan.directory))
        if end is not None and end.said.strip():
            self.console.say(hidden(end.said.strip(), secret))
        self._tell(played, end)
        self.played.append(played)
        self.player.lost(ear.unreachable)
        await asyncio.gather(*self._saying)
        if self.plan.job.secret_exposure == "fail" and not self.exposed and secret:  # noqa: S105 - a policy, not a password
            self.exposed = await asyncio.to_thread(shows, self.console_path, start, HIDDEN)
            if self.exposed:
                self.console.say("a secret was printed above, which this job must not do")
        self.console.ends(played, source, hidden(why, secret))
        self._secrets |= texts(self._returned()["data"].get("zuul", {}).get("redactions"))
        return played

    def _decided(self, phase: Phase, word: str, detail: str) -> None:
        """It is known now that the build fails."""
        if self.failing is not None:
            return
        self.failing = phase
        if word == MATCHED:
            self.console.say(f"a line above matches the job's failure-output ({detail}): whatever follows, this is a failure")
        if self._on_failing is not None:
            self._saying.append(asyncio.ensure_future(self._on_failing()))

    def _variables(self, phase: Phase, playbook: Playbook) -> dict[str, Any]:
        """What one playbook is told about itself, over every other variable."""
        will_retry = verdict(self.plan.job, self.played, self.plan.facts.attempt, self.said()).retry
        return {
            "zuul_execution_phase": str(phase),
            "zuul_execution_trusted": str(playbook.trusted),
            "zuul_execution_canonical_name_and_path": f"{playbook.project}/{playbook.path}",
            "zuul_execution_branch": playbook.branch,
            **({"zuul_success": succeeded(self.played), "zuul_will_retry": will_retry} if phase in (Phase.POST, Phase.CLEANUP) else {}),
        }

    def _tell(self, played: Played, end: PlaybookEnd | None) -> None:
        try:
            self._output.add(played, self.played, end.story if end else {})
        except OSError as problem:
            self.warnings.append(f"job-output.json cannot be written: {problem.strerror}")

    def returned(self) -> dict[str, dict[str, Any]]:
        """What playbooks returned so far: `data`, without what they want to be hidden, and `secret_data`."""
        found = self._returned()
        zuul = {name: value for name, value in found["data"].get("zuul", {}).items() if name != "redactions"}
        return {**found, "data": {**found["data"], "zuul": zuul} if zuul else {k: v for k, v in found["data"].items() if k != "zuul"}}

    def _returned(self) -> dict[str, dict[str, Any]]:
        """All of it; `data` has `zuul` only as a mapping."""
        try:
            found = read_returned(self.plan.directory / "work" / Path(RESULTS).name)
            if not isinstance(found["data"].get("zuul", {}), dict):
                del found["data"]["zuul"]
            return found
        except NotReadable:
            self.warnings.append("what zuul_return wrote cannot be read")
            return {name: {} for name in SECTIONS}

    def said(self) -> Said:
        zuul = self.returned()["data"].get("zuul")
        retry = not (isinstance(zuul, dict) and zuul.get("retry") is False)
        return Said(retry, self.failing, bool(self.disk_full), self.exposed)

    async def _end_for_disk(self, why: str) -> None:
        self.disk_full = why
        self.console.say(f"DISK FULL: {why}; everything it started is killed")
        await self.player.sandboxes.kill()

    def _make_room(self) -> None:
        """What a build that filled the disk left for people to read may be what fills it: then it goes."""
        if self.disk_full and is_full(self.plan.directory):
            shutil.rmtree(self.logs, ignore_errors=True)
            self.logs.mkdir(mode=0o700)
            self.warnings.append("The logs of this build were deleted, because the disk was full.")

    async def report(self) -> None:
        """ARA's report of what was played, among the logs, if the plan wants one."""
        if self.plan.ara and self.played:
            await add_report(self.plan, self.logs, self._secrets, self.console)

    async def end(self) -> None:
        """Kill whatever is left and remove all but console, logs, inventory and ansible-runner's artifacts. Repeatable."""
        await self.player.sandboxes.kill()
        if self._agent is not None:
            await self._agent.kill()
        for name in ("agent", "events", "facts", "home", "work"):
            await asyncio.to_thread(shutil.rmtree, self.plan.directory / name, ignore_errors=True)
        await asyncio.to_thread(self._make_room)
        if self.plan.account is None and self.logs.is_dir():
            await asyncio.to_thread(make_readable, self.logs)
        if self._secrets:
            await asyncio.to_thread(clean, self.logs, self._secrets)
            await asyncio.to_thread(clean_file, self.console_path, self._secrets)  # before a redaction was returned, it was no secret
        with contextlib.suppress(FileNotFoundError):  # it was never prepared
            (self.plan.directory / ".console").hardlink_to(self.console_path)
            put(self.plan.directory / ".console", self.logs / JOB_OUTPUT)


async def run_build(plan: BuildPlan, before_end: Callable[[Build], Awaitable[None]] | None = None) -> BuildOutcome:
    """The whole build. Unreachable nodes are an attempt like any other; cancelled, it plays the cleanup playbooks and is cancelled then.
    `before_end` is awaited after the last playbook, while what the job left running still runs."""
    build = Build(plan)
    lost = False
    try:
        await build.prepare()
        try:
            await build.push_workspace()
        except NodeUnreachable:
            lost = True
        while not lost and (step := following(plan.job, build.played)) is not None:
            await build.play(*step)
        await build.report()
        if before_end is not None:
            await before_end(build)
    except asyncio.CancelledError:
        build.console.say("CANCELLED")
        while (step := following(plan.job, build.played, cancelled=True)) is not None:
            await build.play(*step)
        raise
    finally:
        returned = build.returned()
        said = build.said()
        await build.end()
    return BuildOutcome(
        verdict(plan.job, build.played, plan.facts.attempt, said), tuple(build.played), warnings=tuple(build.warnings), **returned
    )
