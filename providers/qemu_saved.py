"""Machines that have booted and were saved, from which others go on.

A saved machine is `KEY/`: its memory as a file that every machine going on from it maps privately, its disk that they put theirs over, and
the state of its devices. It belongs to nobody: it booted with a config-drive without keys, its SSH server was stopped and its host keys
removed before. `KEY` is a digest of all that must be equal: the image, QEMU, the virtual hardware, the real processor if guests run on it.

It is made by the first launch that needs it, in that node's directory, so that it goes with the node if that launch is given up; only when
it is whole it moves to its place. An image without the element `ci-identity` cannot be told who it is: that is written down, and its
machines boot.
"""

from __future__ import annotations

import asyncio
import fcntl
import hashlib
import json
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from qemu.qmp import QMPClient

from providers import qemu_machine
from providers.base import LaunchFailed
from providers.local import read_facts, remove_tree, write_atomically
from providers.locks import Process, exclusive
from providers.qemu_machine import SAVED_MAC, Machine, Network
from providers.qemu_vm import Guest, Vm, guest
from providers.ssh import wait_for_banner

FACTS = "saved.json"
GRACE_SECONDS = 20.0
"""After its SSH server answers, how long the guest may take to begin to take orders."""


class NotSaved(Exception):
    """No machine of the image can be saved; one sentence why."""


@dataclass(frozen=True, slots=True)
class Shape:
    """What is saved: `disk` is GiB, 0 for the image's own size."""

    image: Path
    machine: Machine
    disk: int

    def facts(self, version: str) -> dict[str, Any]:
        stat = self.image.stat()
        return {
            "image": [str(self.image), stat.st_size, stat.st_mtime_ns, stat.st_ino],
            "version": version,
            "machine": self.machine.arguments(),
            "disk": self.disk,
            "processor": qemu_machine.processor() if self.machine.accelerator == "kvm" else "",
        }


class SavedMachines:
    """With `internet` machines are saved that have it: QEMU's own network, which others have, is part of what it saves."""

    def __init__(self, directory: Path, boot_seconds: float, internet: bool) -> None:
        self._directory = directory
        self._internet = internet
        self._boot_seconds = boot_seconds

    async def get(self, shape: Shape, work: Path, lock: int) -> Path | None:
        """The directory of the saved machine, made in `work` (which must be in the same file system) if there is none yet; None when the
        image's machines cannot be saved. Raises `LaunchFailed` when the image does not boot."""
        facts = shape.facts(await qemu_machine.version()) | {"internet": self._internet}
        place = self._directory / hashlib.sha256(json.dumps(facts).encode()).hexdigest()[:20]
        if not (place / FACTS).exists():
            async with exclusive(self._directory / f"{place.name}.lock"):
                if not (place / FACTS).exists():
                    await self._make(shape, facts, place, work, lock)
        return place if read_facts(place / FACTS).get("resumes") else None

    async def _make(self, shape: Shape, facts: dict[str, Any], place: Path, work: Path, lock: int) -> None:
        await asyncio.to_thread(self._sweep)
        work.mkdir(mode=0o700)
        try:
            await self._boot_and_save(shape, work, lock)
            resumes = True
        except NotSaved as problem:
            resumes, facts = False, facts | {"because": str(problem)}
        finally:
            await asyncio.to_thread(_kill, work)
        write_atomically(work / FACTS, facts | {"resumes": resumes})
        if not resumes:
            for name in ("disk.qcow2", "memory"):
                (work / name).unlink(missing_ok=True)
        await asyncio.to_thread(_flush, work)
        await asyncio.to_thread(remove_tree, place)  # what a killed removal or `drop` left
        work.rename(place)

    async def _boot_and_save(self, shape: Shape, work: Path, lock: int) -> None:
        nobody = qemu_machine.group(str(work), "saving")  # a network for one
        port = qemu_machine.free_port() if self._internet else 0
        vm, machine = Vm(work, Network(nobody, SAVED_MAC, self._internet, port)), shape.machine
        drive = qemu_machine.config_drive(work / "config.iso", qemu_machine.meta_data("image"), qemu_machine.network_data())
        size, _ = await asyncio.gather(qemu_machine.overlay(work / "disk.qcow2", shape.image, shape.disk), drive)
        words = machine.arguments() + machine.memory("memory", shared=True)
        await vm.start(words, qemu_machine.largest_file(size, machine), lock)
        await vm.unless_it_ends(self._prepare(vm))
        await vm.unless_it_ends(_save(vm))

    async def _prepare(self, vm: Vm) -> None:
        async with guest(vm) as told:
            if not await obeys_or_boots(vm, told, {"do": "prepare"}, self._boot_seconds, GRACE_SECONDS):
                raise NotSaved("the image has no program that takes a new identity (element ci-identity)")

    def _sweep(self) -> None:
        """Remove what was saved of images that are no more, or are no more what they were, and what nobody goes on from any more. Who goes
        on from one has its files open."""
        for place in self._directory.glob("*/"):
            if not _same(read_facts(place / FACTS).get("image")):
                with suppress(BlockingIOError), _now(place.with_name(f"{place.name}.lock")):  # else one is just being made there
                    if not _same(read_facts(place / FACTS).get("image")):
                        remove_tree(place)

    def drop(self, saved: Path) -> None:
        """Nobody goes on from this one any more (the machine's kernel has changed, a file is damaged): the next launch saves another."""
        (saved / FACTS).unlink(missing_ok=True)

    def forget(self, image: Path) -> None:
        """Remove what was saved of this image."""
        for facts in self._directory.glob(f"*/{FACTS}"):
            if read_facts(facts).get("image", [""])[0] == str(image):
                remove_tree(facts.parent)
        self._sweep()


