"""Questions to a configuration, offline: the graph of a change that does not exist, with proposed branches in effect."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from cli.configuration_sources import Sources, Tree, named_sources, read_tree
from headgate.configuration import BadTenantFile, FreezeFailed, Layout, Ref, RemovedFile, SourceFile, Tenant, parse_tenants
from headgate.configuration.answers import graph_answer, problem_answers
from headgate.configuration.problems import Problem, nearest
from headgate.configuration.stanza import Wrong


class BadQuestion(Exception):
    """What was asked for is not there: one sentence."""


@dataclass(slots=True)
class Question:
    """One graph to freeze. `overlay` entries are `PROJECT@BRANCH=DIR`."""

    tenant: str
    pipeline: str
    project: str
    branch: str = "master"
    files: Sequence[str] = ()
    tag: bool = False
    ref: bool = False
    overlay: Sequence[str] = ()


@dataclass(slots=True)
class World:
    """A tenant file and its sources, each tenant loaded once."""

    main: Path
    sources: Sources
    loaded: dict[str, Layout] = field(default_factory=dict)
    tenants: dict[str, Tenant] = field(default_factory=dict)

    def tenant(self, name: str) -> Layout:
        """A loaded tenant. Raises `BadQuestion`, `BadTenantFile`."""
        if not self.tenants:
            self.tenants = {tenant.name: tenant for tenant in read_tenants(self.main)}
        if name not in self.tenants:
            hint = nearest(name, self.tenants) or f"; it has {', '.join(self.tenants) or 'none'}"
            raise BadQuestion(f'no tenant "{name}" in {self.main}{hint}')
        if name not in self.loaded:
            before = itertools.takewhile(lambda tenant: tenant.name != name, self.tenants.values())
            self.loaded[name] = self.sources.layout(self.tenants[name], before=list(before))
        return self.loaded[name]


def read_tenants(main: Path) -> tuple[Tenant, ...]:
    """The tenants of a file. Raises `BadTenantFile`, also when it cannot be read."""
    try:
        text = main.read_text()
    except OSError as wrong:
        raise BadTenantFile(f"{main} cannot be read: {wrong.strerror}") from wrong
    except UnicodeDecodeError as wrong:
        raise BadTenantFile(f"{main} cannot be read: {wrong}") from wrong
    return parse_tenants(text, str(main))


def overlaid(layout: Layout, overlay: Sequence[str], sources: Sources) -> tuple[Layout, Layout]:
    """The layout with proposed branches in effect, and the one that validates config-projects' changes too. Raises `BadQuestion`."""
    changes: list[SourceFile | RemovedFile] = []
    for each in overlay:
        target, equals, directory = each.partition("=")
        name, at, branch = target.rpartition("@")
        if not equals or not at or not Path(directory).is_dir():
            raise BadQuestion(f'"{each}" is not PROJECT@BRANCH=DIR with an existing directory')
        canonical = canonical_name(layout, name)
        settings = layout.projects.by_canonical[canonical].settings
        proposed = read_tree(settings, canonical, branch, Tree(Path(directory)))
        paths = {file.path for file in proposed}
        former = sources.trees(settings).get(branch)
        gone = [file for file in read_tree(settings, canonical, branch, former) if file.path not in paths] if former else []
        changes += [*proposed, *(RemovedFile(file.project, file.branch, file.path) for file in gone)]
    return layout.with_files(changes), layout.with_files(changes, config_projects=True)


def canonical_name(layout: Layout, name: str) -> str:
    """Of a project called by its short or canonical name. Raises `BadQuestion` for an unknown or ambiguous one."""
    try:
        canonical = layout.projects.find(name)
    except Wrong as ambiguous:
        raise BadQuestion(str(ambiguous)) from ambiguous
    if canonical is None:
        raise BadQuestion(f'no project "{name}" in tenant "{layout.tenant.name}"{nearest(name, layout.projects.by_name)}')
    return canonical


