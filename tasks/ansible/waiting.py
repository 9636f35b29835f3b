"""Ansible waits for the results of its workers without looking for them a hundred times a second.

ansible-core looks, sleeps `internal_poll_interval` and looks again: a quarter percent of a core for every build that only waits. Here its
strategies sleep until a result was appended to their queue. What else is looked for between two sleeps (a worker that died, an end that a
signal asked for) is looked for once a second. Strategy `free` has a loop of its own, in which it begins tasks too; that stays as it is.
"""

from __future__ import annotations

import importlib
import threading
import time
import types
from collections import deque
from typing import Any

LONGEST_SECONDS = 1.0

_arrived = threading.Event()  # a process has one strategy at a time; one wake too many only looks in vain


class Results(deque[Any]):
    """The queue of results, which says that something was put there."""

    def append(self, result: Any, /) -> None:
        super().append(result)
        _arrived.set()


def sleep(seconds: float) -> None:
    """What is called in place of `time.sleep`: with `internal_poll_interval` to wait for results, with less for other things."""
    from ansible import constants

    if seconds < constants.DEFAULT_INTERNAL_POLL_INTERVAL:
        time.sleep(seconds)
        return
    _arrived.wait(LONGEST_SECONDS)
    _arrived.clear()  # before the queue is looked at: a result that comes from now on wakes again


def install() -> None:
    """Give what Ansible's strategies have in common this queue and this sleep in place of the standard ones."""
    ours = types.ModuleType("time")
    ours.__dict__.update(time.__dict__)
    ours.__dict__["sleep"] = sleep
    importlib.import_module("ansible.plugins.strategy").__dict__.update(time=ours, deque=Results)
