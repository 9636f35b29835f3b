"""Pages that keep themselves up to date: each is rendered once per change, however many look at it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Coroutine

from services.web.reader import Reader

GATHER = 0.1
"""Seconds in which further changes join the first."""
ALIVE = 25.0
"""Seconds of silence after which a comment is sent, since proxies cut silent connections."""


class Feed:
    """`version` counts the reader's updates."""

    def __init__(self, reader: Reader) -> None:
        self._reader = reader
        self._version = 0
        self._changed = asyncio.Condition()
        self._rendered: dict[str, asyncio.Task[str]] = {}
        self._task: asyncio.Task[None] | None = None

    async def _run(self) -> None:
        async for _ in self._reader.updates():
            await asyncio.sleep(GATHER)
            async with self._changed:
                self._version += 1
                self._rendered.clear()
                self._changed.notify_all()

    async def _page(self, key: str, render: Callable[[], Coroutine[None, None, str]]) -> str:
        """The page as of this version; a failed rendering is not kept."""
        made = self._rendered.get(key)
        if made is None or (made.done() and made.exception()):
            made = self._rendered[key] = asyncio.create_task(render())
        return await asyncio.shield(made)

    async def follow(self, key: str, render: Callable[[], Coroutine[None, None, str]]) -> AsyncIterator[bytes]:
        """Server-sent events: the page at once, and again whenever it differs from what was sent last.

        Ends when the reader's updates have ended; the browser then connects again."""
        if self._task is None or self._task.done():
            self._task = asyncio.create_task(self._run())
        sent = ""
        while True:
            version = self._version
            page = await self._page(key, render)
            if page != sent:
                sent = page
                yield b"".join(b"data: %s\n" % line.encode() for line in page.split("\n")) + b"\n"
            try:
                async with asyncio.timeout(ALIVE), self._changed:
                    await self._changed.wait_for(lambda seen=version: self._version != seen)  # type: ignore[misc]  # mypy knows no default of a lambda
            except TimeoutError:
                if self._task is None or self._task.done():
                    return
                yield b": still here\n\n"

    def close(self) -> None:
        if self._task:
            self._task.cancel()
            self._task = None
