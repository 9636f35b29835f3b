"""How much of this machine's disk a build fills, and what is done about it.

There is no quota that an ordinary user could set, so what is written is added up every few seconds; one file cannot become larger than the
limit at all (`tasks.ansible.zygote`). What a build writes in between two looks is what it can go beyond. Whatever the limit, a disk that is
nearly full ends the builds that fill it, before everything else here stops for want of it.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import os
import shutil
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable
from contextlib import asynccontextmanager
from pathlib import Path

LOOK_SECONDS = 5.0
SPARE_BYTES = 50_000_000
"""Less than this free is a full disk. A build that wrote less than this is not to blame."""
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


def is_full(path: Path) -> bool:
    """Is there next to nothing left on the disk of this directory?"""
    return shutil.disk_usage(path).free < SPARE_BYTES


def for_want_of_disk(problem: BaseException) -> bool:
    return isinstance(problem, OSError) and problem.errno in (errno.ENOSPC, errno.EDQUOT)


def why_full(path: Path) -> str:
    """One sentence about a disk that is full."""
    return f"The disk of {path} is full: {shutil.disk_usage(path).free // 1_000_000} MB are free. Make room there."


@asynccontextmanager
async def disk_watched(paths: Iterable[Path], limit: int | None, full: Callable[[str], Awaitable[None]]) -> AsyncIterator[None]:
    """While this lasts, `full` is called once, with the reason, if there is more than `limit` bytes below `paths`, of which the first is a
    directory that exists; or if its disk is full and this is to blame."""
    watching = asyncio.create_task(_watch(tuple(paths), limit, full))
    try:
        yield
    finally:
        watching.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await watching


async def _watch(paths: tuple[Path, ...], limit: int | None, full: Callable[[str], Awaitable[None]]) -> None:
    pause = LOOK_SECONDS
    while True:
        await asyncio.sleep(pause)
        began = time.monotonic()
        nearly = is_full(paths[0])
        written = await asyncio.to_thread(used, paths) if nearly or limit is not None else 0
        if limit is not None and written > limit:
            await full(f"this job may fill {limit // 1_000_000} MB here")
            return
        if nearly and written > SPARE_BYTES:
            await full(why_full(paths[0]))
            return
        pause = max(LOOK_SECONDS, (time.monotonic() - began) / MOST_SHARE)
