"""What a build's playbooks returned by `zuul_return`, read with care: a job wrote it, so any part may be of any shape.

Law (Zuul's): what is not below `zuul` becomes variables of the jobs that depend on this one, near or far, below every variable of their
own; of two that say the same name the one later in the graph wins. `child_jobs` names which of the direct dependents run. An artifact's
relative address begins at `log_url`. A comment is for a file that the change touches.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import urljoin

from headgate.configuration.joining import deep_update
from headgate.jobs import JobGraph

MOST_COMMENTS = 1000
LONGEST_COMMENT = 8000
LEVELS = ("info", "warning", "error")


def zuul_section(data: Mapping[str, Any]) -> Mapping[str, Any]:
    """What is returned for Zuul itself."""
    section = data.get("zuul")
    return section if isinstance(section, Mapping) else {}


def warnings_of(data: Mapping[str, Any]) -> tuple[str, ...]:
    said = zuul_section(data).get("warnings")
    return tuple(str(one) for one in said) if isinstance(said, list) else ()


def pauses(data: Mapping[str, Any]) -> bool:
    """Does the job ask to stay up while the jobs that depend on it run?"""
    return zuul_section(data).get("pause") is True


def artifacts_of(data: Mapping[str, Any]) -> tuple[dict[str, Any], ...]:
    """The artifacts that have a name and an address, the addresses whole as far as `log_url` is known."""
    section = zuul_section(data)
    listed, start = section.get("artifacts"), section.get("log_url")
    found = []
    for artifact in listed if isinstance(listed, list) else ():
        if isinstance(artifact, Mapping) and isinstance(artifact.get("name"), str) and isinstance(artifact.get("url"), str):
            url = artifact["url"]
            if isinstance(start, str):
                url = _joined(start, url)
            found.append({**artifact, "url": url})
    return tuple(found)


def _joined(start: str, url: str) -> str:
    try:
        return urljoin(start if start.endswith("/") else f"{start}/", url)
    except ValueError:  # an address that only looks like one
        return url


@dataclass(frozen=True, slots=True)
class Remark:
    """A comment on a line of a file (or on the file)."""

    path: str
    line: int | None
    message: str
    level: str = "info"


def remarks_of(data: Mapping[str, Any], touched: Collection[str]) -> tuple[tuple[Remark, ...], tuple[str, ...]]:
    """The comments on files that the change touches, and a warning for each thing that is none."""
    listed = zuul_section(data).get("file_comments")
    if listed is None:
        return (), ()
    if not isinstance(listed, Mapping):
        return (), ("The file comments returned by a job are no mapping of files to comments.",)
    found: list[Remark] = []
    warnings: list[str] = []
    for path, comments in listed.items():
        if path not in touched:
            warnings.append(f"Comments left for a file that the change does not touch: {path}")
            continue
        for comment in comments if isinstance(comments, list) else ():
            remark = _remark(str(path), comment)
            if remark is None:
                warnings.append(f"A comment on {path} has no message or a line that is no number.")
            else:
                found.append(remark)
    return tuple(found[:MOST_COMMENTS]), tuple(warnings)


def _remark(path: str, comment: Any) -> Remark | None:
    if not isinstance(comment, Mapping) or not isinstance(comment.get("message"), str):
        return None
    extent = comment.get("range")
    line = extent.get("end_line") if isinstance(extent, Mapping) else comment.get("line")
    if line is not None and (not isinstance(line, int) or isinstance(line, bool) or line < 0):
        return None
    level = comment.get("level")
    return Remark(path, line or None, comment["message"][:LONGEST_COMMENT], level if level in LEVELS else "info")


def ancestors(graph: JobGraph, name: str) -> tuple[str, ...]:
    """Every job that this one depends on, directly or not, in the graph's order."""
    names = set(graph.names)
    found: set[str] = set()
    waiting = [name]
    while waiting:
        more = {each.name for each in graph[waiting.pop()].dependencies} & names - found
        found |= more
        waiting += more
    return tuple(each for each in graph.names if each in found)


def parent_data(graph: JobGraph, name: str, data: Mapping[str, Mapping[str, Any]]) -> dict[str, Any]:
    """The variables that a job gets from the jobs it depends on; `data` is what each of them returned."""
    merged: dict[str, Any] = {}
    for parent in ancestors(graph, name):
        merged = deep_update(merged, {key: value for key, value in data.get(parent, {}).items() if key != "zuul"})
    return merged


def left_out(graph: JobGraph, data: Mapping[str, Mapping[str, Any]]) -> frozenset[str]:
    """The jobs that do not run because one they directly depend on has not named them in `child_jobs`. `data` is what the jobs that
    succeeded or paused returned."""
    found = set()
    for parent, returned in data.items():
        chosen = zuul_section(returned).get("child_jobs")
        if isinstance(chosen, list):
            found |= {job.name for job in _dependents(graph, parent) if job.name not in chosen}
    return frozenset(found)


def _dependents(graph: JobGraph, name: str) -> Iterable[Any]:
    return (job for job in graph.jobs if any(each.name == name for each in job.dependencies))


def dependents(graph: JobGraph, name: str) -> tuple[str, ...]:
    """Every job that depends on this one directly, in the graph's order."""
    return tuple(job.name for job in _dependents(graph, name))


def descendants(graph: JobGraph, name: str) -> tuple[str, ...]:
    """Every job that depends on this one, directly or not, in the graph's order."""
    return tuple(each for each in graph.names if name in ancestors(graph, each))
