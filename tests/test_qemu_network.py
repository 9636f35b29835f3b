"""What guests on the internet reach, told by packets that a test sends in a guest's place, to programs as real machines have them."""

from __future__ import annotations

import asyncio
import shutil
import socket
import struct
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from providers.base import LaunchFailed
from providers.locks import Process
from providers.qemu_machine import OUTSIDE_MAC, Network, free_port
from providers.qemu_vm import Vm
from tests.services.until import until
from tests.test_qemu_processes import SLEEPS, start

pytestmark = pytest.mark.skipif(shutil.which("passt") is None, reason="passt is not installed")
GUEST, GATEWAY = "10.0.2.15", "10.0.2.2"


def checksum(data: bytes) -> int:
    total = sum(struct.unpack(f">{len(data) // 2}H", data))
    total = (total >> 16) + (total & 0xFFFF)
    return ~(total + (total >> 16)) & 0xFFFF


def wish_to_connect(address: str, port: int, own_port: int) -> bytes:
    """A frame of the guest's with the first packet of a connection, as QEMU puts it into a stream."""
    source, target = socket.inet_aton(GUEST), socket.inet_aton(address)
    tcp = struct.pack(">HHIIBBHHH", own_port, port, 1, 0, 5 << 4, 2, 64000, 0, 0)
    pseudo = source + target + struct.pack(">BBH", 0, socket.IPPROTO_TCP, len(tcp))
    tcp = tcp[:16] + struct.pack(">H", checksum(pseudo + tcp)) + tcp[18:]
    ip = struct.pack(">BBHHHBBH", 0x45, 0, 20 + len(tcp), 1, 0, 64, socket.IPPROTO_TCP, 0) + source + target
    ip = ip[:10] + struct.pack(">H", checksum(ip)) + ip[12:]
    frame = bytes.fromhex("52550a000202") + bytes.fromhex(OUTSIDE_MAC.replace(":", "")) + b"\x08\x00" + ip + tcp
    return struct.pack(">I", len(frame)) + frame


def own_address() -> str:
    """One of this machine's that is not loopback."""
    with socket.socket(type=socket.SOCK_DGRAM) as probe:
        try:
            probe.connect(("192.0.2.77", 9))
        except OSError:
            pytest.skip("this machine has no way to other networks")
        return str(probe.getsockname()[0])


class Guest:
    """The guest's end of the network program of a machine."""

    def __init__(self, port: int) -> None:
        self.port = port
        self._words = Network("", "", True, port).program()

    async def __aenter__(self) -> Guest:
        ours, theirs = socket.socketpair()
        words = [word.replace("{network}", str(theirs.fileno())) for word in self._words]
        self._process = await asyncio.create_subprocess_exec(*words, pass_fds=[theirs.fileno()])
        theirs.close()
        self.reader, self.writer = await asyncio.open_connection(sock=ours)
        return self

    async def __aexit__(self, *_: object) -> None:
        self.writer.close()
        await self._process.wait()

    async def connect(self, address: str, port: int, own_port: int) -> None:
        self.writer.write(wish_to_connect(address, port, own_port))
        await self.writer.drain()

    async def wished(self) -> tuple[str, int]:
        """The address and port of the guest that somebody wishes to connect to next."""
        while True:
            [length] = struct.unpack(">I", await self.reader.readexactly(4))
            frame = await self.reader.readexactly(length)
            if frame[12:14] == b"\x08\x00" and frame[23] == socket.IPPROTO_TCP and frame[47] & 0x12 == 2:
                return socket.inet_ntoa(frame[30:34]), struct.unpack(">H", frame[36:38])[0]


@pytest.fixture
async def guest() -> AsyncIterator[Guest]:
    async with Guest(free_port()) as found:
        yield found


def listener(address: str) -> socket.socket:
    found = socket.socket()
    found.bind((address, 0))
    found.listen()
    found.setblocking(False)
    return found


async def test_a_guest_reaches_this_machine_but_not_its_loopback_interface(guest: Guest) -> None:
    with listener("127.0.0.1") as inside, listener(own_address()) as outside:
        port = inside.getsockname()[1]
        forbidden = ("127.0.0.1", "127.8.8.8", "0.0.0.0", GATEWAY, "198.18.0.1", "198.18.0.2")
        for number, address in enumerate(forbidden):
            await guest.connect(address, port, 40000 + number)
        await guest.connect(*outside.getsockname(), 50000)
        await asyncio.get_running_loop().sock_accept(outside)
        with pytest.raises(BlockingIOError):
            inside.accept()


async def test_the_port_leads_to_the_guests_ssh_server(guest: Guest) -> None:
    with listener(own_address()) as outside:
        await guest.connect(*outside.getsockname(), 50000)  # passt learns from it where the guest is
        await asyncio.get_running_loop().sock_accept(outside)
    _, writer = await asyncio.open_connection("127.0.0.1", guest.port)
    assert await guest.wished() == (GUEST, 22)
    writer.close()


@pytest.mark.skipif(shutil.which("bwrap") is None, reason="bubblewrap is not installed")
async def test_without_namespaces_nobody_gets_to_the_internet_and_is_told_why() -> None:
    words = ["bwrap", "--unshare-user", "--uid", "1000", "--disable-userns", "--dev-bind", "/", "/", *Network("", "", True, 1).program()]
    process = await asyncio.create_subprocess_exec(*(word.replace("{network}", "0") for word in words), stderr=asyncio.subprocess.PIPE)
    _, said = await process.communicate()
    assert process.returncode
    assert b"this machine lets its users make no network namespaces" in said
    assert b"or set internet: false" in said


@pytest.fixture
def machine(tmp_path: Path) -> Vm:
    (tmp_path / "node").mkdir()
    return Vm(tmp_path / "node", Network("239.0.0.1:40000", "02:00:00:00:00:01", True, free_port()))


async def test_a_network_that_cannot_be_had_is_said_in_its_words(machine: Vm) -> None:
    with socket.create_server(("127.0.0.1", machine.network.port)):
        await start(machine, SLEEPS)
        with pytest.raises(LaunchFailed, match=rf"its network ended: .*{machine.network.port}"):
            await machine.unless_it_ends(asyncio.Event().wait())
    machine.process.kill()


async def test_the_network_ends_with_the_machine(machine: Vm) -> None:
    await start(machine, SLEEPS)
    network = Process.read(machine.directory / "network.json")
    assert network is not None

    def programs() -> list[str]:
        found = (path.read_bytes().replace(b"\0", b" ").decode(errors="replace") for path in Path("/proc").glob("[0-9]*/cmdline"))
        return [words for words in found if f"127.0.0.1/{machine.network.port}:" in words]

    await until(programs, "pasta runs")
    machine.process.kill()
    await network.ended()
    await until(lambda: not programs(), "pasta has ended")
