"""What providers do over SSH before a node is anybody's: wait for its server, learn its host keys, put a build's key on it.

An open port proves nothing (a forwarder accepts before the guest listens, a load balancer always does), so whoever waits here waits for
the server's banner.
"""

from __future__ import annotations

import asyncio
import shlex
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager, suppress
from pathlib import Path

import asyncssh

from providers.base import Node

BANNER = b"SSH-"
GREETING = b"SSH-2.0-Headgate\r\n"
"""Whoever connects may say it first, and must where passt of Debian 12 is in between: it tells a guest of nobody who says nothing."""
FIRST_PAUSE, LONGEST_PAUSE = 0.01, 0.5
ATTEMPT_SECONDS = 5.0
"""After this long without a banner a connection is tried anew: packets sent to a machine without a network yet are lost."""


class LoginFailed(Exception):
    """The node's SSH server answers otherwise than expected; one sentence."""


async def wait_for_banner(host: str, port: int, seconds: float) -> None:
    """Until an SSH server answers at the address. Raises `TimeoutError` with a sentence after `seconds`."""
    pause, last = FIRST_PAUSE, "it did not answer"
    try:
        async with asyncio.timeout(seconds):
            while True:
                try:
                    if await _says_banner(host, port):
                        return
                    last = "it accepts connections but no SSH server answers"
                except OSError as problem:
                    last = str(problem.strerror or problem).lower() or last
                await asyncio.sleep(pause)
                pause = min(pause * 1.5, LONGEST_PAUSE)
    except TimeoutError:
        raise TimeoutError(f"no SSH server at {host} port {port} after {seconds:g} s ({last})") from None


async def _says_banner(host: str, port: int) -> bool:
    try:
        async with asyncio.timeout(ATTEMPT_SECONDS):
            reader, writer = await asyncio.open_connection(host, port)
            try:
                writer.write(GREETING)
                return (await reader.read(len(BANNER))).startswith(BANNER)
            finally:
                writer.close()
                with suppress(OSError):
                    await writer.wait_closed()
    except TimeoutError:
        return False


async def host_keys(host: str, port: int, seconds: float = 10) -> tuple[str, ...]:
    """The key that the server shows, as a known_hosts key part. To be believed where nobody else can answer at the address, or told apart
    by what the console says. Raises `LoginFailed`."""
    try:
        async with asyncio.timeout(seconds):
            key = await asyncssh.get_server_host_key(host, port, config=None)
    except (OSError, asyncssh.Error, TimeoutError) as problem:
        raise LoginFailed(f"{host} port {port} shows no host key: {problem or 'no answer in time'}") from problem
    if key is None:
        raise LoginFailed(f"{host} port {port} shows no host key")
    return (key.export_public_key().decode().strip(),)


@asynccontextmanager
async def logged_in(
    host: str, port: int, username: str, private_key: Path | asyncssh.SSHKey, known: Sequence[str], seconds: float = 30
) -> AsyncIterator[asyncssh.SSHClientConnection]:
    """A connection with exactly this key to a server that shows one of the host keys `known`. Raises `LoginFailed`."""
    try:
        async with asyncio.timeout(seconds):
            connection = await asyncssh.connect(
                host,
                port,
                username=username,
                client_keys=[private_key if isinstance(private_key, asyncssh.SSHKey) else str(private_key)],
                known_hosts=([asyncssh.import_public_key(key) for key in known], [], []),
                agent_path=None,
                config=None,
            )
    except (OSError, asyncssh.Error, TimeoutError) as problem:
        raise LoginFailed(f"{username}@{host} port {port}: {_reason(problem)}") from problem
    try:
        yield connection
    finally:
        connection.abort()
        with suppress(OSError, asyncssh.Error):
            await connection.wait_closed()


def _reason(problem: BaseException) -> str:
    if isinstance(problem, asyncssh.HostKeyNotVerifiable):
        return "it shows another host key than before"
    if isinstance(problem, asyncssh.PermissionDenied):
        return "the private key is refused"
    return str(problem) or "no answer in time"


async def replace_key(node: Node, old: asyncssh.SSHKey, new_public_key: str, seconds: float = 30) -> None:
    """From now on the new key logs in as the node's user, and the old one no longer does. Repeatable, as long as the old one does.
    Raises `LoginFailed`."""
    async with logged_in(node.host, node.port, node.username, old, node.host_keys, seconds) as connection:
        await put_key(connection, new_public_key, instead_of=old.export_public_key().decode(), seconds=seconds)


async def put_key(connection: asyncssh.SSHClientConnection, public_key: str, instead_of: str = "", seconds: float = 30) -> None:
    """Add a public key line to the user's authorized_keys, removing the one of `instead_of`. Raises `LoginFailed`."""
    removed = instead_of.split()[1] if instead_of else "-"
    script = (
        "umask 077 && mkdir -p ~/.ssh && cd ~/.ssh && touch authorized_keys && "
        f"{{ grep -vF -e {shlex.quote(removed)} authorized_keys || :; echo {shlex.quote(public_key)}; }} > .authorized_keys.new && "
        "mv .authorized_keys.new authorized_keys"
    )
    try:
        async with asyncio.timeout(seconds):
            done = await connection.run(script)
    except (OSError, asyncssh.Error, TimeoutError) as problem:
        raise LoginFailed(f"the build's key cannot be put on the node: {problem or 'no answer in time'}") from problem
    if done.exit_status != 0:
        said = str(done.stderr).strip().splitlines()[-1:] or ["it said nothing"]
        raise LoginFailed(f"the build's key cannot be put on the node: {said[0]}")
