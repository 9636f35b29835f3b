"""Start processes so that cancelling whoever waits for one neither loses it, nor leaves its children, nor hangs."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
from typing import Any


async def start_process(*command: str, **options: Any) -> asyncio.subprocess.Process:
    """`asyncio.create_subprocess_exec` in a process group of its own. A cancellation in the middle of it waits until the process is there
    and kills it: Python 3.11's own would wait for ever for pipes that were never connected."""
    starting = asyncio.ensure_future(asyncio.create_subprocess_exec(*command, start_new_session=True, **options))
    try:
        return await asyncio.shield(starting)
    except asyncio.CancelledError:
        process = await starting
        kill_group(process)
        await process.wait()
        raise


def kill_group(process: asyncio.subprocess.Process) -> None:
    """Kill a process of `start_process` and its children that stayed in its group. Repeatable, until somebody has waited for it."""
    if process.returncode is None:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)


async def communicate(process: asyncio.subprocess.Process, data: bytes | None = None) -> tuple[bytes, bytes]:
    """What the process writes to its two pipes until it ends; it is killed with its group when this is cancelled."""
    try:
        out, err = await process.communicate(data)
    except asyncio.CancelledError:
        kill_group(process)
        await process.wait()
        raise
    return out or b"", err or b""


async def ended_process(process: asyncio.subprocess.Process) -> int:
    """Wait for a process that is ending and let go of its pipes; returns its exit code."""
    if process.stdin is not None:
        process.stdin.close()
        with contextlib.suppress(ConnectionError):
            await process.stdin.wait_closed()
    return await process.wait()
