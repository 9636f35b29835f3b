"""Timers: when which pipeline tests which branch, by the cron lines of its `timer` triggers.

Law (Zuul's): minute, hour, day, month, weekday (0 is Monday), then perhaps second and jitter; in UTC. A timer fires for every branch of
every project that takes part in the pipeline. Jitter is spread over the branches, each always at the same moment, so that everyone who
computes it comes to the same and a firing is never made twice.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from hashlib import sha256

from apscheduler.triggers.cron import CronTrigger

from headgate.changes import Event
from headgate.configuration import Layout, Ref
from headgate.gating.knowledge import takes_part

TIMERS = "timer"
"""The connection of timers' triggers."""
FIELDS = ("minute", "hour", "day", "month", "day_of_week", "second")
STEP = timedelta(microseconds=1)


class BadTimer(ValueError):
    """A line that is no time: which, and what is wrong."""


@dataclass(frozen=True, slots=True)
class Timer:
    """One branch of a project (canonical name) in one pipeline. `jitter` in seconds. With `dereference` the branch's head is named."""

    tenant: str
    pipeline: str
    project: str
    branch: str
    line: str
    jitter: float = 0.0
    dereference: bool = False


@dataclass(frozen=True, slots=True)
class Firing:
    timer: Timer
    at: datetime


@lru_cache(maxsize=1024)
def _cron(line: str) -> CronTrigger:
    parts = line.split()
    if not 5 <= len(parts) <= 7:
        raise BadTimer(f'"{line}": {len(parts)} fields, allowed are 5 to 7 (minute hour day month weekday [second [jitter]])')
    try:
        return CronTrigger(timezone=UTC, **dict(zip(FIELDS, parts, strict=False)))
    except ValueError as wrong:
        raise BadTimer(f'"{line}": {wrong}') from wrong


def longest_jitter(line: str) -> int:
    """Seconds by which a line's firings are spread at most. Raises `BadTimer`."""
    _cron(line)
    parts = line.split()
    if len(parts) < 7:
        return 0
    if not parts[6].isdigit():
        raise BadTimer(f'"{line}": the jitter "{parts[6]}" is not a number of seconds')
    return int(parts[6])


def timers_of(layout: Layout) -> tuple[Timer, ...]:
    """Every timer of a tenant, in the order of its pipelines and projects. Lines that are no time are left out."""
    found: list[Timer] = []
    for pipeline in layout.pipelines.values():
        for trigger in pipeline.triggers:
            if trigger.connection != TIMERS or not trigger.time:
                continue
            try:
                jitter = longest_jitter(trigger.time)
            except BadTimer:
                continue
            for project in layout.projects.by_canonical.values():
                for branch in project.branches:
                    if takes_part(layout, Ref(project.canonical, branch), pipeline.name):
                        spread = _spread(layout.tenant.name, project.canonical, branch, jitter)
                        place = (layout.tenant.name, pipeline.name, project.canonical, branch)
                        found.append(Timer(*place, trigger.time, spread, trigger.dereference))
    return tuple(found)


def _spread(tenant: str, project: str, branch: str, jitter: int) -> float:
    """A branch's own part of the jitter."""
    digest = sha256("\0".join((tenant, project, branch)).encode()).digest()
    return jitter * int.from_bytes(digest[:8]) / 2**64


def next_firing(timer: Timer, after: datetime) -> datetime | None:
    """When it fires next, later than `after`; None for never again."""
    late = timedelta(seconds=timer.jitter)
    found: datetime | None = _cron(timer.line).get_next_fire_time(None, after - late + STEP)
    return found + late if found is not None else None


def firings(timers: Mapping[Timer, datetime], until: datetime) -> list[Firing]:
    """What fires later than the moment beside it and not later than `until`, in order of time; each timer at most once, at its last moment.

    So whoever was away for long catches up with one firing and not with hundreds.
    """
    found: list[Firing] = []
    for timer, since in timers.items():
        last: datetime | None = None
        moment = next_firing(timer, since)
        while moment is not None and moment <= until:
            last, moment = moment, next_firing(timer, moment)
        if last is not None:
            found.append(Firing(timer, last))
    return sorted(found, key=lambda each: each.at)


def next_moment(timers: Iterable[Timer], after: datetime) -> datetime | None:
    """When the next of them fires."""
    return min((moment for timer in timers if (moment := next_firing(timer, after)) is not None), default=None)


def event_of(firing: Firing, project: str, head: str = "") -> Event:
    """The event of a firing for `project` (its short name); `head` is the branch's commit if the timer dereferences."""
    timer, moment = firing.timer, firing.at.isoformat()
    return Event(
        id=f"{_beginning(timer.tenant, timer.pipeline)}{timer.project}:{timer.branch}:{timer.line}:{moment}",
        connection=TIMERS,
        type="timer",
        created=firing.at,
        project=project,
        branch=timer.branch,
        ref=f"refs/heads/{timer.branch}",
        new_commit=head if timer.dereference else "",
        pipeline=timer.pipeline,
        time=timer.line,
    )


def concerns(event: Event, tenant: str) -> bool:
    """May the tenant hear of the event? A timer's is for the tenant alone that has the timer."""
    return event.connection != TIMERS or event.id.startswith(_beginning(tenant, event.pipeline))


def _beginning(tenant: str, pipeline: str) -> str:
    return f"{TIMERS}:{tenant}:{pipeline}:"
