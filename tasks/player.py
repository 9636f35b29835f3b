"""Plays one playbook after another in the sandboxes of one build: what each is given, and what is brought back of it.

A trusted playbook gets an inventory of its own in which nothing that the job says is a template; the job's variables are evaluated for it
once, before, in the untrusted sandbox and beside no secret.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import quote_plus

from headgate.build_facts import BUILD, LOCALHOST
from headgate.inventory import extra_variables, inventory, template_names, trusted_inventory, unsafe
from headgate.jobs import Playbook
from headgate.results import Phase
from headgate.zuul_variables import source_path
from tasks.agent import SOCKET
from tasks.build_plan import BuildPlan, Source, playbook_file, playbooks_of, role_paths
from tasks.build_sandboxes import USER, Sandboxes, home_inside, local_homes
from tasks.console import BuildConsole
from tasks.playbook_runner import PlaybookEnd, in_own_thread, partials_made, run
from tasks.sandbox import Sandbox, environment
from tasks.yaml_text import as_yaml
from tasks.zygote import PLUGINS, Zygote, ansible_environment, zygote

FREEZE_SECONDS = 120.0
MOST_PROCESSES = 10_000
"""Processes and threads at once in one sandbox. The kernel counts those of ordinary users only."""


@dataclass(frozen=True, slots=True)
class Start:
    """One start of ansible-playbook. `number` names it among the build's; `file` is a path inside; `wanted` are names of files (JSON)
    that it may write for us; `console` and `telling` (see `tasks.ansible.early`) are paths outside."""

    number: str
    name: str
    file: str
    trusted: bool
    console: str
    variables: Mapping[str, Any]
    roles: Sequence[str] = ()
    secrets: Mapping[str, Any] = field(default_factory=dict, repr=False)
    wanted: tuple[str, ...] = ()
    redact: tuple[str, ...] = field(default=(), repr=False)
    telling: str = ""


class Player:
    """One build's. `prepare` comes first."""

    def __init__(self, plan: BuildPlan, console: BuildConsole) -> None:
        self._plan = plan
        self._console = console
        self._exports: dict[Source, Path] = {}
        self._roles: dict[Playbook, list[str]] = {}
        self._frozen: dict[str, dict[str, Any]] | None = None
        self._zygote: Zygote | None = None
        self._unreachable: set[str] = set()
        self.sandboxes = Sandboxes(plan, self._exports)

    @property
    def prepared(self) -> bool:
        return self._zygote is not None

    async def prepare(self) -> None:
        """Write the inventory, have playbooks and roles at hand and the warm process up. Repeatable. Raises `BuildProblem`,
        `LookupError` or `ZygoteProblem`."""
        plan = self._plan
        self._write_inventory()
        for source, commit in plan.sources.items():
            self._exports[source] = await plan.caches.export(source.project, commit, plan.exports)
        for playbook in playbooks_of(plan.job):
            playbook_file(playbook, self._exports)
            self._roles[playbook] = role_paths(playbook, self._exports, plan.directory / "ansible")
        self._zygote = await zygote()

    def _write_inventory(self) -> None:
        plan = self._plan
        found = inventory(plan.job, plan.nodeset, plan.nodes, plan.facts, self._unreachable)
        (plan.directory / "ansible/inventory.yaml").write_text(as_yaml(found))

    def lost(self, hosts: Collection[str]) -> None:
        """These hosts could not be reached: from now on they are in the group `zuul_unreachable`."""
        if not self._unreachable.issuperset(hosts):
            self._unreachable.update(hosts)
            self._write_inventory()

    async def sandbox(self) -> Sandbox:
        """The sandbox of the job's own playbooks. Raises `SandboxProblem`."""
        assert self._zygote is not None
        return self.sandboxes.any or await self.sandboxes.of(False, self._zygote)

    async def play(
        self, number: int, phase: Phase, playbook: Playbook, variables: Mapping[str, Any], redact: Collection[str], telling: str = ""
    ) -> PlaybookEnd:
        """Play the build's playbook number `number`; `variables` lie over every other, `redact` is not shown, what decides early is said
        to `telling`. Cancelled, everything in the sandboxes is killed first. Raises `SandboxProblem`, `ZygoteProblem` or `OSError`."""
        if playbook.trusted:
            await self._freeze()
        extra = extra_variables(self._plan.job, self._plan.facts, self._frozen if playbook.trusted else None)
        return await self._start(
            Start(
                number=f"{number:02}-{phase}",
                name=playbook.path,
                file=f"{source_path(playbook.project, playbook.branch, playbook.trusted)}/{playbook.path}",
                trusted=playbook.trusted,
                console=str(self._console.path),
                variables={**extra, **variables},
                roles=self._roles[playbook],
                secrets=self._plan.secrets.get(playbook, {}),
                redact=tuple(redact),
                telling=telling,
            )
        )

    async def _freeze(self) -> None:
        """Evaluate the job's variables, once, before the first trusted playbook and beside no secret."""
        if self._frozen is not None:
            return
        names = sorted(template_names(self._plan.job, self._plan.facts))
        self._frozen = {}
        if not names:
            return
        wanted = {host: f"{quote_plus(host)}.json" for host in (*self._plan.nodes, LOCALHOST)}
        variables = {**self._plan.job.extra_vars, "headgate_frozen_names": names}
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(FREEZE_SECONDS):
                file = f"{PLUGINS}/freeze.yaml"
                start = Start("00-freeze", "freeze.yaml", file, False, os.devnull, variables, wanted=tuple(wanted.values()))
                end = await self._start(start)
                found = {host: end.files.get(name, {}) for host, name in wanted.items()}
                self._frozen = {host: {name: value for name, value in values.items() if name in names} for host, values in found.items()}
        if lost := [name for name in names if not any(name in values for values in self._frozen.values())]:
            self._console.say(f"not defined for trusted playbooks, since they cannot be evaluated without secrets: {', '.join(lost)}")

    async def _start(self, start: Start) -> PlaybookEnd:
        assert self._zygote is not None
        if not self._zygote.alive:
            self._zygote = await zygote()
            await self.sandboxes.kill()  # they show the old one's files
        try:
            sandbox = await self.sandboxes.of(start.trusted, self._zygote)
            (self._plan.directory / "ansible/extra.yaml").write_text(as_yaml(start.variables))
            descriptor = os.memfd_create("request")
            try:
                os.write(descriptor, json.dumps(self._request(start, sandbox.pid, self._zygote)).encode())
                command = self._zygote.command(f"/proc/{os.getpid()}/fd/{descriptor}")
                directory = self._plan.directory / "runner" / start.number
                with partials_made(self.sandboxes.events(start.trusted), start.number, self._plan.account) as partials:
                    return await in_own_thread(
                        lambda: run(directory, start.number, start.name, command, partials, start.wanted), self.sandboxes.kill_now
                    )
            finally:
                os.close(descriptor)
        except asyncio.CancelledError:
            await asyncio.shield(self.sandboxes.kill())
            raise

    def _request(self, start: Start, sandbox: int, warm: Zygote) -> dict[str, Any]:
        """See `tasks.ansible.zygote.Request`."""
        plan = self._plan
        own_inventory = ""
        if start.trusted:
            own_inventory = as_yaml(
                trusted_inventory(plan.job, plan.nodeset, plan.nodes, plan.facts, self._frozen or {}, start.secrets, self._unreachable)
            )
        elif start.secrets:
            own_inventory = (plan.directory / "ansible/inventory.yaml").read_text()
        return {
            "sandbox": sandbox,
            "arguments": ["ansible-playbook", "-e", f"@{BUILD}/ansible/extra.yaml", start.file],
            "environment": {
                **environment(USER, home_inside(plan)),
                **ansible_environment(warm.directory),
                "SSH_AUTH_SOCK": SOCKET,
                "AWX_ISOLATED_DATA_DIR": f"{BUILD}/events/{start.number}",
            },
            "directory": f"{BUILD}/work",
            "roles": list(start.roles),
            "console": start.console,
            "processes": MOST_PROCESSES,
            "file_bytes": plan.disk_bytes or 0,
            "redact": list(start.redact),
            "homes": local_homes(plan),
            "inventory": own_inventory,
            "inventory_vars": as_yaml(unsafe(start.secrets)),
            "telling": start.telling,
            "failure_output": list(plan.job.failure_output),
        }
