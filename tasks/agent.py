"""A build's ssh-agent: whoever is shown its socket can use the build's keys and cannot read them."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from pathlib import Path

from headgate.build_facts import BUILD
from tasks.account import Account
from tasks.build_plan import BuildProblem
from tasks.git import git_environment
from tasks.processes import communicate, start_process
from tasks.sandbox import Bind, Sandbox

SOCKET = f"{BUILD}/agent/socket"
"""Where it listens, inside every sandbox of the build."""


async def start_agent(directory: Path, accounts: Iterable[Bind], keys: Iterable[Path], account: Account | None) -> Sandbox:
    """Start the agent of the build in `directory`, in a sandbox of its own, as `account`, with these private key files.
    Raises `SandboxProblem` or `BuildProblem`."""
    (directory / "agent/socket").unlink(missing_ok=True)
    binds = (Bind(directory / "agent", f"{BUILD}/agent", writable=True), *accounts)
    agent = await Sandbox.start(binds, ("ssh-agent", "-D", "-a", SOCKET), account)
    try:
        assert agent.process.stdout is not None
        await agent.process.stdout.readline()  # it says where it listens once it does
        for key in dict.fromkeys(keys):
            await _add(directory / "agent", key, account)
    except BaseException:
        await asyncio.shield(agent.kill())
        raise
    return agent


async def _add(directory: Path, key: Path, account: Account | None) -> None:
    """Speaks as the account, which is the only one that the agent listens to; from its directory, because the whole path of the socket may
    be too long for one."""
    try:
        secret = key.read_bytes()
    except OSError as problem:
        raise BuildProblem(f"the ssh key {key} cannot be read: {problem.strerror}") from None
    pipe = asyncio.subprocess.PIPE
    environment = git_environment({"SSH_AUTH_SOCK": "socket"})
    speaks_as = account.process if account is not None else {}
    add = await start_process("ssh-add", "-q", "-", env=environment, cwd=directory, stdin=pipe, stderr=pipe, **speaks_as)
    _, err = await communicate(add, secret)
    if add.returncode:
        raise BuildProblem(f"the ssh key {key} cannot be used: {err.decode(errors='replace').strip()}")
