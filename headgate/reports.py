"""The text of a report, in the shape Zuul's users and their tools know.

Build failed (check).
https://ci.example.org/buildset/2f0c…

- tox-py311 https://ci.example.org/build/77aa… : FAILURE in 3m 07s
- tox-docs https://ci.example.org/build/90be… : SUCCESS in 52s (non-voting)
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from datetime import datetime

from headgate.builds import current, of_job, seconds
from headgate.jobs import FrozenJob, JobGraph
from headgate.records import Build, Buildset


def report_id(buildset: Buildset, result: str, builds: Iterable[Build]) -> str:
    """One id for one piece of evidence: the same buildset with the same builds and result gives the same id, any rerun another."""
    evidence = sorted(f"{build.id}={build.result}" for build in current(builds).values())
    return hashlib.sha256("\n".join([buildset.id, result, *evidence]).encode()).hexdigest()[:32]


def duration(total: float) -> str:
    """Seconds as Zuul's reports write them: `7s`, `3m 07s`, `1h 03m 07s`."""
    minutes, rest = divmod(int(total), 60)
    hours, minutes = divmod(minutes, 60)
    if hours:
        return f"{hours}h {minutes:02d}m {rest:02d}s"
    return f"{minutes}m {rest:02d}s" if minutes else f"{rest}s"


def _shown(job: FrozenJob, result: str) -> str:
    if result == "SUCCESS":
        return job.success_message
    return job.failure_message if result == "FAILURE" else result


def job_lines(graph: JobGraph, builds: Iterable[Build], web_url: str, now: datetime) -> list[str]:
    """One line per job that has a result, in the graph's order."""
    lines = []
    known = current(builds)
    for job in graph.jobs:
        build = of_job(job, known)
        if build is None or build.result is None:
            continue
        elapsed = f" in {duration(seconds(build, now))}" if build.started else ""
        why = f" {build.message}" if build.message and build.result not in ("SUCCESS", "FAILURE") else ""
        voting = "" if job.voting else " (non-voting)"
        lines.append(f"- {job.name} {web_url}/build/{build.id} : {_shown(job, build.result)}{elapsed}{why}{voting}")
    return lines


def report_message(headline: str, buildset_url: str, lines: Iterable[str], messages: Iterable[str] = (), footer: str = "") -> str:
    """The whole text: headline, link, a line per job, then whatever else there is to say."""
    parts = [f"{headline}\n{buildset_url}" if headline else buildset_url]
    if text := "\n".join(lines):
        parts.append(text)
    parts += [message for message in messages if message]
    if footer:
        parts.append(footer)
    return "\n\n".join(parts)


def fill(message: str, values: Mapping[str, object]) -> str:
    """A pipeline's message with its `{fields}` filled in; an unknown field stays as it is written."""
    for name, value in values.items():
        message = message.replace("{" + name + "}", str(value))
    return message
