"""QEMU's process of one machine: started, spoken to, told who its guest is, waited for."""

from __future__ import annotations

import asyncio
import json
import os
import sys
import time
import uuid
from collections.abc import AsyncIterator, Awaitable, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import asyncssh
from qemu.qmp import ConnectError, QMPClient, QMPError
from qemu.qmp.qmp_client import NegotiationError

from providers.base import LaunchFailed
from providers.locks import Process
from providers.qemu_machine import Network

_STARTER = Path(__file__).with_name("qemu_start.py")
_FORWARD = "HOST_FORWARD"
CONNECT_TRIES = 5
"""How often the monitor is greeted."""
DYING_SECONDS = 1.0
"""How much later than its monitor the process of a machine may end: why it ended says more than that its monitor closed."""
T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Identity:
    """Who a guest is from now on. `interfaces` are those of the request's network."""

    hostname: str
    username: str
    public_key: str
    host_key: asyncssh.SSHKey
    old_mac: str
    mac: str
    address: str
    netmask: str

    def order(self) -> dict[str, Any]:
        return {
            "do": "become",
            "entropy": os.urandom(256).hex(),
            "hostname": self.hostname,
            "machine_id": os.urandom(16).hex(),
            "boot_id": str(uuid.uuid4()),
            "interfaces": [{"old_mac": self.old_mac, "mac": self.mac, "address": self.address, "netmask": self.netmask}],
            "host_key": self.host_key.export_private_key().decode(),
            "host_key_public": self.host_key.export_public_key().decode().strip(),
            "username": self.username,
            "public_key": self.public_key,
        }


class Vm:
    """The machine whose files are in `directory`."""

    def __init__(self, directory: Path, network: Network) -> None:
        self.directory = directory
        self.network = network

    @property
    def process(self) -> Process:
        """Raises `LaunchFailed`."""
        return self._recorded("process")

    def _recorded(self, name: str) -> Process:
        found = Process.read(self.directory / f"{name}.json")
        if found is None:
            raise LaunchFailed("QEMU's process was not recorded")
        return found

    async def start(self, command: Sequence[str], largest_file: int, lock: int, inherited: Sequence[int] = ()) -> None:
        """Raises `LaunchFailed` when the program cannot be started; what QEMU itself complains of shows by its end."""
        words = [sys.executable, "-I", "-S", str(_STARTER), str(self.directory), str(lock), str(largest_file), *self.network.program()]

        async def begin() -> tuple[int, list[str]]:
            starter = await asyncio.create_subprocess_exec(
                *(*words, "--", *command, *self.network.arguments()),
                stdin=asyncio.subprocess.DEVNULL,
                stdout=asyncio.subprocess.DEVNULL,
                stderr=asyncio.subprocess.PIPE,
                pass_fds=[lock, *inherited],
            )
            _, said = await starter.communicate()
            return starter.returncode or 0, said.decode(errors="replace").strip().splitlines()

        code, said = await _to_its_end(asyncio.create_task(begin()))
        if code:
            raise LaunchFailed((said or [f"its starter ended with {code}"])[-1])

    async def unless_it_ends(self, wanted: Awaitable[T]) -> T:
        """What is wanted of the machine. Raises `LaunchFailed` when its process, or that of its network, ends first."""
        ended = asyncio.create_task(self.process.ended())
        alone = asyncio.create_task(self._recorded("network").ended() if self.network.internet else asyncio.Event().wait())
        task = asyncio.ensure_future(wanted)
        try:
            await asyncio.wait((ended, alone, task), return_when=asyncio.FIRST_COMPLETED)
            broken = task.exception() if task.done() else None
            if alone.done() or isinstance(broken, OSError | LaunchFailed):
                await asyncio.wait((ended,), timeout=DYING_SECONDS)
            if not task.done() or isinstance(broken, OSError | LaunchFailed):
                if not self.process.alive:
                    raise LaunchFailed(f"QEMU ended: {self._last_words('qemu.log')}") from broken
                if alone.done():
                    raise LaunchFailed(f"its network ended: {self._last_words('network.log')}") from broken
            return await task
        finally:
            for each in (ended, alone, task):
                each.cancel()
            await asyncio.gather(ended, alone, task, return_exceptions=True)

    def _last_words(self, log: str) -> str:
        said = (self.directory / log).read_text(errors="replace").strip().splitlines()
        return said[-1] if said else "it said nothing"

    @asynccontextmanager
    async def reachable(self, name: str) -> AsyncIterator[str]:
        """A path of a file in the directory that is short enough for a socket."""
        handle = os.open(self.directory, os.O_RDONLY | os.O_DIRECTORY)
        try:
            yield f"/proc/self/fd/{handle}/{name}"
        finally:
            os.close(handle)

    @asynccontextmanager
    async def monitor(self) -> AsyncIterator[QMPClient]:
        client = QMPClient(self.directory.name)
        try:
            async with self.reachable("qmp") as path:
                for tries_left in reversed(range(CONNECT_TRIES)):
                    try:
                        await client.connect(path)
                        break
                    except ConnectError as problem:
                        # an event of the machine that came before the answer to the greeting is taken for the answer
                        if not (tries_left and isinstance(problem.exc, NegotiationError)):
                            raise
            yield client
        except QMPError as problem:
            raise LaunchFailed(f"QEMU refuses: {problem}") from problem
        finally:
            with suppress(EOFError, QMPError, OSError):  # it has ended
                await client.disconnect()

    async def ssh_port(self) -> int:
        """The port of the loopback interface that leads to the guest's SSH server."""
        if self.network.port:
            return self.network.port
        async with self.monitor() as monitor:
            said: Any = await monitor.execute("human-monitor-command", {"command-line": "info usernet"})
        for line in str(said).splitlines():
            fields = line.split()
            if fields and _FORWARD in fields[0]:
                return int(fields[3])
        raise LaunchFailed("QEMU forwards no port to the guest's SSH server")


