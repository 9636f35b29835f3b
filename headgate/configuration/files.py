"""Configuration files: which paths of a tree are read, and one file's text to its parsed objects.

Parsing depends on the text alone and is remembered by it, so a file that is equal on ten branches is parsed once.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any

from headgate.configuration import parse_others
from headgate.configuration.definitions import JobDefinition, NodesetDefinition, Pragma, ProjectDefinition, Queue, Secret
from headgate.configuration.document_values import BadDocument, Stanza
from headgate.configuration.documents import locate, read
from headgate.configuration.job_shapes import JOB
from headgate.configuration.parse_jobs import job_definition
from headgate.configuration.parse_nodesets import NODESET, nodeset_definition
from headgate.configuration.parse_projects import PROJECT, TEMPLATE, project_definition
from headgate.configuration.problems import Problem
from headgate.configuration.provider_definitions import Flavor, Image, Label, Provider, Section
from headgate.configuration.regex import RegexTooSlow
from headgate.configuration.shapes import Either, Shape
from headgate.configuration.stanza import Complaint, Complaints, Wrong
from headgate.configuration.tenant_values import DEFAULT_PATHS, ITEM_KINDS, Semaphore, TenantProject


@dataclass(frozen=True, slots=True)
class SourceFile:
    """One file as given: `project` is canonical, `path` inside the repository."""

    project: str
    branch: str
    path: str
    text: str


@dataclass(frozen=True, slots=True)
class RemovedFile:
    """A file that a change removes."""

    project: str
    branch: str
    path: str


@dataclass(slots=True)
class Parsed:
    """All that one text says. Pipelines stay stanzas: what they allow depends on the connections there are."""

    pragma: Pragma = field(default_factory=Pragma)
    pipelines: list[Stanza] = field(default_factory=list)
    jobs: list[JobDefinition] = field(default_factory=list)
    projects: list[ProjectDefinition] = field(default_factory=list)
    templates: list[ProjectDefinition] = field(default_factory=list)
    nodesets: list[tuple[NodesetDefinition, Stanza]] = field(default_factory=list)
    secrets: list[tuple[Secret, Stanza]] = field(default_factory=list)
    semaphores: list[tuple[Semaphore, Stanza]] = field(default_factory=list)
    queues: list[tuple[Queue, Stanza]] = field(default_factory=list)
    images: list[tuple[Image, Stanza]] = field(default_factory=list)
    flavors: list[tuple[Flavor, Stanza]] = field(default_factory=list)
    labels: list[tuple[Label, Stanza]] = field(default_factory=list)
    sections: list[tuple[Section, Stanza]] = field(default_factory=list)
    providers: list[tuple[Provider, Stanza]] = field(default_factory=list)
    complaints: list[Complaint] = field(default_factory=list)
    inline_nodesets: bool = False
    stopped: BadDocument | None = None


def _nodeset(conf: dict[str, Any], complaints: Complaints) -> NodesetDefinition:
    return nodeset_definition(conf, conf["name"])


_SMALL: dict[str, tuple[Shape, Callable[[dict[str, Any], Complaints], Any], str]] = {
    "nodeset": (NODESET, _nodeset, "nodesets"),
    "secret": (parse_others.SECRET, parse_others.secret, "secrets"),
    "semaphore": (parse_others.SEMAPHORE, parse_others.semaphore, "semaphores"),
    "queue": (parse_others.QUEUE, parse_others.queue, "queues"),
    "image": (parse_others.IMAGE, parse_others.image, "images"),
    "flavor": (parse_others.FLAVOR, parse_others.flavor, "flavors"),
    "label": (parse_others.LABEL, parse_others.label, "labels"),
    "section": (parse_others.SECTION, parse_others.section, "sections"),
    "provider": (parse_others.PROVIDER, parse_others.provider, "providers"),
}
SHAPES: dict[str, Shape] = {
    "job": JOB,
    "project": PROJECT,
    "project-template": TEMPLATE,
    "pragma": parse_others.PRAGMA,
    **{kind: shape for kind, (shape, _, _) in _SMALL.items()},
}


MOST_REMEMBERED = 4_000_000
"""Characters of texts after which those not asked for since are forgotten. A character costs about 75 bytes once parsed, and up to
twice as many are held; texts that a layout holds are not parsed again whatever is forgotten here."""
SHORTEST = 500
"""Characters that the shortest text counts for: what it is parsed to has a size of its own."""


class _Memory:
    """Two generations of parsed texts. Whatever several threads do to it, at worst a text is parsed again."""

    def __init__(self) -> None:
        self.young: dict[str, Parsed] = {}
        self.old: dict[str, Parsed] = {}
        self.characters = 0

    def put(self, text: str, parsed: Parsed) -> Parsed:
        if self.characters > MOST_REMEMBERED:
            self.young, self.old, self.characters = {}, self.young, 0
        self.young[text] = parsed
        self.characters += max(len(text), SHORTEST)
        return parsed


_MEMORY = _Memory()


def parse_text(text: str) -> Parsed:
    """What a configuration file says; never raises for what the text holds. The result is shared: do not change it."""
    found = _MEMORY.young.get(text)
    return found if found is not None else _MEMORY.put(text, _MEMORY.old.get(text) or parse_anew(text))


def forget_texts() -> None:
    """Forget all remembered texts, as a benchmark wants it."""
    _MEMORY.young, _MEMORY.old, _MEMORY.characters = {}, {}, 0


def parse_anew(text: str) -> Parsed:
    """`parse_text` without its memory."""
    parsed = Parsed()
    complaints = Complaints(parsed.complaints)
    stanzas, parsed.stopped = read(text, ITEM_KINDS)
    for stanza in stanzas:
        if stanza.kind == "pipeline":
            parsed.pipelines.append(stanza)
            continue
        complaints.at(stanza.kind, stanza.conf.get("name"), stanza.index, stanza.line)
        try:
            _parse(stanza, parsed, complaints)
        except Wrong as wrong:
            complaints.error(wrong.name, str(wrong), wrong.path, wrong.late_name)
        except (RegexTooSlow, RecursionError) as wrong:
            complaints.error("Unknown", str(wrong))
    parsed.inline_nodesets = complaints.inline_nodesets
    return parsed


def _parse(stanza: Stanza, parsed: Parsed, complaints: Complaints) -> None:
    conf = stanza.conf
    check_shape(SHAPES[stanza.kind], conf)
    if stanza.kind == "job":
        job = job_definition(conf, conf["name"], complaints)
        job.line, job.index = stanza.line, stanza.index
        parsed.jobs.append(job)
    elif stanza.kind in ("project", "project-template"):
        is_template = stanza.kind == "project-template"
        project = project_definition(conf, complaints, is_template)
        project.line, project.index = stanza.line, stanza.index
        for use in project.pipelines.values():
            for variants in use.jobs.values():
                for variant in variants:
                    variant.line, variant.index = stanza.line, stanza.index
        (parsed.templates if is_template else parsed.projects).append(project)
    elif stanza.kind == "pragma":
        parsed.pragma = parse_others.pragma(conf, parsed.pragma, complaints)
    else:
        _, parse, attribute = _SMALL[stanza.kind]
        getattr(parsed, attribute).append((parse(conf, complaints), stanza))


def check_shape(shape: Shape, conf: dict[str, Any]) -> None:
    """Raises `Wrong` with the place of the first thing that is not allowed."""
    if shape.ok(conf):
        return
    if shape is NODESET and isinstance(shape, Either):
        shape = shape.shapes[1] if "alternatives" in conf else shape.shapes[0]
    fault = shape.fault(conf)
    raise Wrong(fault.message, fault.path)


def problem(complaint: Complaint, text: str, project: str, branch: str, path: str, late: bool = False) -> Problem:
    """A complaint at its place in a file; `late`: a file read before has an inline nodeset."""
    place = locate(text, complaint.index, complaint.path)
    keys = [step for step in complaint.path if isinstance(step, str)]
    name = f' "{complaint.object}"' if complaint.object else ""
    return Problem(
        complaint.severity,
        (complaint.late_name if late else "") or complaint.name,
        complaint.message,
        project,
        (branch,),
        path,
        place.line if place else complaint.stanza_line,
        place.column if place else 0,
        complaint.stanza_line,
        f"{complaint.kind}{name}",
        ".".join(keys),
        place.context if place else "",
    )


def syntax_problems(file: SourceFile) -> list[Problem]:
    """What stopped the reading of a whole file, if anything did."""
    bad = parse_text(file.text).stopped
    if bad is None:
        return []
    lines = file.text.splitlines()
    context = lines[bad.line - 1].strip()[:160] if 0 < bad.line <= len(lines) else ""
    place = (file.path, bad.line, bad.column, bad.stanza_line)
    return [Problem("error", bad.name, str(bad), file.project, (file.branch,), *place, context=context)]


def left_out_problem(file: SourceFile, first: str) -> Problem:
    """A file that is not read because there is a `first` one in an earlier place."""
    message = f"{file.path} is not read because this branch has {first}; keep one of zuul.yaml, zuul.d, .zuul.yaml and .zuul.d"
    return Problem("warning", "Multiple Project Configurations", message, file.project, (file.branch,))


def rank(project: TenantProject, path: str) -> tuple[int, str] | None:
    """Where a path stands in Zuul's reading order, or `None` if it is no configuration file of this project.

    Of the first four ranks only the first that has a file is read.
    """
    if path == "zuul.yaml" or path == ".zuul.yaml":
        return (0, path) if path == "zuul.yaml" else (2, path)
    for position, directory in ((1, "zuul.d/"), (3, ".zuul.d/")):
        if path.startswith(directory):
            return (position, path) if path.endswith(".yaml") else None
    if path in project.extra_files:
        return (4, f"{project.extra_files.index(path):04}")
    if any(path.startswith(directory + "/") for directory in project.extra_directories):
        return (5, path) if path.endswith(".yaml") else None
    return None


def config_paths(project: TenantProject, paths: Iterable[str]) -> list[str]:
    """Of all paths of a branch's tree, those to read, in Zuul's order.

    Files below a directory that holds `.zuul.ignore` are left out, by prefix, as Zuul does it. Files of a second default place
    (`.zuul.yaml` beside `zuul.yaml`) are kept in the list, so that loading can warn of them.
    """
    paths = list(paths)
    roots = (*(path for path in DEFAULT_PATHS if path.endswith(".d")), *project.extra_directories)
    inside = [path for path in paths if any(path.startswith(root + "/") for root in roots)]
    ignored = tuple(path.rpartition("/")[0] for path in inside if path.endswith(".zuul.ignore"))
    ranked = [(place, path) for path in paths if (place := rank(project, path)) is not None]
    return [path for place, path in sorted(ranked) if place[0] in (0, 2, 4) or not path.startswith(ignored)]


def read_and_left_out(project: TenantProject, files: Iterable[SourceFile]) -> tuple[list[SourceFile], list[SourceFile]]:
    """The files of one branch that count, in order, and those left out because an earlier default place has any."""
    ranked = sorted((place, file.path, file) for file in files if file.text and (place := rank(project, file.path)) is not None)
    first = next((place[0] for place, _, _ in ranked if place[0] < 4), None)
    read = [file for place, _, file in ranked if place[0] in (first, 4, 5)]
    return read, [file for place, _, file in ranked if place[0] not in (first, 4, 5)]
