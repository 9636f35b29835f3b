"""Gerrit's SSH side by asyncssh: the stream of events, and what can be wrong with keys, in one sentence.

The server's key is always checked. Nothing is read from the user's SSH configuration or agent.
"""

from __future__ import annotations

import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import asyncssh

from tasks.connection_settings import GerritSettings
from tasks.connections import ConnectionProblem

CONNECT_TIMEOUT = 20
KEEPALIVES_LOST = 3
"""So many keepalives without an answer are a lost connection."""
SHOWN = ["ssh-ed25519", "ecdsa-sha2-nistp256", "rsa-sha2-512"]
"""Kinds of host key to show when none is known, the shortest first."""


def known_hosts_text(settings: GerritSettings) -> str:
    """The lines of known_hosts that apply: a file's, or those literally in the settings (host name added if missing)."""
    written = settings.known_hosts.strip()
    literal = [line for line in written.splitlines() if " " in line.strip()]
    if literal:
        return "\n".join(f"{_host(settings)} {line}" if line.startswith(("ssh-", "ecdsa-", "sk-")) else line for line in literal) + "\n"
    path = Path(written).expanduser() if written else Path.home() / ".ssh" / "known_hosts"
    if not path.is_file():
        if written:
            raise ConnectionProblem(f"connection {settings.name}: `known-hosts` names {path}, which is no file")
        return ""
    return path.read_text()


def _host(settings: GerritSettings) -> str:
    return settings.server if settings.port == 22 else f"[{settings.server}]:{settings.port}"


@asynccontextmanager
async def connected(settings: GerritSettings) -> AsyncIterator[asyncssh.SSHClientConnection]:
    """An SSH connection to the Gerrit. Raises `ConnectionProblem` if there can be none, and when it is lost in the block."""
    where = f"connection {settings.name}: ssh to {settings.server}:{settings.port}"
    known = known_hosts_text(settings)
    try:
        key = asyncssh.read_private_key(settings.sshkey)
    except OSError as problem:
        raise ConnectionProblem(f"connection {settings.name}: `sshkey` {settings.sshkey}: {problem.strerror}") from problem
    except asyncssh.KeyImportError as problem:
        raise ConnectionProblem(f"connection {settings.name}: `sshkey` {settings.sshkey} is no usable private key: {problem}") from problem
    try:
        async with asyncssh.connect(
            settings.server, settings.port, username=settings.user, client_keys=[key], known_hosts=asyncssh.import_known_hosts(known),
            agent_path=None, config=None, connect_timeout=CONNECT_TIMEOUT, login_timeout=CONNECT_TIMEOUT,
            keepalive_interval=settings.keepalive, keepalive_count_max=KEEPALIVES_LOST,
        ) as connection:  # fmt: skip
            yield connection
    except asyncssh.PermissionDenied as problem:
        raise ConnectionProblem(
            f"{where}: Gerrit does not take the key {settings.sshkey} for {settings.user}; "
            f"add this line at {settings.url}/settings/#SSHKeys: {key.export_public_key().decode().strip()}"
        ) from problem
    except (asyncssh.HostKeyNotVerifiable, asyncssh.KeyExchangeFailed) as problem:
        raise ConnectionProblem(f"{where}: {await _host_key_problem(settings, known, problem)}") from problem
    except OSError as problem:  # a time-out too, which has no number
        reason = os.strerror(problem.errno) if problem.errno else str(problem) or "no answer in time"
        raise ConnectionProblem(f"{where} failed: {reason}") from problem
    except asyncssh.Error as problem:
        raise ConnectionProblem(f"{where} failed: {problem}") from problem


async def _host_key_problem(settings: GerritSettings, known: str, problem: Exception) -> str:
    """What is wrong with the server's key, and the line that would make it known."""
    trusted = asyncssh.match_known_hosts(asyncssh.import_known_hosts(known), settings.server, "", settings.port)[0]
    try:
        key = await asyncssh.get_server_host_key(settings.server, settings.port, config=None, server_host_key_algs=SHOWN)
    except (OSError, asyncssh.Error):
        key = None
    if key is None:
        return str(problem)
    line = f"{_host(settings)} {key.export_public_key('openssh').decode().strip()}"
    fingerprint = key.get_fingerprint()
    where = f"in {settings.known_hosts or '~/.ssh/known_hosts'}" if len(settings.known_hosts.split()) < 2 else "in the setting"
    if trusted:
        return (f"the server's key {fingerprint} is not the one {where}: the server was made anew, or another one answers in its place; "
                f"if its administrator confirms the new key, `known-hosts` must have: {line}")  # fmt: skip
    return f"the server's key {fingerprint} is not known {where}; if its administrator confirms it, add to `known-hosts`: {line}"


@asynccontextmanager
async def event_stream(settings: GerritSettings) -> AsyncIterator[asyncssh.SSHReader[str]]:
    """The lines of `gerrit stream-events`, from about now on (Gerrit starts listening some milliseconds after it said yes)."""
    async with connected(settings) as connection, connection.create_process("gerrit stream-events", stderr=asyncssh.STDOUT) as process:
        yield process.stdout


async def version(settings: GerritSettings) -> str:
    """Gerrit's answer to `gerrit version`: the key works."""
    async with connected(settings) as connection:
        return str((await connection.run("gerrit version", check=True)).stdout).strip()
