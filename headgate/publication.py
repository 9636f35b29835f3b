"""When logs that a store did not take are put there again, and when that is given up: a store may be away for a night, but what it will
never take must not be tried for ever."""

from __future__ import annotations

from datetime import datetime, timedelta

SOONEST = timedelta(minutes=5)
GIVEN_UP = timedelta(days=1)
MOST_FAILURES = 3
"""So many builds may fail in one pass of the housekeeping; then the store is away, and the others are not asked about."""


def next_try(ended: datetime, now: datetime) -> datetime | None:
    """After a failure at `now`, of a build that ended at `ended`: each pause is as long as all before it together, about ten in a day;
    None when it is given up."""
    age = now - ended
    return None if age >= GIVEN_UP else now + max(age, SOONEST)
