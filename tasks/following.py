"""A file that grows, as a stream: woken by inotify, so that a waiting reader costs nothing and a new line is there at once."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from asyncinotify import Inotify, Mask, Watch

CHUNK = 256 * 1024
BREATH = 0.02
"""Seconds between two looks of one follower: lines of a chatty job come in handfuls, a line after a silence at once."""


class Watcher:
    """One inotify descriptor for all followers of a process, since the kernel allows a user only 128."""

    def __init__(self) -> None:
        self._inotify: Inotify | None = None
        self._task: asyncio.Task[None] | None = None
        self._watches: dict[Path, tuple[Watch, set[asyncio.Event]]] = {}

    @contextmanager
    def watch(self, path: Path) -> Iterator[asyncio.Event]:
        """An event that is set whenever the file is written to, or something is made in the directory. `path` exists."""
        if self._inotify is None:
            self._inotify = Inotify()
            self._task = asyncio.create_task(self._run(self._inotify))
        changed = asyncio.Event()
        if path not in self._watches:
            mask = Mask.CREATE | Mask.MOVED_TO | Mask.ONLYDIR if path.is_dir() else Mask.MODIFY
            self._watches[path] = (self._inotify.add_watch(path, mask), set())
        watch, listeners = self._watches[path]
        listeners.add(changed)
        try:
            yield changed
        finally:
            listeners.discard(changed)
            if not listeners and self._watches.get(path, (None,))[0] is watch:
                del self._watches[path]
                with suppress(OSError):  # the file is gone, and the watch with it
                    self._inotify.rm_watch(watch)

    async def _run(self, inotify: Inotify) -> None:
        async for event in inotify:
            for watch, listeners in self._watches.values():
                if watch is event.watch:
                    for listener in listeners:
                        listener.set()

    def close(self) -> None:
        if self._task and self._inotify:
            self._task.cancel()
            with suppress(RuntimeError):  # no loop runs any more
                asyncio.get_running_loop().remove_reader(self._inotify.fd)
            self._inotify.close()
            self._task = self._inotify = None


def _nearest(path: Path) -> Path:
    """The path itself, or the lowest directory above it that exists."""
    while not path.exists():
        path = path.parent
    return path


async def follow(path: Path, offset: int, watcher: Watcher, ended: Callable[[], Coroutine[None, None, None]]) -> AsyncIterator[bytes]:
    """What the file holds from byte `offset` on and what is appended, until `ended()` returns and all of it was given.

    The file need not exist yet, nor its directory.
    """
    end = asyncio.create_task(ended())
    loop = asyncio.get_running_loop()
    try:
        while True:
            target = _nearest(path)
            with watcher.watch(target) as changed:
                while _nearest(path) == target:
                    changed.clear()
                    finished = end.done()
                    looked = loop.time()
                    while target == path and (chunk := _read(path, offset)):
                        offset += len(chunk)
                        yield chunk
                    if finished:
                        end.result()
                        return
                    wait = asyncio.create_task(changed.wait())
                    await asyncio.wait({wait, end}, return_when=asyncio.FIRST_COMPLETED)
                    wait.cancel()
                    await asyncio.sleep(max(0.0, looked + BREATH - loop.time()))
    finally:
        end.cancel()


def _read(path: Path, offset: int) -> bytes:
    descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW)
    try:
        return os.pread(descriptor, CHUNK, offset)
    finally:
        os.close(descriptor)
