"""Waiting for a fact of the outside world that nobody tells."""

from __future__ import annotations

import asyncio
import inspect
import time
from collections.abc import Awaitable, Callable
from typing import TypeVar

Fact = TypeVar("Fact")
SECONDS = 120.0
"""Generous: it bounds how long a failing test takes, and says nothing about how fast things are."""


async def until(fact: Callable[[], Fact | Awaitable[Fact]], what: str, seconds: float = SECONDS) -> Fact:
    """What `fact` (called over and over) answers once that is true. Fails saying that `what` did not happen."""
    deadline = time.monotonic() + seconds
    while True:
        found = fact()
        if inspect.isawaitable(found):
            found = await found
        if found:
            return found
        assert time.monotonic() < deadline, f"in {seconds:.0f} s it did not happen that {what}"
        await asyncio.sleep(0.05)
