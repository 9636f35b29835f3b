"""The executor's ear while a playbook plays: the words of `tasks.ansible.early`, heard the moment they are said.

What says them runs code that may be hostile: a word can make its own build a failure, and nothing else.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

from tasks.ansible.early import FAILED, MATCHED, UNREACHABLE

PIECE = 1 << 16


class Ear:
    """One playbook's. `decided` is called once, with what decides that its build fails; not after a host was unreachable (as in Zuul: such
    a build is retried). `unreachable` are the hosts that were, by name, as said."""

    def __init__(self, decided: Callable[[str, str], None] | None) -> None:
        self._decided = decided
        self.unreachable: set[str] = set()

    def hear(self, word: str, detail: str) -> None:
        if word == UNREACHABLE:
            self.unreachable.add(detail)
            self._decided = None
        elif word in (FAILED, MATCHED) and self._decided is not None:
            decided, self._decided = self._decided, None
            decided(word, detail)


@asynccontextmanager
async def listening(heard: Callable[[str, str], None]) -> AsyncIterator[str]:
    """A path for a playbook's process of this machine to write to; `heard` gets (word, detail) of every line until this ends."""
    receive, send = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
    loop = asyncio.get_running_loop()
    rest = b""

    def read() -> None:
        nonlocal rest
        try:
            *lines, rest = (rest + os.read(receive, PIECE)).split(b"\n")
        except BlockingIOError:
            return
        rest = rest[-PIECE:]
        for line in lines:
            word, _, detail = line.decode(errors="replace").partition(" ")
            heard(word, detail)

    loop.add_reader(receive, read)
    try:
        yield f"/proc/{os.getpid()}/fd/{send}"
    finally:
        loop.remove_reader(receive)
        read()
        os.close(receive)
        os.close(send)
