"""Locks and processes of nodes on this machine, which outlive whoever started them."""

from __future__ import annotations

import asyncio
import fcntl
import json
import os
import select
import signal
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

RETRY_SECONDS = 0.02
"""How often a lock that another process has is tried; there is nothing to wait on that a cancelled coroutine could give up."""


@asynccontextmanager
async def exclusive(path: Path) -> AsyncIterator[int]:
    """Only one coroutine of one process is inside for `path`; the file descriptor may be inherited to keep it so for longer.
    Who is inside may remove the file."""
    path.parent.mkdir(parents=True, exist_ok=True)
    while True:
        handle = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if path.exists() and os.fstat(handle).st_ino == path.stat().st_ino:
                break
        except BlockingIOError:
            pass
        except FileNotFoundError:
            pass
        os.close(handle)
        await asyncio.sleep(RETRY_SECONDS)
    try:
        yield handle
    finally:
        os.close(handle)


@dataclass(frozen=True, slots=True)
class Process:
    """A process by its number and the time it started (in the kernel's ticks), since numbers are used again."""

    pid: int
    started: int

    @classmethod
    def of(cls, pid: int) -> Process | None:
        """The process that has this number now, or None when it has ended."""
        fields = _stat(pid)
        return None if fields is None else cls(pid, int(fields[19]))

    @classmethod
    def read(cls, path: Path) -> Process | None:
        """What `write` (or a program of ours) wrote."""
        try:
            found = json.loads(path.read_text())
        except FileNotFoundError:
            return None
        return cls(found["pid"], found["started"])

    @property
    def alive(self) -> bool:
        return Process.of(self.pid) == self

    def open(self) -> int | None:
        """A file descriptor that becomes readable when the process ends; None when it has."""
        try:
            handle = os.pidfd_open(self.pid)
        except ProcessLookupError:
            return None
        if self.alive:
            return handle
        os.close(handle)
        return None

    async def ended(self) -> None:
        """Until the process has ended."""
        handle = self.open()
        if handle is None:
            return
        loop, done = asyncio.get_running_loop(), asyncio.Event()
        loop.add_reader(handle, done.set)
        try:
            await done.wait()
        finally:
            loop.remove_reader(handle)
            os.close(handle)

    def kill(self, seconds: float = 10) -> bool:
        """Kill it and wait for its end; False when it has not ended after `seconds`."""
        handle = self.open()
        if handle is None:
            return True
        try:
            signal.pidfd_send_signal(handle, signal.SIGKILL)
            poll = select.poll()
            poll.register(handle, select.POLLIN)
            return bool(poll.poll(seconds * 1000))
        except ProcessLookupError:
            return True
        finally:
            os.close(handle)


def _stat(pid: int) -> list[str] | None:
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except (FileNotFoundError, ProcessLookupError):
        return None
    return None if fields[0] in "ZX" else fields