def _same(image: list[Any] | None) -> bool:
    """Whether the image is what it was when these facts of it (`Shape.facts`) were written down."""
    if image is None:
        return False
    path, *facts = image
    try:
        stat = Path(path).stat()
    except FileNotFoundError:
        return False
    return facts == [stat.st_size, stat.st_mtime_ns, stat.st_ino]


@contextmanager
def _now(lock: Path) -> Iterator[None]:
    """As `exclusive`, for who does not wait: raises `BlockingIOError`."""
    handle = os.open(lock, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        yield
        lock.unlink(missing_ok=True)
    finally:
        os.close(handle)


async def obeys_or_boots(vm: Vm, told: Guest, order: dict[str, Any], boot_seconds: float, grace: float) -> bool:
    """Whether the guest obeys; False when its SSH server answers and `grace` seconds later it has not begun to. Raises `LaunchFailed`."""
    obeys = asyncio.create_task(told.obey(order))
    begins = asyncio.create_task(told.began.wait())
    boots = asyncio.create_task(_boots(await vm.ssh_port(), boot_seconds))
    try:
        await asyncio.wait((obeys, begins, boots), return_when=asyncio.FIRST_COMPLETED)
        if not obeys.done() and not begins.done():
            boots.result()
            await asyncio.wait((obeys, begins), timeout=grace, return_when=asyncio.FIRST_COMPLETED)
        if not obeys.done() and not begins.done():
            return False
        await obeys
        return True
    finally:
        for task in (obeys, begins, boots):
            task.cancel()
        await asyncio.gather(obeys, begins, boots, return_exceptions=True)


async def _boots(port: int, seconds: float) -> None:
    try:
        await wait_for_banner("127.0.0.1", port, seconds)
    except TimeoutError as problem:
        raise LaunchFailed(f"it does not boot: {problem}") from problem


async def _save(vm: Vm) -> None:
    """Memory is in its file already; the state of the devices is sent to a socket of ours."""
    received: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    async def receive(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with (vm.directory / "state").open("wb") as state:
            while piece := await reader.read(1 << 16):
                state.write(piece)
        writer.close()
        if not received.done():
            received.set_result(None)

    async with vm.reachable("saving") as path:
        server = await asyncio.start_unix_server(receive, path)
    async with server, vm.monitor() as monitor:
        capabilities = [{"capability": name, "state": True} for name in ("x-ignore-shared", "events")]
        await monitor.execute("migrate-set-capabilities", {"capabilities": capabilities})
        with monitor.listener("MIGRATION") as events:
            await monitor.execute("migrate", {"uri": "unix:saving"})
            async for event in events:
                status = event["data"]["status"]  # type: ignore[index]  # as QEMU's protocol says
                if status == "failed":
                    raise LaunchFailed(f"the booted machine cannot be saved: {await monitor.execute('query-migrate')}")
                if status == "completed":
                    break
        await received
    (vm.directory / "saving").unlink(missing_ok=True)


def _kill(directory: Path) -> None:
    for name in ("process.json", "network.json"):
        if (process := Process.read(directory / name)) is not None:
            process.kill()


def _flush(directory: Path) -> None:
    """So that after a crash of this machine the facts do not speak of what never reached the disk."""
    for path in directory.iterdir():
        if path.is_file() and not path.is_symlink():
            handle = os.open(path, os.O_RDONLY)
            os.fsync(handle)
            os.close(handle)


async def go_on(monitor: QMPClient, state: int) -> None:
    """Let a machine that waits (`-incoming defer`) read the state of its devices from this file descriptor of QEMU's, and run."""
    capabilities = [{"capability": "x-ignore-shared", "state": True}]
    await monitor.execute("migrate-set-capabilities", {"capabilities": capabilities})
    await monitor.execute("migrate-incoming", {"uri": f"fd:{state}"})
