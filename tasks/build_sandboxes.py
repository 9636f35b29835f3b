"""The sandboxes of one build: one for each level of trust, made when the first playbook of that trust is played.

Inside, a build's files are below `/build` whatever it is called outside: `ansible` (inventory), `trusted` and `untrusted` (playbooks and
roles), `caches` (git objects), `work` (workspace, logs, results), `home`, `facts`, `events`, `agent`.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from pathlib import Path

from headgate.build_facts import BUILD
from headgate.zuul_variables import source_path, workspace_path
from tasks.account import show
from tasks.build_plan import BuildPlan, Source
from tasks.outside import hosts_file
from tasks.sandbox import Bind, Sandbox, write_accounts
from tasks.workspace import CACHES, Checkout
from tasks.zygote import Zygote

USER = "headgate"


def local_homes(plan: BuildPlan) -> dict[str, str]:
    """The homes of nodes that are directories of this machine, by the nodes' names."""
    return {name: node.home for name, node in plan.nodes.items() if node.connection == "local"}


def home_inside(plan: BuildPlan) -> str:
    """A lone local node's home is home to everything in the sandbox, so that even its facts say so."""
    return next(iter(local_homes(plan).values()), f"{BUILD}/home")


def accounts(plan: BuildPlan) -> tuple[Bind, ...]:
    return write_accounts(plan.directory / "ansible", USER, home_inside(plan))


def checkouts(plan: BuildPlan) -> tuple[Checkout, ...]:
    """The repositories of the workspace."""
    scheme = plan.job.workspace_scheme
    return tuple(Checkout(one.name, one.checkout, one.commit, workspace_path(scheme, one.name), one.is_tag) for one in plan.facts.projects)


class Sandboxes:
    """What a job leaves running on a local node goes on in its sandbox from playbook to playbook."""

    def __init__(self, plan: BuildPlan, exports: Mapping[Source, Path]) -> None:
        self._plan = plan
        self._exports = exports
        self._open: dict[bool, Sandbox] = {}

    async def of(self, trusted: bool, zygote: Zygote) -> Sandbox:
        """The sandbox of this trust, made now if there is none. Raises `SandboxProblem`."""
        if trusted not in self._open:
            reach = self._plan.trusted_reach if trusted else self._plan.reach
            binds = self._binds(trusted, zygote)
            if reach is not None:
                (self._plan.directory / "ansible/hosts").write_text(hosts_file(reach))
                binds = (*binds, Bind(self._plan.directory / "ansible/hosts", "/etc/hosts"))
            self._open[trusted] = await Sandbox.start(binds, account=self._plan.account, reach=reach)
        return self._open[trusted]

    @property
    def any(self) -> Sandbox | None:
        """One that is there, rather the job's own than that of trusted playbooks."""
        return self._open.get(False) or self._open.get(True)

    def events(self, trusted: bool) -> Path:
        """Where playbooks of this trust have the directories of their events, each its own: this one is ours, and what is in it."""
        return self._plan.directory / "events" / ("trusted" if trusted else "untrusted")

    def _binds(self, trusted: bool, zygote: Zygote) -> tuple[Bind, ...]:
        directory = self._plan.directory
        events = self.events(trusted)
        events.mkdir(exist_ok=True)
        events.chmod(0o755)  # the account passes through it, whatever the umask
        for one in checkouts(self._plan):
            show(self._plan.caches.path(one.project), self._plan.account)
        return (
            *zygote.binds(),
            *accounts(self._plan),
            Bind(directory / "ansible", f"{BUILD}/ansible"),
            *(Bind(path, source_path(source.project, source.branch, source.trusted)) for source, path in self._exports.items()),
            *(Bind(self._plan.caches.path(one.project), f"{CACHES}/{one.project}.git") for one in checkouts(self._plan)),
            Bind(directory / "agent", f"{BUILD}/agent"),
            Bind(events, f"{BUILD}/events", writable=True),
            *(Bind(directory / name, f"{BUILD}/{name}", writable=True) for name in ("facts", "home", "work")),
            Bind(directory / "logs", f"{BUILD}/work/logs", writable=True),
            *(Bind(Path(home), home, writable=True) for home in dict.fromkeys(local_homes(self._plan).values())),
        )

    def kill_now(self) -> None:
        """End everything in them, without waiting. Repeatable."""
        for sandbox in self._open.values():
            sandbox.kill_now()

    async def kill(self) -> None:
        """End everything in them, and return when it has ended. The next playbook gets a new one. Repeatable."""
        sandboxes, self._open = self._open, {}
        await asyncio.gather(*(sandbox.kill() for sandbox in sandboxes.values()))
