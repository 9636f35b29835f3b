"""A build's ssh-agent: whoever is shown its socket can use the build's keys and cannot read them."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from pathlib import Path

from headgate.inventory import BUILD
from tasks.build_plan import BuildProblem
from tasks.git import git_environment
from tasks.processes import communicate, start_process
from tasks.sandbox import Bind, Sandbox

SOCKET = f"{BUILD}/agent/socket"
"""Where it listens, inside every sandbox of the build."""


def agent_environment() -> dict[str, str]:
    """For programs run in the build's directory: the socket's path from there is short enough, the whole one may not be."""
    return git_environment({"SSH_AUTH_SOCK": "agent/socket"})


async def start_agent(directory: Path, accounts: Iterable[Bind], keys: Iterable[Path]) -> Sandbox:
    """Start the agent of the build in `directory`, in a sandbox of its own, with these private key files.
    Raises `SandboxProblem` or `BuildProblem`."""
    (directory / "agent/socket").unlink(missing_ok=True)
    agent = await Sandbox.start((Bind(directory / "agent", f"{BUILD}/agent", writable=True), *accounts), ("ssh-agent", "-D", "-a", SOCKET))
    try:
        assert agent.process.stdout is not None
        await agent.process.stdout.readline()  # it says where it listens once it does
        for key in dict.fromkeys(keys):
            await _add(directory, key)
    except BaseException:
        await asyncio.shield(agent.kill())
        raise
    return agent


async def _add(directory: Path, key: Path) -> None:
    try:
        secret = key.read_bytes()
    except OSError as problem:
        raise BuildProblem(f"the ssh key {key} cannot be read: {problem.strerror}") from None
    pipe = asyncio.subprocess.PIPE
    add = await start_process("ssh-add", "-q", "-", env=agent_environment(), cwd=directory, stdin=pipe, stderr=pipe)
    _, err = await communicate(add, secret)
    if add.returncode:
        raise BuildProblem(f"the ssh key {key} cannot be used: {err.decode(errors='replace').strip()}")
