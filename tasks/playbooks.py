"""A build: its workspace and its playbooks, one by one, each in the build's sandbox, with one console.

    plan = BuildPlan(job, facts, nodeset, nodes, sources, directory, caches, private_key)
    async with Build(plan) as build:              # prepare: directories, inventory, agent, executor's workspace
        await build.push_workspace()              # the nodes' workspace; raises NodeUnreachable, WorkspaceProblem
        while (step := following(plan.job, build.played)) is not None:
            await build.play(*step)               # appended to build.played; never raises for what a playbook does
    print(verdict(plan.job, build.played, plan.facts.attempt, build.said()))

`run_build` is this in one call. A caller that wants each playbook as a step of its own (a Prefect task) calls `play` itself.

Cancelling the task that awaits `play` kills everything of the build, here and on its nodes, before the cancellation goes on; the caller may
then `play` the cleanup playbooks (`following(..., cancelled=True)`). `Build.end` (leaving the context) kills what is left and removes all
but the logs. Below `plan.directory`: `console.log` (append-only, from the first moment), `logs/` (what playbooks leave to be published),
`ansible/inventory.yaml`, `runner/` (ansible-runner's private data: events may hold what tasks printed, so it is not for publishing).
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import shutil
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Self
from urllib.parse import quote_plus

import yaml

from headgate.inventory import (
    BUILD,
    LOCALHOST,
    RESULTS,
    Unsafe,
    checks_out,
    extra_variables,
    inventory,
    known_hosts,
    source_path,
    template_names,
    trusted_inventory,
    unsafe,
    workspace_path,
)
from headgate.jobs import Playbook
from headgate.results import Outcome, Phase, Played, Said, following, seconds_left, succeeded, verdict
from providers.base import Node
from tasks.agent import SOCKET, agent_environment, start_agent
from tasks.ansible.streaming import HIDDEN
from tasks.build_plan import BuildOutcome, BuildPlan, BuildProblem, Source, playbook_file, playbooks_of, role_paths, sources_of
from tasks.console import JOB_OUTPUT, BuildConsole, console_copied, matches, put
from tasks.disk import disk_watched
from tasks.playbook_runner import PlaybookEnd, in_own_thread, outcome_of, run
from tasks.sandbox import Bind, Sandbox, environment, write_accounts
from tasks.workspace import CACHES, Checkout, NodeUnreachable, WorkspaceProblem, make_workspace, node_shell, push_workspace
from tasks.zygote import PLUGINS, Zygote, ansible_environment, zygote

__all__ = ["Build", "BuildOutcome", "BuildPlan", "BuildProblem", "Source", "run_build", "sources_of"]

USER = "headgate"
LARGEST_RESULTS = 10 << 20
FREEZE_SECONDS = 120.0
MOST_PROCESSES = 10_000
"""Processes and threads at once in one sandbox. The kernel counts those of ordinary users only."""


class Build:
    """One build on this executor. See the module's text for the order of calls."""

    def __init__(self, plan: BuildPlan) -> None:
        self.plan = plan
        self.played: list[Played] = []
        self.warnings: list[str] = []
        self.failure_output = False
        self.disk_full = False
        self._stories: list[dict[str, Any]] = []
        self.console_path = plan.directory / "console.log"
        self.console = BuildConsole(self.console_path)
        self.logs = plan.directory / "logs"
        self._sandboxes: dict[bool, Sandbox] = {}
        self._agent: Sandbox | None = None
        self._zygote: Zygote | None = None
        self._exports: dict[Source, Path] = {}
        self._roles: dict[Playbook, list[str]] = {}
        self._frozen: dict[str, dict[str, Any]] | None = None

    async def __aenter__(self) -> Self:
        await self.prepare()
        return self

    async def __aexit__(self, kind: type[BaseException] | None, problem: BaseException | None, trace: TracebackType | None) -> None:
        await self.end()

    @property
    def checkouts(self) -> tuple[Checkout, ...]:
        scheme = self.plan.job.workspace_scheme
        return tuple(Checkout(one.name, one.checkout, one.commit, workspace_path(scheme, one.name)) for one in self.plan.facts.projects)

    @property
    def _local_homes(self) -> dict[str, str]:
        return {name: node.home for name, node in self.plan.nodes.items() if node.connection == "local"}

    @property
    def _written(self) -> list[Path]:
        """What playbooks can fill of this machine's disk."""
        return [self.plan.directory, *(Path(home) for home in dict.fromkeys(self._local_homes.values()))]

    @property
    def _home(self) -> str:
        """A lone local node's home is home to everything in the sandbox, so that even its facts say so."""
        return next(iter(self._local_homes.values()), f"{BUILD}/home")

    async def prepare(self) -> None:
        """Directories, console, inventory, exported playbooks and roles, the executor's workspace, the agent. Repeatable after a crash.
        Raises `BuildProblem`, `SandboxProblem` or `ZygoteProblem`."""
        directory = self.plan.directory
        for name in ("ansible", "facts", "work/src", "work/tmp", "home/.ssh", "events", "agent", "runner", "logs"):
            (directory / name).mkdir(parents=True, exist_ok=True, mode=0o700)
        nodes = list(self.plan.nodes.values())
        self.console_path.touch(mode=0o640)
        facts = inventory(self.plan.job, self.plan.nodeset, self.plan.nodes, self.plan.facts)
        (directory / "ansible/inventory.yaml").write_text(as_yaml(facts))
        (directory / "home/.ssh/known_hosts").write_text(known_hosts(nodes))
        try:
            for source, commit in self.plan.sources.items():
                self._exports[source] = await self.plan.caches.export(source.project, commit, self.plan.exports)
            for playbook in playbooks_of(self.plan.job):
                playbook_file(playbook, self._exports)
                self._roles[playbook] = role_paths(playbook, self._exports, directory / "ansible")
            files = checks_out(self.plan.job, self.plan.nodeset)
            await make_workspace(self.plan.caches, self.checkouts, directory / "work", files)
        except (LookupError, WorkspaceProblem) as problem:
            raise BuildProblem(str(problem)) from None
        self._zygote = await zygote()
        if self.plan.private_key is not None and any(node.connection == "ssh" for node in nodes):
            keys = [self.plan.private_key, *(Path(node.private_key_path) for node in nodes if node.private_key_path)]
            self._agent = await start_agent(directory, write_accounts(directory / "ansible", USER, self._home), keys)

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
            await make_workspace(self.plan.caches, self.checkouts, Path(node.home), files=True)
            return
        hosts = self.plan.directory / "home/.ssh/known_hosts"
        async with node_shell(node, hosts, agent_environment(), self.plan.directory) as shell:
            if not await push_workspace(self.plan.caches, self.checkouts, shell):
                self.console.say(f"node {node.id} has no git, so no repositories are put there")

    def _binds(self, trusted: bool) -> tuple[Bind, ...]:
        directory = self.plan.directory
        events = directory / "events" / ("trusted" if trusted else "untrusted")
        events.mkdir(exist_ok=True)
        assert self._zygote is not None
        return (
            *self._zygote.binds(),
            *write_accounts(directory / "ansible", USER, self._home),
            Bind(directory / "ansible", f"{BUILD}/ansible"),
            *(Bind(path, source_path(source.project, source.branch, source.trusted)) for source, path in self._exports.items()),
            *(Bind(self.plan.caches.path(one.project), f"{CACHES}/{one.project}.git") for one in self.checkouts),
            Bind(directory / "agent", f"{BUILD}/agent"),
            Bind(events, f"{BUILD}/events", writable=True),
            *(Bind(directory / name, f"{BUILD}/{name}", writable=True) for name in ("facts", "home", "work")),
            Bind(self.logs, f"{BUILD}/work/logs", writable=True),
            *(Bind(Path(home), home, writable=True) for home in dict.fromkeys(self._local_homes.values())),
        )

    async def _sandbox(self, trusted: bool) -> Sandbox:
        """The build's sandbox of this trust: what a job leaves running on a local node goes on there from playbook to playbook."""
        if trusted not in self._sandboxes:
            self._sandboxes[trusted] = await Sandbox.start(self._binds(trusted))
        return self._sandboxes[trusted]

    async def play(self, phase: Phase, playbook: Playbook) -> Played:
        """Play one playbook and append what it came to to `played`. Its secrets exist for this playbook only and are blotted out of the
        console while it plays. Raises `BuildProblem`, `SandboxProblem` or `ZygoteProblem`."""
        secrets = self.plan.secrets.get(playbook, {})
        source = f"{playbook.project}: {playbook.path}@{playbook.branch}"
        if self._zygote is None:
            self.played.append(Played(phase, playbook, Outcome.CRASHED))
            self.console.say(f"{phase.upper()} is left out, the build was not prepared: {source}")
            return self.played[-1]
        self.console.begins(phase, source, playbook.trusted)
        start = self.console_path.stat().st_size
        began = time.monotonic()
        end: PlaybookEnd | None = None
        try:
            async with asyncio.timeout(seconds_left(self.plan.job, phase, self.played)):
                async with (
                    console_copied(self.console_path, self.logs, phase in (Phase.POST, Phase.CLEANUP)),
                    disk_watched(self._written, self.plan.disk_bytes, self._end_for_disk),
                ):
                    end = await self._play(phase, playbook, secrets)
        except TimeoutError:
            outcome, why = Outcome.TIMED_OUT, "everything it started is killed"
        except OSError as problem:
            raise BuildProblem(f"this machine cannot play {playbook.path}: {problem.strerror}") from None
        else:
            outcome, why = outcome_of(end)
        played = Played(phase, playbook, outcome, time.monotonic() - began)
        if end is not None and end.said.strip():
            self.console.say(hidden(end.said.strip(), secrets))
        why = hidden(why, secrets)
        self._tell(played, end)
        self.played.append(played)
        if self.plan.job.failure_output and not self.failure_output and phase in (Phase.PRE, Phase.RUN):
            self.failure_output = await asyncio.to_thread(matches, self.console_path, start, self.plan.job.failure_output)
            if self.failure_output:
                self.console.say("a line above matches the job's failure-output: whatever follows, this is a failure")
        self.console.ends(played, source, why)
        return played

    async def _play(self, phase: Phase, playbook: Playbook, secrets: Mapping[str, Any]) -> PlaybookEnd:
        if playbook.trusted:
            await self._freeze()
        number = f"{len(self.played) + 1:02}-{phase}"
        file = f"{source_path(playbook.project, playbook.branch, playbook.trusted)}/{playbook.path}"
        variables = self._extra_variables(phase, playbook)
        return await self._start(
            number, playbook.path, playbook.trusted, (), file, variables, self._roles[playbook], secrets, str(self.console_path)
        )

    async def _freeze(self) -> None:
        """Evaluate the job's variables, once, before the first trusted playbook and beside no secret."""
        if self._frozen is not None:
            return
        names = sorted(template_names(self.plan.job, self.plan.facts))
        self._frozen = {}
        if not names:
            return
        wanted = {host: f"{quote_plus(host)}.json" for host in (*self.plan.nodes, LOCALHOST)}
        variables = {**self.plan.job.extra_vars, "headgate_frozen_names": names}
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(FREEZE_SECONDS):
                file = f"{PLUGINS}/freeze.yaml"
                end = await self._start("00-freeze", "freeze.yaml", False, tuple(wanted.values()), file, variables, [], {}, os.devnull)
                found = {host: end.files.get(name, {}) for host, name in wanted.items()}
                self._frozen = {host: {name: value for name, value in values.items() if name in names} for host, values in found.items()}
        if lost := [name for name in names if not any(name in values for values in self._frozen.values())]:
            self.console.say(f"not defined for trusted playbooks, since they cannot be evaluated without secrets: {', '.join(lost)}")

    async def _start(
        self,
        number: str,
        name: str,
        trusted: bool,
        wanted: Sequence[str],
        file: str,
        variables: Mapping[str, Any],
        roles: list[str],
        secrets: Mapping[str, Any],
        console: str,
    ) -> PlaybookEnd:
        """Run the playbook at `file` (a path inside) in the sandbox of its trust; see `tasks.ansible.zygote.Request`."""
        assert self._zygote is not None
        if not self._zygote.alive:
            self._zygote = await zygote()
            await self._kill_sandboxes()  # they show the old one's files
        partials = self.plan.directory / "events" / ("trusted" if trusted else "untrusted") / number / "job_events"
        try:
            sandbox = await self._sandbox(trusted)
            await asyncio.to_thread(shutil.rmtree, partials.parent, ignore_errors=True)
            partials.mkdir(parents=True)
            (self.plan.directory / "ansible/extra.yaml").write_text(as_yaml(variables))
            own_inventory = as_yaml(self._trusted_inventory(secrets)) if trusted else ""
            if secrets and not trusted:
                own_inventory = (self.plan.directory / "ansible/inventory.yaml").read_text()
            request = {
                "sandbox": sandbox.pid,
                "arguments": ["ansible-playbook", "-e", f"@{BUILD}/ansible/extra.yaml", file],
                "environment": {
                    **environment(USER, self._home),
                    **ansible_environment(self._zygote.directory),
                    "SSH_AUTH_SOCK": SOCKET,
                    "AWX_ISOLATED_DATA_DIR": f"{BUILD}/events/{number}",
                },
                "directory": f"{BUILD}/work",
                "roles": roles,
                "console": console,
                "processes": MOST_PROCESSES,
                "file_bytes": self.plan.disk_bytes or 0,
                "redact": list(texts(secrets)),
                "homes": self._local_homes,
                "inventory": own_inventory,
                "inventory_vars": as_yaml(unsafe(secrets)),
            }
            descriptor = os.memfd_create("request")
            try:
                os.write(descriptor, json.dumps(request).encode())
                command = self._zygote.command(f"/proc/{os.getpid()}/fd/{descriptor}")
                directory = self.plan.directory / "runner" / number
                return await in_own_thread(lambda: run(directory, number, name, command, partials, wanted), self._kill_now)
            finally:
                os.close(descriptor)
        except asyncio.CancelledError:
            await asyncio.shield(self._kill_sandboxes())
            raise

    def _trusted_inventory(self, secrets: Mapping[str, Any]) -> dict[str, Any]:
        plan = self.plan
        return trusted_inventory(plan.job, plan.nodeset, plan.nodes, plan.facts, self._frozen or {}, secrets)

    def _extra_variables(self, phase: Phase, playbook: Playbook) -> dict[str, Any]:
        """What goes over every other variable of one playbook."""
        will_retry = verdict(self.plan.job, self.played, self.plan.facts.attempt, self.said()).retry
        return {
            **extra_variables(self.plan.job, self.plan.facts, self._frozen if playbook.trusted else None),
            "zuul_execution_phase": str(phase),
            "zuul_execution_trusted": str(playbook.trusted),
            "zuul_execution_canonical_name_and_path": f"{playbook.project}/{playbook.path}",
            "zuul_execution_branch": playbook.branch,
            **({"zuul_success": succeeded(self.played), "zuul_will_retry": will_retry} if phase in (Phase.POST, Phase.CLEANUP) else {}),
        }

    def _tell(self, played: Played, end: PlaybookEnd | None) -> None:
        """Write `logs/job-output.json` anew, in Zuul's shape. By renaming: what is there by that name may be a link to anywhere."""
        playbook = played.playbook
        self._stories.append(
            {
                "branch": playbook.branch,
                "index": str(sum(one.phase == played.phase for one in self.played)),
                "phase": played.phase.partition("-")[0],
                "playbook": f"{playbook.project}/{playbook.path}",
                "trusted": str(playbook.trusted),
                "plays": end.story.get("plays", []) if end else [],
                "stats": end.story.get("stats", {}) if end else {},
            }
        )
        temporary = self.plan.directory / ".job-output.json"
        try:
            temporary.write_text(json.dumps(self._stories, indent=4, sort_keys=True))
            put(temporary, self.logs / "job-output.json")
        except OSError as problem:
            self.warnings.append(f"job-output.json cannot be written: {problem.strerror}")

    def returned(self) -> dict[str, Any]:
        """What playbooks returned so far: `data` and `secret_data`. What may be hostile wrote it: any content, but not any size."""
        try:
            descriptor = os.open(
                self.plan.directory / "work" / Path(RESULTS).name, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
            )
            with open(descriptor, "rb") as file:
                found = json.loads(file.read(LARGEST_RESULTS))
        except FileNotFoundError:
            return {"data": {}, "secret_data": {}}
        except (OSError, ValueError):
            self.warnings.append("what zuul_return wrote cannot be read")
            return {"data": {}, "secret_data": {}}
        sections = found if isinstance(found, dict) else {}
        return {name: section if isinstance(section := sections.get(name), dict) else {} for name in ("data", "secret_data")}

    def said(self) -> Said:
        zuul = self.returned()["data"].get("zuul")
        retry = not (isinstance(zuul, dict) and zuul.get("retry") is False)
        return Said(retry, self.failure_output, self.disk_full)

    async def _end_for_disk(self) -> None:
        self.disk_full = True
        megabytes = (self.plan.disk_bytes or 0) // 1_000_000
        self.console.say(f"DISK FULL: this job may fill {megabytes} MB here; everything it started is killed")
        await self._kill_sandboxes()

    def _kill_now(self) -> None:
        for sandbox in self._sandboxes.values():
            sandbox.kill_now()

    async def _kill_sandboxes(self) -> None:
        sandboxes, self._sandboxes = self._sandboxes, {}
        await asyncio.gather(*(sandbox.kill() for sandbox in sandboxes.values()))

    async def end(self) -> None:
        """Kill whatever is left and remove all but console, logs, inventory and ansible-runner's artifacts. Repeatable."""
        await self._kill_sandboxes()
        if self._agent is not None:
            await self._agent.kill()
        for name in ("agent", "events", "facts", "home", "work"):
            await asyncio.to_thread(shutil.rmtree, self.plan.directory / name, ignore_errors=True)
        with contextlib.suppress(FileNotFoundError):  # it was never prepared
            (self.plan.directory / ".console").hardlink_to(self.console_path)
            put(self.plan.directory / ".console", self.logs / JOB_OUTPUT)


def hidden(text: str, secrets: Mapping[str, Any]) -> str:
    """`text` without what is secret in `secrets`."""
    for value in sorted(texts(secrets), key=len, reverse=True):
        text = text.replace(value, HIDDEN.decode())
    return text


class _Dumper(yaml.SafeDumper):
    """Writes what Ansible must not take for a template with its tag."""


_Dumper.add_representer(Unsafe, lambda dumper, text: dumper.represent_scalar("!unsafe", text))


def as_yaml(value: Any) -> str:
    return str(yaml.dump(value, Dumper=_Dumper, sort_keys=False, allow_unicode=True))


def texts(value: Any) -> set[str]:
    """Every string in a secret that is worth hiding; short ones would blot out words."""
    if isinstance(value, Mapping):
        return set().union(*(texts(inner) for inner in value.values()))
    if isinstance(value, list | tuple):
        return set().union(*(texts(inner) for inner in value))
    return {line for line in value.splitlines() if len(line) >= 6} if isinstance(value, str) else set()


async def run_build(plan: BuildPlan) -> BuildOutcome:
    """The whole build. Unreachable nodes are an attempt like any other; cancelled, it plays the cleanup playbooks and is cancelled then."""
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
