"""A process that belongs to this one: started again when it dies, stopped with us, and never left behind if we are killed."""

from __future__ import annotations

import asyncio
import ctypes
import logging
import os
import signal
from collections.abc import Callable, Mapping
from pathlib import Path

logger = logging.getLogger("headgate.up")

PR_SET_PDEATHSIG = 1
"""From linux/prctl.h: the kernel sends this process a signal when its parent ends."""
STOP_SECONDS = 20.0


def _die_with_parent() -> None:
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)


class Child:
    """One supervised process writing to a log file of its own."""

    def __init__(self, name: str, command: list[str], environment: Mapping[str, str], log: Path) -> None:
        self.name = name
        self.log = log
        self._command = command
        self._environment = {**os.environ, **environment}
        self._process: asyncio.subprocess.Process | None = None

    async def start(self) -> None:
        self.log.parent.mkdir(parents=True, exist_ok=True)
        with self.log.open("ab") as log:
            self._process = await asyncio.create_subprocess_exec(
                *self._command,
                env=self._environment,
                stdin=asyncio.subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                preexec_fn=_die_with_parent,  # no thread of ours holds a lock the child could need
                start_new_session=True,  # Ctrl-C on the terminal is for us alone; we stop our children in order
            )

    @property
    def process(self) -> int | None:
        return None if self._process is None else self._process.pid

    async def ended(self) -> int:
        """Wait for the process to end by itself; its exit code."""
        assert self._process is not None
        return await self._process.wait()

    def last_words(self, lines: int = 5) -> str:
        text = self.log.read_text(errors="replace").strip().splitlines() if self.log.exists() else []
        return "\n".join(text[-lines:])

    async def keep(self, when_ended: Callable[[], None]) -> None:
        """Start it again whenever it ends, with growing pauses if it does not stay up; calls `when_ended` each time."""
        loop = asyncio.get_running_loop()
        delay = 0.0
        while True:
            began = loop.time()
            code = await self.ended()
            when_ended()
            delay = 0.0 if loop.time() - began > 30 else min(delay * 2 + 0.5, 30)
            logger.warning("The %s ended with %d and is started again. Its log is %s.", self.name, code, self.log)
            await asyncio.sleep(delay)
            await self.start()

    async def stop(self) -> None:
        """Ask it to end; after a while make it."""
        if self._process is None or self._process.returncode is not None:
            return
        self._process.terminate()
        try:
            async with asyncio.timeout(STOP_SECONDS):
                await self._process.wait()
        except TimeoutError:
            self._process.kill()
            await self._process.wait()
