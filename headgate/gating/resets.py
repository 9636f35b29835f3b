"""Gate resets: what an item must be tested on, and whether it is.

Law: every item is tested on all items ahead of it that are not failing. When that changes for any reason but that the first of them
merged, its builds are worth nothing: they are cancelled and it is tested anew.
"""

from __future__ import annotations

from headgate.gating.leaving import stop
from headgate.gating.state import Item
from headgate.gating.work import Work


def wanted_base(nearest: Item | None) -> tuple[str, ...]:
    """The base of an item behind `nearest`, the nearest item ahead that is not failing."""
    return (*nearest.base, nearest.id) if nearest is not None else ()


def based_on(work: Work, base: tuple[str, ...]) -> tuple[str, ...]:
    """The items of a base without those that are there but have merged, or were never to be tested themselves."""
    passing = work.passing
    return base if passing.isdisjoint(base) else tuple(each for each in base if each not in passing)


def reset_if_needed(work: Work, item: Item, nearest: Item | None) -> bool:
    """Move the item onto `nearest` unless it is there already. True if it was moved."""
    wanted = wanted_base(nearest)
    if item.base == wanted or based_on(work, item.base) == based_on(work, wanted):
        return False
    stop(work, item)
    work.change(item.id, base=wanted)
    return True
