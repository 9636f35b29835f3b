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


def based_on(work: Work, item: Item) -> tuple[str, ...]:
    """What the item is tested on, without what has merged or was never to be tested itself."""
    return tuple(each for each in item.base if (other := work.items.get(each)) is None or (other.live and not work.is_merged(other)))


def reset_if_needed(work: Work, item: Item, nearest: Item | None) -> bool:
    """Move the item onto `nearest` unless it is there already. True if it was moved."""
    wanted = wanted_base(nearest)
    if item.base == wanted:
        return False
    if based_on(work, item) == tuple(each for each in wanted if not work.is_merged(work.items[each])):
        return False
    stop(work, item)
    work.change(item.id, base=wanted)
    return True
