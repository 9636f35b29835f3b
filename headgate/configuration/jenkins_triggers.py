"""When a Jenkins job ran, as the pipelines and projects that it is attached to.

Pipelines and other projects' stanzas belong in a config-project; `Attachments` keeps them apart from a project's own.
"""

from __future__ import annotations

import re
import zlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from headgate.configuration.jenkins_notes import Notes, entries, mapping, object_name

OWN = ""
"""The project that the imported jobs are put in."""
_SHORTHANDS = {
    "@yearly": "H H H H *",
    "@annually": "H H H H *",
    "@monthly": "H H H * *",
    "@weekly": "H H * * H",
    "@daily": "H H * * *",
    "@midnight": "H H(0-2) * * *",
    "@hourly": "H * * * *",
}
_RANGES = ((0, 59), (0, 23), (1, 28), (1, 12), (0, 6))
_HASHED = re.compile(r"H(?:\((\d+)-(\d+)\))?(?:/(\d+))?")
_EVENTS = {
    "patchset-created-event": "check",
    "draft-published-event": "check",
    "change-merged-event": "post",
    "ref-updated-event": "post",
}
_PULL_REQUESTS = ("github-pull-request", "gitlab-merge-request", "gitlab")
_PUSHES = ("pollscm", "github", "pollurl", "bitbucket", "gogs")


@dataclass(slots=True)
class Attachments:
    """Which jobs run in which pipeline of which project, and the timers that pipelines must have."""

    timers: dict[str, list[str]] = field(default_factory=dict)
    jobs: dict[str, dict[str, list[Any]]] = field(default_factory=dict)

    def attach(self, project: str, pipeline: str, job: str, matchers: Mapping[str, Any] | None = None) -> None:
        entry: Any = {job: dict(matchers)} if matchers else job
        attached = self.jobs.setdefault(project, {}).setdefault(pipeline, [])
        if entry not in attached:
            attached.append(entry)

    def own(self) -> list[dict[str, Any]]:
        """The stanza of the project that holds the jobs."""
        return [{"project": _pipelines(self.jobs[OWN])}] if OWN in self.jobs else []

    def central(self) -> list[dict[str, Any]]:
        """What belongs in a config-project: periodic pipelines, and the stanzas of other projects."""
        made: list[dict[str, Any]] = [
            {
                "pipeline": {
                    "name": name,
                    "manager": "independent",
                    "post-review": True,
                    "trigger": {"timer": [{"time": time} for time in times]},
                }
            }
            for name, times in self.timers.items()
        ]
        return [*made, *({"project": {"name": name, **_pipelines(found)}} for name, found in self.jobs.items() if name != OWN)]


def _pipelines(found: Mapping[str, list[Any]]) -> dict[str, Any]:
    return {pipeline: {"jobs": jobs} for pipeline, jobs in found.items()}


def attach(given: Any, jobs: list[str], attachments: Attachments, notes: Notes) -> None:
    """Attach the jobs (one, or all of a matrix) as their triggers say."""
    found: dict[tuple[str, str], dict[str, Any]] = {}
    for kind, content in entries(given):
        if kind == "timed":
            if name := _timed(content, attachments, notes):
                found[OWN, name] = {}
        elif kind == "gerrit":
            found |= _gerrit(mapping(content), notes)
        elif kind in _PUSHES:
            found[OWN, "post"] = {}
            notes.lost(f"the trigger {kind}: attached to the pipeline post instead, which runs when a change merges", content)
        elif kind in _PULL_REQUESTS:
            found[OWN, "check"] = {}
            notes.lost(f"the trigger {kind}: attached to the pipeline check instead", content)
        else:
            notes.lost(f"the trigger {kind}", content)
    if not found:
        notes.say("nothing says when it runs, so it is attached to the pipeline check")
        found[OWN, "check"] = {}
    for (where, pipeline), matchers in found.items():
        for job in jobs:
            attachments.attach(where, pipeline, job, matchers)


