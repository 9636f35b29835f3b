"""Why each job of a project-pipeline runs or not, and which definition set each of its attributes."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from headgate.configuration.collecting import NoMatchingParent, collect, variants_of
from headgate.configuration.definitions import Source
from headgate.configuration.documents import locate
from headgate.configuration.freezing import COMMIT_MESSAGE, FreezeFailed, matches_files, merged, no_pipeline, project_pipeline
from headgate.configuration.inheritance import MergedJob
from headgate.configuration.layout import Layout
from headgate.configuration.objects import StanzaObject, Variant
from headgate.configuration.projects import Ref
from headgate.configuration.regex import RegexTooSlow
from headgate.configuration.stanza import Wrong
from headgate.configuration.state import LayoutState
from headgate.jobs import JobGraph

_JOINING = frozenset(
    (
        *("vars", "extra_vars", "host_vars", "group_vars", "include_vars", "pre_run", "post_run", "cleanup_run", "roles"),
        *("required_projects", "tags", "provides", "requires", "semaphores", "include_projects", "exclude_projects"),
        *("allowed_projects", "failure_output", "secrets", "attribute_control", "preserve_home_paths"),
    )
)
"""Attributes to which every definition adds; of the others the last one holds."""


@dataclass(frozen=True, slots=True)
class Origin:
    """Where an attribute was set: `place` is the very line of it."""

    attribute: str
    job: str
    place: str


@dataclass(frozen=True, slots=True)
class Explanation:
    """Of one job: does it run, the one reason, and who set what."""

    name: str
    runs: bool
    reason: str
    origins: tuple[Origin, ...] = field(default=())


def explain(layout: Layout, ref: Ref, pipeline: str, ahead: Layout | None = None) -> tuple[str, tuple[Explanation, ...]]:
    """Why no graph can be frozen ("" if one can), and each job of the project-pipeline. Raises `FreezeFailed` for an unknown pipeline."""
    state = layout.state
    if pipeline not in state.pipelines:
        raise no_pipeline(state, pipeline)
    graph, failure = JobGraph(), ""
    try:
        graph = layout.freeze(ref, pipeline, ahead)
    except FreezeFailed as wrong:
        failure = str(wrong)
    try:
        found = project_pipeline(state, ref, pipeline)
    except (Wrong, RegexTooSlow) as wrong:
        return str(wrong), ()
    if found is None:
        return failure or _no_part(state, ref, pipeline), ()
    below = [_origin_of_vars(state, stanza) for stanza in found.with_vars]
    explained = (_explained(state, ref, name, variants, None if failure else graph, below) for name, variants in found.jobs.items())
    return failure, tuple(explained)


def _no_part(state: LayoutState, ref: Ref, pipeline: str) -> str:
    known = state.known(ref.project)
    if ref.branch and ref.branch not in known.branches:
        return f'{known.name} has no branch "{ref.branch}", it has {", ".join(known.branches)}'
    return f"{known.name} takes no part in the pipeline {pipeline} on {ref.branch or ref.ref}"


def _explained(
    state: LayoutState, ref: Ref, name: str, variants: list[Variant], graph: JobGraph | None, below: list[Origin]
) -> Explanation:
    """Of one job; without a graph nothing runs."""
    where = ref.branch or ref.ref
    matching = [variant for variant in variants if ref.matches(variant.matcher)]
    if not matching:
        return Explanation(name, False, f"no variant in the pipeline is for {where}: branches at {_places(variants)}")
    try:
        collect(state, ref, name, matching)
        job = merged(state, ref, name, variants, {})
    except NoMatchingParent as missing:
        which = str(missing)
        what = "the job itself" if which == name else f'its parent "{which}"'
        places = _places(variants_of(state, which))
        return Explanation(name, False, f"{what} has no variant for {where}" + (f", only those at {places}" if places else ""))
    except (Wrong, RegexTooSlow) as wrong:
        return Explanation(name, False, str(wrong))
    assert job is not None
    runs = graph is not None and name in graph.names
    reason = _reason(job, ref, runs, graph or JobGraph())
    if graph is None and matches_files(job, ref):
        reason = f"no graph can be frozen, else it would: {reason}"
    return Explanation(name, runs, reason, _origins(state, job, below))


def _places(variants: list[Variant]) -> str:
    return ", ".join(f"{place(variant)}" for variant in variants if variant.source.project)


def place(variant: Variant) -> str:
    """`config/zuul.d/jobs.yaml:12 (master)`."""
    source = variant.source
    return f"{source.name}/{source.path}:{variant.job.line} ({source.branch})" if source.project else "built in"


def _reason(job: MergedJob, ref: Ref, runs: bool, graph: JobGraph) -> str:
    files = [path for path in ref.files if path != COMMIT_MESSAGE]
    if job.files is None and job.irrelevant_files is None:
        return "it has no file matchers"
    if not matches_files(job, ref):
        if runs:
            needed = [each.name for each in graph.jobs if any(need.name == job.name and not need.soft for need in each.dependencies)]
            return f"its files do not match, but {', '.join(needed)} depends on it" if needed else "the change alters its configuration"
        patterns = ", ".join(str(each) for each in job.files or ())
        if job.files is not None and not any(each.match(path) for each in job.files for path in files):
            return f"no file of the change matches files: {patterns or 'nothing'}"
        return f"all files of the change match irrelevant-files: {', '.join(str(each) for each in job.irrelevant_files or ())}"
    if not files:
        return "no files are known, so every job runs"
    for path in files:
        for each in job.files or ():
            if each.match(path):
                return f"{path} matches files: {each}"
    relevant = next(path for path in files if not any(each.match(path) for each in job.irrelevant_files or ()))
    return f"{relevant} matches no irrelevant-files"


def _origin_of_vars(state: LayoutState, stanza: StanzaObject) -> Origin:
    kind = "project-template" if stanza.definition.is_template else "project"
    where = _line_of(state, stanza.source, stanza.definition.index, [("vars",)], stanza.definition.line)
    return Origin("vars", f"{kind} {stanza.name or stanza.source.name}", where)


def _origins(state: LayoutState, job: MergedJob, below: list[Origin]) -> tuple[Origin, ...]:
    found: dict[str, list[Origin]] = {"vars": below} if below else {}
    for variant in job.path:
        for key in _said(variant):
            if key in ("parent", "abstract") and variant.name != job.name:  # no other job inherits these
                continue
            if key == "protected" and key in found:
                continue
            origin = Origin(key.replace("_", "-"), variant.name, _place_of(state, variant, key))
            joins = key in _JOINING and not (key in variant.job.replaces and variant.job.replaced(key))
            found[key] = [*found.get(key, []), origin] if joins else [origin]
    return tuple(origin for key in sorted(found) for origin in found[key])


def _said(variant: Variant) -> Iterator[str]:
    """The attributes that a definition sets, those too that say what it is."""
    job, said = variant.job, variant.what_is_said()
    yield from (key for key in said.execution if key != "roles" or job.roles is not None)
    yield from (key for key, _ in (*said.context, *said.joined))
    for key in ("description", "final", "abstract", "protected", "secrets", "branches"):
        if getattr(job, key):
            yield key
    if job.final_attributes:
        yield "attribute_control"


def _place_of(state: LayoutState, variant: Variant, key: str) -> str:
    job = variant.job
    if not variant.source.project:
        return place(variant)
    above = (*job.path, job.name) if job.path else ()
    written = ("semaphores", "semaphore") if key == "semaphores" else (key.replace("_", "-"),)
    return _line_of(state, variant.source, job.index, [(*above, each) for each in written], job.line)


def _line_of(state: LayoutState, source: Source, index: int, paths: list[tuple[Any, ...]], otherwise: int) -> str:
    """The line of that of some paths which there is."""
    bounds = state.files.get((source.project, source.branch)) or ()
    text = next((bound.file.text for bound in bounds if bound.file.path == source.path), "")
    lines = [found.line for path in paths if (found := locate(text, index, path))]
    return f"{source.name}/{source.path}:{max(lines, default=otherwise)} ({source.branch})"
