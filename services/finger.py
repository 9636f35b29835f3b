"""Consoles over plain TCP, as Zuul's users know them by `finger BUILD@HOST`: connect, send the build's id and a line's end, read."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial

from services.web.reader import Reader
from tasks.following import Watcher, follow

ASK_SECONDS = 10.0
LONGEST_QUESTION = 256
MOST_READERS = 500

logger = logging.getLogger("headgate.finger")


class Finger:
    """Answers one connection after another; a reader that is slow holds up nobody but itself."""

    def __init__(self, reader: Reader) -> None:
        self._reader = reader
        self._watcher = Watcher()
        self._readers: set[asyncio.Task[None]] = set()

    async def answer(self, asking: asyncio.StreamReader, telling: asyncio.StreamWriter) -> None:
        """One connection, from its question to the end of the build."""
        task = asyncio.current_task()
        assert task is not None
        self._readers.add(task)
        try:
            await self._answer(asking, telling)
        except (OSError, TimeoutError, asyncio.IncompleteReadError, asyncio.LimitOverrunError) as problem:
            logger.debug("a reader of a console has gone: %s", problem)
        except asyncio.CancelledError:
            logger.debug("a reader of a console is let go")
        finally:
            self._readers.discard(task)
            telling.close()

    async def _answer(self, asking: asyncio.StreamReader, telling: asyncio.StreamWriter) -> None:
        async with asyncio.timeout(ASK_SECONDS):
            question = (await asking.readuntil(b"\n")).decode(errors="replace").strip().removeprefix("/W").strip()
        found = await self._reader.build(question) if question and len(self._readers) <= MOST_READERS else None
        if found is None:
            telling.write(b"There are too many readers.\n" if len(self._readers) > MOST_READERS else b"There is no such build.\n")
            await telling.drain()
            return
        build = found.build.id  # who has closed its half of the connection (`nc -N`) still reads: only a write tells who has gone
        async for chunk in follow(self._reader.console(build), 0, self._watcher, partial(self._reader.ended, build)):
            telling.write(chunk)
            await telling.drain()

    def close(self) -> None:
        """Let every reader go."""
        for task in self._readers:
            task.cancel()
        self._watcher.close()


@asynccontextmanager
async def finger_server(reader: Reader, host: str, port: int | None) -> AsyncIterator[int]:
    """Listens while this lasts; gives the port (0 asks for any). Nothing is done without a port, which gives 0."""
    if port is None:
        yield 0
        return
    finger = Finger(reader)
    server = await asyncio.start_server(finger.answer, host, port, limit=LONGEST_QUESTION)
    try:
        yield server.sockets[0].getsockname()[1]
    finally:
        server.close()
        finger.close()
