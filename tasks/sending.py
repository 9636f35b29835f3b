"""What a build writes on a machine that is not its home, sent home: its console as it grows, its logs when it has ended."""

from __future__ import annotations

import asyncio
import logging
import os
import shutil
import tarfile
from collections.abc import AsyncIterator
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

from headgate.problems import Problem
from tasks.building import build_directory
from tasks.following import follow
from tasks.home import Home, HomeProblem
from tasks.home_requests import CONSOLE, LARGEST_BODY, LOGS
from tasks.log_files import log_files, opened

if TYPE_CHECKING:  # it brings Prefect
    from tasks.runtime import Runtime

logger = logging.getLogger("headgate.worker")

LAST_SECONDS = 2.0
"""How long sending may take that nobody waits for: its build was cancelled."""
UNSENT = "unsent"
"""A file beside the logs of a build that could not be sent: they are kept here as long as they would be at home."""


class Sending:
    """One build's. What cannot be sent changes no result: `end` says why, and it stays on this machine."""

    def __init__(self, home: Home, build: str, directory: Path) -> None:
        self._home = home
        self._build = build
        self._directory = directory
        self._ended = asyncio.Event()
        self._console = asyncio.create_task(self._follow(), name=f"console of {build}")
        self._sent = False

    async def end(self) -> str:
        """Send the rest of the console, and the logs: nothing more is written. Why that was not possible, or ""."""
        self._ended.set()
        try:
            await self._console
            await self._send_logs()
        except (Problem, OSError) as problem:
            with suppress(OSError):
                (self._directory / UNSENT).touch()
            return f"The logs are on the worker's machine only: {problem}"
        self._sent = True
        return ""

    async def close(self) -> None:
        """Leave off, soon. What was sent whole is deleted here. A cancelled build is sent now: what its end has blotted out is to be
        blotted out at home."""
        if not self._ended.is_set():
            with suppress(TimeoutError):
                await asyncio.wait_for(self.end(), LAST_SECONDS)
        await asyncio.wait({self._console}, timeout=LAST_SECONDS)
        self._console.cancel()
        (outcome,) = await asyncio.gather(self._console, return_exceptions=True)
        if isinstance(outcome, Problem | OSError):
            logger.warning("The console of %s was not sent whole: %s", self._build, outcome)
        if self._sent:
            await asyncio.to_thread(shutil.rmtree, self._directory, True)

    async def _follow(self) -> None:
        console = self._directory / CONSOLE
        await self._send(CONSOLE, follow(console, 0, self._home.watcher, self._wait_for_end))

    async def _wait_for_end(self) -> None:
        await self._ended.wait()

    async def _send(self, file: str, chunks: AsyncIterator[bytes]) -> None:
        """All of the chunks, from the beginning of the file on. Raises `HomeProblem`."""
        offset = 0
        async for chunk in chunks:
            size = await self._home.append(self._build, file, offset, chunk)
            if size != (offset := offset + len(chunk)):
                # an answer got lost, so this is a repetition of what arrived: anything else is nothing that we sent
                raise HomeProblem(f"{self._home.url} has {size} bytes of {file} of build {self._build}, where {offset} were sent.")

    async def _send_logs(self) -> None:
        packed = self._directory / LOGS
        if not self._directory.exists():
            return  # it never came to write anything
        await asyncio.to_thread(_pack, self._directory, packed)
        await self._send(LOGS, _pieces(packed))
        await self._home.unpack(self._build)


def begin_sending(this: Runtime, build_id: str) -> Sending | None:
    """Send what the build writes from now on, unless this is its home."""
    return None if this.home is None else Sending(this.home, build_id, build_directory(this, build_id))


def _pack(directory: Path, packed: Path) -> None:
    """Console and logs into one file; the console once more, because what is found to be a secret at the end is blotted out of it."""
    console = directory / CONSOLE
    with tarfile.open(packed, "w", format=tarfile.PAX_FORMAT) as archive:
        for name, file in [(CONSOLE, console), *((f"logs/{each.path}", each.file) for each in log_files(directory / "logs"))]:
            try:
                source = opened(file)
            except FileNotFoundError:
                continue  # nothing was said, and nothing left
            with source:
                facts = os.fstat(source.fileno())
                entry = tarfile.TarInfo(name)
                entry.size, entry.mtime, entry.mode = facts.st_size, int(facts.st_mtime), 0o640
                archive.addfile(entry, source)


async def _pieces(file: Path) -> AsyncIterator[bytes]:
    with file.open("rb") as source:
        while piece := await asyncio.to_thread(source.read, LARGEST_BODY):
            yield piece
