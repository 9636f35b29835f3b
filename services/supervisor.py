"""Processes that belong together: started, started again when they die, stopped in order, never left behind if we are killed.

The supervisor itself is plain and single-threaded, so that it may fork: what it has imported, its children share, in memory and in time.
"""

from __future__ import annotations

import asyncio
import ctypes
import gc
import logging
import os
import select
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Coroutine, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from headgate.problems import Problem

logger = logging.getLogger("headgate.up")

PR_SET_PDEATHSIG = 1
"""From linux/prctl.h: the kernel sends this process a signal when its parent ends."""
STOP_SECONDS = 20.0
STEADY_SECONDS = 30.0
"""A process that lived this long did not die of its start, and is started again at once."""
LONGEST_DELAY = 30.0
"""Between two starts of a part that ends again and again."""
MISTAKE = 78
"""Exit code (EX_CONFIG) of a child that met a `Problem`: starting it again would not help."""

Body = Callable[[], Coroutine[Any, Any, None]]


def _die_with_parent() -> None:
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)


@dataclass
class Part:
    """One supervised process: a `command` to execute, or a coroutine function to run in a fork of this process."""

    name: str
    log: Path
    command: list[str] | None = None
    environment: Mapping[str, str] = field(default_factory=dict)
    body: Body | None = None
    once: bool = False
    """It ends by itself when its work is done; another end than that is a problem."""
    process: int = 0
    began: float = 0.0
    delay: float = 0.0
    descriptor: int = -1

    def start(self) -> None:
        self.log.parent.mkdir(parents=True, exist_ok=True)
        if self.body is not None:
            self.process = self._fork(self.body)
        else:
            assert self.command is not None
            with self.log.open("ab") as log:
                self.process = subprocess.Popen(
                    self.command,
                    env={**os.environ, **self.environment},
                    stdin=subprocess.DEVNULL,
                    stdout=log,
                    stderr=log,
                    preexec_fn=_die_with_parent,
                    start_new_session=True,  # Ctrl-C on the terminal is for the supervisor alone
                ).pid
        self.descriptor = os.pidfd_open(self.process)
        self.began = time.monotonic()

    def _fork(self, body: Body) -> int:
        gc.freeze()  # what is imported stays shared: the collector does not write into it
        process = os.fork()
        if process:
            return process
        code = 1
        try:
            _die_with_parent()
            os.setsid()
            for number in (signal.SIGINT, signal.SIGTERM):
                signal.signal(number, signal.SIG_DFL)
            signal.set_wakeup_fd(-1)
            with self.log.open("ab", buffering=0) as log:
                os.dup2(log.fileno(), 1)
                os.dup2(log.fileno(), 2)
            asyncio.run(body())
            code = 0
        except Problem as problem:
            logger.error("%s", problem)
            code = MISTAKE
        except KeyboardInterrupt:
            code = 130
        except BaseException:
            logger.exception("The %s ended.", self.name)
        finally:
            sys.stdout.flush()
            sys.stderr.flush()
            os._exit(code)

    def last_words(self, lines: int = 1) -> str:
        text = self.log.read_text(errors="replace").strip().splitlines() if self.log.exists() else []
        return "\n".join(text[-lines:])

    def stop(self, at_once: bool = False) -> None:
        """Ask it to end, unless it has to be `at_once`; after a while make it."""
        if not self.process:
            return
        for number in (signal.SIGKILL,) if at_once else (signal.SIGTERM, signal.SIGKILL):
            os.kill(self.process, number)
            if select.select([self.descriptor], [], [], STOP_SECONDS)[0]:
                break
        self.reap()

    def reap(self) -> int:
        """Its exit code, negative for a signal."""
        _, status = os.waitpid(self.process, 0)
        os.close(self.descriptor)
        self.process = 0
        return os.waitstatus_to_exitcode(status)


class Supervisor:
    """Runs `parts` until told to stop. Not for a process with threads."""

    def __init__(self) -> None:
        self.parts: list[Part] = []
        self._stopped = False
        self._enduring = False
        self._wake_read, self._wake_write = os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK)
        self.messages, self._message_write = os.pipe2(os.O_CLOEXEC)

    def tell(self, line: str) -> None:
        """One line from a child to whoever supervises; short enough to arrive whole."""
        os.write(self._message_write, line.encode()[:4000] + b"\n")

    def __enter__(self) -> Supervisor:
        signal.set_wakeup_fd(self._wake_write, warn_on_full_buffer=False)
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, self._asked)
        return self

    def _asked(self, _number: int, _frame: object) -> None:
        if self._stopped:
            os._exit(130)  # asked twice: at once; the kernel ends our children
        self._stopped = True

    def start(self, part: Part) -> Part:
        self.parts.append(part)
        part.start()
        return part

    def watch(self, heard: Callable[[str], bool]) -> None:
        """Until a signal, or until `heard`, called with each line a child tells, returns True. Starts again what ends. Raises `Problem`
        when a part ended for a reason a person must mend."""
        pending = b""
        due: dict[float, Part] = {}
        while not self._stopped:
            now = time.monotonic()
            for when in [when for when in due if when <= now]:
                due.pop(when).start()
            waiting = max(0.0, min(due) - now) if due else None
            running = {part.descriptor: part for part in self.parts if part.process}
            readable, _, _ = select.select([self._wake_read, self.messages, *running], [], [], waiting)
            if self._wake_read in readable:
                os.read(self._wake_read, 512)
            if self.messages in readable:
                *lines, pending = (pending + os.read(self.messages, 65536)).split(b"\n")
                for line in lines:
                    if heard(line.decode(errors="replace")):
                        return
            for descriptor in readable:
                if descriptor in running:
                    self._ended(running[descriptor], due)

    def endure(self) -> None:
        """From now on a part that ends is started again for ever: everything has worked once, and what is wrong outside may pass."""
        self._enduring = True

    def _ended(self, part: Part, due: dict[float, Part]) -> None:
        code = part.reap()
        if code == MISTAKE and (part.once or not self._enduring):
            raise Problem(part.last_words().partition("headgate.up: ")[2] or part.last_words())
        if part.once:
            if code:
                raise Problem(f"The {part.name} ended with {code}; its log is {part.log}. It said last: {part.last_words()}")
            return
        lived = time.monotonic() - part.began
        if lived < STEADY_SECONDS and part.delay > 4 and not self._enduring:
            raise Problem(f"The {part.name} does not stay up; its log is {part.log}. It said last: {part.last_words()}")
        part.delay = 0.0 if lived >= STEADY_SECONDS else min(part.delay * 2 + 0.2, LONGEST_DELAY)
        logger.warning(
            "The %s ended with %d and is started again. Its log is %s; it said last: %s", part.name, code, part.log, part.last_words()
        )
        due[time.monotonic() + part.delay] = part

    def __exit__(self, *_: object) -> None:
        for part in reversed(self.parts):
            part.stop(at_once=not self._enduring and not self._stopped)  # what never came to work has nothing to finish
        signal.set_wakeup_fd(-1)
