"""How much of this machine's disk a build fills, and what is done about it.

There is no quota that an ordinary user could set, so what is written is added up every few seconds; one file cannot become larger than the
limit at all (`tasks.ansible.zygote`). What a build writes in between two looks is what it can go beyond.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable
from contextlib import asynccontextmanager
from pathlib import Path

LOOK_SECONDS = 5.0
MOST_SHARE = 0.05
"""Of the time is spent looking, at most: many files take long to add up."""


def used(paths: Iterable[Path]) -> int:
    """Bytes on the disk of all files below these directories. What vanishes or cannot be opened meanwhile counts for nothing."""
    total, waiting = 0, [str(path) for path in paths]
    while waiting:
        with contextlib.suppress(OSError), os.scandir(waiting.pop()) as entries:
            for entry in entries:
                with contextlib.suppress(OSError):
                    total += entry.stat(follow_symlinks=False).st_blocks * 512
                    if entry.is_dir(follow_symlinks=False):
                        waiting.append(entry.path)
    return total


@asynccontextmanager
async def disk_watched(paths: Iterable[Path], limit: int | None, full: Callable[[], Awaitable[None]]) -> AsyncIterator[None]:
    """While this lasts, `full` is called once if there is more than `limit` bytes below `paths`."""
    if limit is None:
        yield
        return
    watching = asyncio.create_task(_watch(tuple(paths), limit, full))
    try:
        yield
    finally:
        watching.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await watching


async def _watch(paths: tuple[Path, ...], limit: int, full: Callable[[], Awaitable[None]]) -> None:
    pause = LOOK_SECONDS
    while True:
        await asyncio.sleep(pause)
        began = time.monotonic()
        if await asyncio.to_thread(used, paths) > limit:
            await full()
            return
        pause = max(LOOK_SECONDS, (time.monotonic() - began) / MOST_SHARE)
