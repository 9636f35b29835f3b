"""What is left of virtual machines whose launch was given up, with programs in QEMU's place and without any machine."""

from __future__ import annotations

import asyncio
import fcntl
import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from providers import qemu_vm
from providers.base import LaunchFailed
from providers.locks import exclusive
from providers.qemu_machine import Network
from providers.qemu_saved import FACTS, SavedMachines
from providers.qemu_vm import Vm
from tests.services.until import until
from tests.test_qemu import running_below

SLEEPS = ["sh", "-c", "exec sleep 600"]


@pytest.fixture
async def vm(tmp_path: Path) -> AsyncIterator[Vm]:
    (tmp_path / "node").mkdir()
    made = Vm(tmp_path / "node", Network("239.0.0.1:40000", "02:00:00:00:00:01", False))
    yield made
    if (tmp_path / "node" / "process.json").exists():
        made.process.kill()


async def start(vm: Vm, command: list[str] = SLEEPS) -> None:
    async with exclusive(vm.directory.with_suffix(".lock")) as lock:
        await vm.start(command, 1 << 20, lock)


HESITATES = """
import sys, time
sys.path.insert(0, {place!r})
import qemu_start
record = qemu_start.record

def late(*what):
    open("begun", "w").close()
    time.sleep(0.3)
    record(*what)

qemu_start.record = late
sys.exit(qemu_start.main())
"""
"""The starter, but what is to become QEMU takes its time to write itself down."""


@pytest.mark.parametrize("begun", [False, True])
async def test_a_start_that_is_cancelled_leaves_no_process_that_is_not_written_down(
    vm: Vm, begun: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "starter.py").write_text(HESITATES.format(place=str(qemu_vm._STARTER.parent)))
    monkeypatch.setattr(qemu_vm, "_STARTER", tmp_path / "starter.py")
    starting = asyncio.create_task(start(vm))
    await (until(lambda: (vm.directory / "begun").exists(), "a process begins to become QEMU") if begun else asyncio.sleep(0))
    for _ in range(20):  # as a flow that is told again and again
        starting.cancel()
        await asyncio.sleep(0)
    await asyncio.gather(starting, return_exceptions=True)
    if (vm.directory / "process.json").exists():
        vm.process.kill()
    assert not running_below(tmp_path)


async def test_a_program_that_cannot_be_started_is_named(vm: Vm) -> None:
    with pytest.raises(LaunchFailed, match="/nowhere/qemu cannot be started: No such file or directory"):
        await start(vm, ["/nowhere/qemu"])


def saved(directory: Path, name: str, image: Path | None) -> Path:
    place = directory / name
    place.mkdir(parents=True)
    (place / "memory").write_bytes(b"memory")
    if image is not None:
        stat = image.stat()
        (place / FACTS).write_text(json.dumps({"image": [str(image), stat.st_size, stat.st_mtime_ns, stat.st_ino], "resumes": True}))
    return place


def test_saved_machines_that_nobody_goes_on_from_are_swept(tmp_path: Path) -> None:
    image, other = tmp_path / "image", tmp_path / "other"
    image.write_text("image")
    other.write_text("other")
    machines = SavedMachines(tmp_path / "saved", 1, False)
    dropped, good, changed = (saved(tmp_path / "saved", *what) for what in (("1", image), ("2", image), ("3", other)))
    half = saved(tmp_path / "saved", "4", None)
    being_made = saved(tmp_path / "saved", "5", None)
    machines.drop(dropped)
    other.write_text("another one")
    with being_made.with_name("5.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        machines.forget(tmp_path / "no image of these")
        assert {path.name for path in (tmp_path / "saved").glob("*/")} == {good.name, being_made.name}
    assert not any(path.exists() for path in (dropped, changed, half))
    machines.forget(image)
    assert list((tmp_path / "saved").glob("*/")) == []


async def test_an_event_in_place_of_the_answer_to_the_greeting_does_not_fail_the_launch(vm: Vm) -> None:
    early = [1]

    async def monitor(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        def say(message: dict[str, Any]) -> None:
            writer.write(json.dumps(message).encode() + b"\r\n")

        say({"QMP": {"version": {}, "capabilities": []}})
        while said := await reader.read(1 << 16):
            if early:
                early.pop()
                say({"event": "RESUME", "timestamp": {"seconds": 0, "microseconds": 0}})
            say({"return": {}, "id": json.loads(said).get("id")})
        writer.close()

    async with await asyncio.start_unix_server(monitor, vm.directory / "qmp"), vm.monitor() as client:
        assert await client.execute("query-status") == {}
    assert not early
