"""About how long requests will still wait, from how long nodes lived that ended lately.

Law: while as many nodes run as there is room for, one ends each (mean life / number that run). Whoever waits gets his when as many have
ended as he and all before him ask for. It is a guess for people: nothing is decided by it.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta


def estimates(
    waiting: Sequence[tuple[str, Sequence[str]]], running: Sequence[str], past: Sequence[tuple[str, datetime, datetime]]
) -> dict[str, timedelta]:
    """For each request (id and its labels, in the order they are served) how long it waits still. `running` are the labels of nodes that
    exist, `past` those of nodes that ended, with beginning and end. Without either nothing can be said of a label."""
    found: dict[str, timedelta] = {}
    ahead = 0
    lives = [ended - created for _, created, ended in past]
    mean = sum(lives, timedelta()) / len(lives) if lives else None
    for request, labels in waiting:
        ahead += len(labels)
        if mean is not None and running:
            found[request] = mean / len(running) * ahead
    return found