def _timed(content: Any, attachments: Attachments, notes: Notes) -> str:
    """The pipeline that runs at these times, "" if none of them is a time."""
    said = mapping(content).get("cron", "") if isinstance(content, Mapping) else content
    times = []
    for line in (line.strip() for line in f"{said or ''}".splitlines()):
        if not line or line.startswith("#"):
            continue
        fields = _SHORTHANDS.get(line, line).split()
        if len(fields) != 5:
            notes.lost("a line of the trigger timed", line)
            continue
        times.append(" ".join(_at(position, field, f"{said}") for position, field in enumerate(fields)))
    if not times:
        return ""
    known = next((name for name, each in attachments.timers.items() if each == times), "")
    words = f"{said}".strip()
    name = (
        known
        or f"periodic-{object_name(words.strip('@') if words in _SHORTHANDS else '-'.join(re.findall('[0-9]+', times[0])) or 'timed')}"
    )
    while not known and name in attachments.timers:
        name += "-b"
    attachments.timers[name] = times
    return name


def _at(position: int, field_: str, seed: str) -> str:
    """A field with Jenkins' `H` (some fixed moment, spread over jobs) made a number, always the same for the same schedule."""

    def moment(found: re.Match[str]) -> str:
        low, high = (int(found[1]), int(found[2])) if found[1] else _RANGES[position]
        chance = zlib.crc32(f"{seed} {position}".encode())
        if found[3]:
            step = max(int(found[3]), 1)
            return f"{low + chance % min(step, high - low + 1)}-{high}/{step}"
        return str(low + chance % max(high - low + 1, 1))

    return _HASHED.sub(moment, field_)


def _gerrit(said: Mapping[str, Any], notes: Notes) -> dict[tuple[str, str], dict[str, Any]]:
    pipelines: dict[str, None] = {}
    for event, content in entries(said.get("trigger-on")) if said.get("trigger-on") else [("patchset-created-event", None)]:
        if event in _EVENTS:
            pipelines[_EVENTS[event]] = None
            notes.rest(f"the event {event} of the trigger gerrit", mapping(content), ())
        else:
            notes.lost(f"the event {event} of the trigger gerrit", content)
    notes.rest("the trigger gerrit", said, ("trigger-on", "projects"))
    found: dict[tuple[str, str], dict[str, Any]] = {}
    for project in said.get("projects") or [{}]:
        matchers = dict(_matchers(project, notes))
        for pipeline in pipelines:
            found[_project_of(project), pipeline] = matchers
    return found


def _project_of(project: Mapping[str, Any]) -> str:
    pattern, kind = project.get("project-pattern"), f"{project.get('project-compare-type', 'PLAIN')}".upper()
    if not pattern or pattern in ("**", ".*"):
        return OWN
    if kind == "PLAIN" or (kind == "ANT" and not re.search(r"[*?]", f"{pattern}")):
        return f"{pattern}"
    return f"^{_pattern(pattern, kind)}"


def _matchers(project: Mapping[str, Any], notes: Notes) -> Iterator[tuple[str, Any]]:
    branches = [_matcher(each, "branch-compare-type", "branch-pattern") for each in project.get("branches") or ()]
    if project.get("branch-pattern"):
        branches.append(_matcher(project, "branch-compare-type", "branch-pattern"))
    if branches and not any(branch in ("^.*$", "^.*") for branch in branches):
        yield "branches", branches
    for key, name in (("file-paths", "files"), ("forbidden-file-paths", "irrelevant-files")):
        if project.get(key):
            yield name, [_matcher(each, "compare-type", "pattern") for each in project[key]]
    known = ("project-compare-type", "project-pattern", "branches", "branch-compare-type", "branch-pattern", "file-paths")
    notes.rest("a project of the trigger gerrit", project, (*known, "forbidden-file-paths"))


def _matcher(said: Mapping[str, Any], kind: str, pattern: str) -> str:
    return f"^{_pattern(said.get(pattern, ''), str(said.get(kind, 'PLAIN')).upper())}"


def _pattern(text: Any, kind: str) -> str:
    """A Gerrit Trigger pattern (PLAIN, ANT or REG_EXP) as a regular expression that matches to the end."""
    if kind == "REG_EXP":
        return f"{text}".removeprefix("^").removesuffix("$") + "$"
    if kind == "ANT":
        said = {"**/": "(.*/)?", "**": ".*", "*": "[^/]*", "?": "[^/]"}
        return "".join(said.get(part) or re.escape(part) for part in re.findall(r"\*\*/|\*\*|.", f"{text}")) + "$"
    return re.escape(f"{text}") + "$"
