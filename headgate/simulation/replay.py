"""Recorded events played under a policy with the time they took: what would have merged, how soon, and at what cost.

A recording is JSON lines. Each is a step of a scenario with `at`, seconds since the beginning; or `{"op": "duration", "job": REGEX,
"seconds": N}`, how long a job's builds take (the first that matches the whole name; without any, no time).
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from statistics import median
from typing import Any

from headgate.simulation.executor import Running
from headgate.simulation.run import BEGIN, Play, begin
from headgate.simulation.scenario import BadScenario, Step, parse_scenario
from headgate.simulation.setting import Setting


@dataclass(frozen=True, slots=True)
class Recording:
    """Steps with their moments, in order, and how long jobs take."""

    steps: tuple[tuple[datetime, Step], ...]
    durations: tuple[tuple[re.Pattern[str], timedelta], ...]

    def duration(self, job: str) -> timedelta:
        return next((seconds for pattern, seconds in self.durations if pattern.fullmatch(job)), timedelta())


def parse_recording(text: str) -> Recording:
    """From JSON lines. Raises `BadScenario`: which line, what is wrong."""
    durations: list[tuple[re.Pattern[str], timedelta]] = []
    moments: list[datetime] = []
    steps: list[Any] = []
    for number, line in enumerate(text.splitlines(), 1):
        if not line.strip():
            continue
        value = _line(number, line)
        if value.get("op") == "duration":
            durations.append((re.compile(str(value["job"])), timedelta(seconds=value["seconds"])))
        else:
            moments.append(BEGIN + timedelta(seconds=value.pop("at")))
            steps.append(value)
    parsed = parse_scenario({"config": "", "steps": steps}).steps
    return Recording(tuple(sorted(zip(moments, parsed, strict=True), key=lambda each: each[0])), tuple(durations))


def _line(number: int, line: str) -> dict[str, Any]:
    try:
        value = json.loads(line)
    except ValueError as wrong:
        raise BadScenario(f"line {number}: no JSON: {wrong}") from wrong
    needed = ("job", "seconds") if isinstance(value, dict) and value.get("op") == "duration" else ("at",)
    if not isinstance(value, dict) or not all(name in value for name in needed):
        raise BadScenario(f"line {number}: an event is an object with {' and '.join(needed)}")
    return value


@dataclass(slots=True)
class Cost:
    """What a play has used and reached so far."""

    approved: dict[str, datetime] = field(default_factory=dict)
    merged: dict[str, datetime] = field(default_factory=dict)
    running: dict[str, Running] = field(default_factory=dict)
    seconds: float = 0.0

    def note(self, play: Play) -> None:
        """After every settling: builds that are gone have cost their time, changes that are merged are."""
        for build in self.running.keys() - play.executor.running.keys():
            self.seconds += (play.now - self.running[build].started).total_seconds()
        self.running = dict(play.executor.running)
        for name, review in play.gerrit.reviews.items():
            if review.status == "MERGED":
                self.merged.setdefault(name, play.now)


def replay(recording: Recording, setting: Setting) -> Mapping[str, Any]:
    """Play a recording under a setting until nothing runs any more."""
    play = begin(setting, [step.get("id") for _, step in recording.steps if step.op == "change"])
    play.executor.hold = True
    cost = Cost()
    waiting = list(recording.steps)
    while waiting or play.executor.running:
        build, end = min(((build, running.started + recording.duration(running.job)) for build, running in play.executor.running.items()),
                         key=lambda each: (each[1], each[0]), default=("", None))  # fmt: skip
        if end is None or (waiting and waiting[0][0] <= end):
            play.now, step = waiting.pop(0)
            if step.op == "approve" and step.get("event"):
                cost.approved.setdefault(step.get("id"), play.now)
            play.step(step)
        else:
            play.now = max(play.now, end)
            play.scheduler.finish(build, play.now)
        play.settle()
        cost.note(play)
    return _told(play, cost)


def _told(play: Play, cost: Cost) -> Mapping[str, Any]:
    waits = [(moment - cost.approved[name]).total_seconds() for name, moment in cost.merged.items() if name in cost.approved]
    results = [ended.result for ended in play.executor.history]
    return {
        "changes": len(play.gerrit.reviews),
        "merged": len(cost.merged),
        "seconds from approval to merge, median": median(waits) if waits else None,
        "seconds from approval to merge, longest": max(waits, default=None),
        "builds": len(results),
        "builds cancelled": results.count("ABORTED"),
        "build seconds": cost.seconds,
        "last thing after seconds": (play.now - BEGIN).total_seconds(),
    }