async def _to_its_end(task: asyncio.Task[T]) -> T:
    """What the task returns; who is cancelled meanwhile is so only when it has ended. For the milliseconds in which a process is made: a
    starter that were killed could leave one that is written down nowhere."""
    cancelled: asyncio.CancelledError | None = None
    while not task.done():
        try:
            await asyncio.wait((task,))
        except asyncio.CancelledError as told:
            cancelled = told
    if cancelled is not None:
        raise cancelled
    return task.result()


class Guest:
    """The program in the guest that takes orders about who it is (`elements/ci-identity`), if the image has it."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer
        self.began = asyncio.Event()

    async def obey(self, order: Mapping[str, Any]) -> None:
        """Waits for as long as it takes the program to be there and to obey. Raises `LaunchFailed`."""
        self._writer.write(json.dumps(order).encode() + b"\n")
        await self._writer.drain()
        said = await self._answer()
        self.began.set()
        if said.get("begun"):
            said = await self._answer()
        if said.get("done") is not True:
            raise LaunchFailed(f"the guest cannot {order['do']}: {str(said.get('failed'))[:500]}")

    async def _answer(self) -> dict[str, Any]:
        line = await self._reader.readline()
        if not line:
            raise LaunchFailed("QEMU closed the port that tells the guest who it is")
        try:
            said = json.loads(line)
        except ValueError:
            said = None
        if not isinstance(said, dict):
            raise LaunchFailed("the guest answers what is no answer to the order who it is")
        return said

    async def become(self, identity: Identity) -> None:
        await self.obey(identity.order())
        await self.obey({"do": "clock", "seconds": time.time()})


@asynccontextmanager
async def guest(vm: Vm) -> AsyncIterator[Guest]:
    async with vm.reachable("identity") as path:
        reader, writer = await asyncio.open_unix_connection(path)
    try:
        yield Guest(reader, writer)
    finally:
        writer.close()