def _of_proposal(validated: Layout, overlay: Sequence[str]) -> list[Problem]:
    """The problems that Zuul finds in a proposal: whole files are read again only on the branches it changes, and of several
    default places there only the first is looked at."""
    read = set()
    for each in overlay:
        name, _, branch = each.partition("=")[0].rpartition("@")
        read.add((validated.projects.find(name), branch))
    return [
        problem
        for problem in validated.occurrences
        if problem.object or (problem.path and (problem.project, *problem.branches) in read and not _is_left_out(validated, problem))
    ]


def _is_left_out(layout: Layout, problem: Problem) -> bool:
    bounds = layout.state.files.get((problem.project, problem.branches[0])) or ()
    return not any(bound.file.path == problem.path and bound.counts for bound in bounds)


def answer(world: World, question: Question) -> dict[str, Any]:
    """One frozen graph as JSON, or why there is none."""
    result: dict[str, Any] = {
        "tenant": question.tenant,
        "project": question.project,
        "pipeline": question.pipeline,
        "branch": question.branch,
        "files": list(question.files),
    }
    errors: list[dict[str, Any]] = []
    try:
        layout = ahead = world.tenant(question.tenant)
        found: Sequence[Problem] = layout.occurrences
        if question.overlay:
            layout, validated = overlaid(ahead, question.overlay, world.sources)
            found = _of_proposal(validated, question.overlay)
        errors = [each for problem in found for each in problem_answers(problem, layout)]
        graph = layout.freeze(the_ref(layout, question), question.pipeline, ahead)
    except (BadQuestion, BadTenantFile, FreezeFailed) as wrong:
        return {**result, "error": str(wrong), "config_errors": errors}
    return {**result, "jobs": graph_answer(graph, layout), "config_errors": errors}


def the_ref(layout: Layout, question: Question) -> Ref:
    """What a question is about. Raises `BadQuestion`."""
    canonical = canonical_name(layout, question.project)
    files = tuple(question.files)
    if question.tag:
        return Ref(canonical, "", files, f"refs/tags/{question.branch}", (question.branch,))
    return Ref(canonical, question.branch, files, f"refs/heads/{question.branch}" if question.ref else "")


def question_of(entry: Any) -> Question:
    """A query of a batch file. Raises `BadQuestion`."""
    if not isinstance(entry, dict):
        raise BadQuestion(f"a query must be a mapping, found {type(entry).__name__}")
    missing = [key for key in ("tenant", "pipeline", "project") if not isinstance(entry.get(key), str)]
    if missing:
        raise BadQuestion(f"a query needs {', '.join(missing)}")
    overlay = entry.get("overlay") or entry.get("overlays") or ()
    if isinstance(overlay, dict):
        overlay = [f"{target}={directory}" for target, directory in overlay.items()]
    return Question(
        entry["tenant"],
        entry["pipeline"],
        entry["project"],
        entry.get("branch") or "master",
        entry.get("files") or entry.get("file") or (),
        bool(entry.get("tag")),
        bool(entry.get("ref")),
        [overlay] if isinstance(overlay, str) else overlay,
    )


def batch(world: World, entries: Any) -> list[dict[str, Any]]:
    """Answers to all queries of a batch, in order."""
    if not isinstance(entries, list):
        raise BadQuestion("a batch must be a list of queries")
    answers = []
    for entry in entries:
        try:
            answers.append(answer(world, question_of(entry)))
        except BadQuestion as wrong:
            answers.append({**(entry if isinstance(entry, dict) else {}), "error": str(wrong), "config_errors": []})
    return answers


def world_of(directory: Path, main: str, source: Sequence[str] = (), hostname: Sequence[str] = ()) -> World:
    """The tenants of `directory / main`, projects beside it under `git/` or where `source` (`NAME=DIR`) says. Raises `BadQuestion`."""
    hostnames = dict(each.partition("=")[::2] for each in hostname)
    try:
        named = named_sources(source)
    except ValueError as wrong:
        raise BadQuestion(str(wrong)) from wrong
    return World(directory / main, Sources(directory, named, hostnames))
