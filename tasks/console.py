"""A build's console on the executor's side: one file that only grows, `2026-01-01 00:00:00.000000 | host | line`.

What playbooks do is written by their own processes (`tasks.ansible.streaming`); here stands what Headgate itself has to say.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import shutil
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from headgate.results import Phase, Played
from tasks.account import Account, give
from tasks.ansible.streaming import stamp
from tasks.disk import for_want_of_disk

JOB_OUTPUT = "job-output.txt"
"""The console, as roles that upload logs look for it among them."""
COPY_SECONDS = 0.25


def put(source: Path, target: Path) -> None:
    """Move a file of ours to where a playbook may have made something else by that name: a link, a directory."""
    if target.is_dir() and not target.is_symlink():
        shutil.rmtree(target)
    source.replace(target)


@asynccontextmanager
async def console_copied(console: Path, logs: Path, account: Account | None = None, wanted: bool = True) -> AsyncIterator[None]:
    """While this lasts, a copy of the console is among the logs and grows with it, `account`'s, for roles that upload them. It is a
    copy, so that no playbook can change the console by it; and not read-only, because such roles set modes. Nothing is done if it is not
    `wanted`."""
    if not wanted:
        yield
        return
    temporary = console.with_name(".job-output")
    with console.open("rb") as source, temporary.open("wb") as copy:
        await asyncio.to_thread(shutil.copyfileobj, source, copy)
        copy.flush()
        give(temporary, account)
        put(temporary, logs / JOB_OUTPUT)

        async def follow() -> None:
            while True:
                await asyncio.sleep(COPY_SECONDS)
                await asyncio.to_thread(shutil.copyfileobj, source, copy)
                copy.flush()

        following = asyncio.create_task(follow())
        try:
            yield
        finally:
            following.cancel()
            with contextlib.suppress(asyncio.CancelledError, OSError):
                await following


def shows(path: Path, start: int, text: bytes) -> bool:
    """Is `text` in any line of the console since byte `start`?"""
    with path.open("rb") as file:
        file.seek(start)
        return any(text in line for line in file)


class BuildConsole:
    """The console at `path`, made by the first word. Every call is one append."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def say(self, text: str) -> None:
        now = stamp(time.time())
        data = "".join(f"{now} | {line}\n" for line in text.split("\n")).encode(errors="replace")
        self.path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        descriptor = os.open(self.path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o640)
        try:
            os.write(descriptor, data)
        except OSError as problem:
            if not for_want_of_disk(problem):  # then there is less to read, and no reason to end otherwise
                raise
        finally:
            os.close(descriptor)

    def begins(self, phase: Phase, source: str, trusted: bool) -> None:
        self.say(f"{phase.upper()} begins: {source} ({'trusted' if trusted else 'untrusted'})")

    def ends(self, played: Played, source: str, why: str = "") -> None:
        self.say(f"{played.phase.upper()} ends: {played.outcome} after {played.seconds:.1f} s: {source}" + (f": {why}" if why else ""))
