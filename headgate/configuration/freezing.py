"""Freezing: the exact job graph of what is under test.

Law: for each job of the project-pipeline, collect the variants of its parents (root first) and its own that match the branch,
merge them, put project variables underneath, apply the project-pipeline's own variants that match, and look at the files. Then over
all jobs: initializers, deduplication in a cycle, hard dependencies force a job that its files would leave out, the rest is dropped.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from headgate.configuration.collecting import NoMatchingParent, collect
from headgate.configuration.comparing import configuration
from headgate.configuration.definitions import Source
from headgate.configuration.freezing_graph import Candidate, settle
from headgate.configuration.inheritance import MergedJob
from headgate.configuration.joining import deep_update_all
from headgate.configuration.objects import StanzaObject, Variant
from headgate.configuration.pipelines import Pipeline
from headgate.configuration.problems import nearest
from headgate.configuration.projects import Ref
from headgate.configuration.regex import Regex, RegexTooSlow
from headgate.configuration.stanza import Wrong
from headgate.configuration.state import LayoutState
from headgate.jobs import JobGraph

COMMIT_MESSAGE = "/COMMIT_MSG"


class FreezeFailed(Exception):
    """No job graph can be made: one sentence. The buildset's result is CONFIG_ERROR."""


def no_pipeline(state: LayoutState, name: str) -> FreezeFailed:
    """What to say of a pipeline that is not there."""
    hint = nearest(name, state.pipelines) or f"; it has {', '.join(state.pipelines) or 'none'}"
    return FreezeFailed(f'no pipeline "{name}" in tenant "{state.tenant.name}"{hint}')


@dataclass(slots=True)
class ProjectPipeline:
    """What all matching stanzas and templates of a project say for one pipeline. `vars` come from `with_vars`, later ones on top."""

    jobs: dict[str, list[Variant]] = field(default_factory=dict)
    vars: Mapping[str, Any] = field(default_factory=dict)
    with_vars: list[StanzaObject] = field(default_factory=list)
    fail_fast: bool | None = None
    debug: bool = False
    likenesses: dict[str, set[tuple[Any, ...]]] = field(default_factory=dict)
    """Of the variants in `jobs`, once a job has several."""


def project_pipeline(state: LayoutState, ref: Ref, pipeline: str) -> ProjectPipeline | None:
    """The project-pipeline of a ref, `None` if its project does not take part. Raises `Wrong` for an unknown template."""
    found = ProjectPipeline()
    takes_part = False
    for stanza in state.stanzas.get(ref.project) or ():
        definition = stanza.definition
        if not ref.matches(state.projects.stanza_matcher(definition.branches, False, stanza.source, ref.project)):
            continue
        for name in definition.templates:
            templates = state.templates.get(name)
            if templates is None:
                raise Wrong(f'no project-template "{name}", which {stanza.source} uses')
            for template in templates:
                if pipeline not in template.definition.pipelines:
                    continue
                if not ref.matches(state.projects.stanza_matcher(None, True, template.source, ref.project)):
                    continue
                takes_part = True
                _join(found, template.definition.pipelines[pipeline], template.jobs[pipeline])
                _give_vars(found, template)
        _give_vars(found, stanza)
        if pipeline in definition.pipelines:
            takes_part = True
            _join(found, definition.pipelines[pipeline], stanza.jobs[pipeline])
    found.vars = deep_update_all([stanza.definition.vars for stanza in found.with_vars])
    return found if takes_part else None


def _give_vars(found: ProjectPipeline, stanza: StanzaObject) -> None:
    if stanza.definition.vars:
        found.with_vars.append(stanza)


def _join(found: ProjectPipeline, use: Any, jobs: Mapping[str, list[Variant]]) -> None:
    found.debug = found.debug or bool(use.debug)
    if found.fail_fast is None:
        found.fail_fast = use.fail_fast
    for name, variants in jobs.items():
        known = found.jobs.setdefault(name, [])
        if not known and len(variants) == 1:
            known += variants
            continue
        likenesses = found.likenesses.setdefault(name, set())
        likenesses.update(variant.likeness() for variant in known[len(likenesses) :])
        for variant in variants:
            if variant.likeness() not in likenesses:
                likenesses.add(variant.likeness())
                known.append(variant)


def freeze(state: LayoutState, refs: tuple[Ref, ...], pipeline: str, ahead: LayoutState | None) -> JobGraph:
    """The job graph of one change, or of all changes of a cycle. Raises `FreezeFailed`."""
    settings = state.pipelines.get(pipeline)
    if settings is None:
        raise no_pipeline(state, pipeline)
    try:
        return settle(*_candidates(state, refs, settings, ahead, False), state)
    except (Wrong, RegexTooSlow) as wrong:
        raise FreezeFailed(str(wrong)) from wrong
    except RecursionError as wrong:
        raise FreezeFailed("the parents of a job are nested too deeply") from wrong


def _candidates(
    state: LayoutState, refs: tuple[Ref, ...], pipeline: Pipeline, ahead: LayoutState | None, every_file: bool
) -> tuple[list[Candidate], bool]:
    candidates: list[Candidate] = []
    fail_fast = False
    updates = _Updates(refs, pipeline, ahead)
    for position, ref in enumerate(refs):
        found = project_pipeline(state, ref, pipeline.name)
        if found is None:
            continue
        for name, variants in found.jobs.items():
            job = merged(state, ref, name, variants, found.vars)
            if job is None:
                continue
            runs = every_file or matches_files(job, ref) or updates.changed(job, state, position)
            candidates.append(Candidate(job, position, ref, runs, _refusal(job, ref, state, pipeline), job.nodesets()))
        if found.fail_fast is not None:
            fail_fast = found.fail_fast
    return candidates, fail_fast


def merged(state: LayoutState, ref: Ref, name: str, variants: list[Variant], below: Mapping[str, Any]) -> MergedJob | None:
    """One job of the project-pipeline with all its variants, `None` if none matches. Raises `Wrong`."""
    matching = [variant for variant in variants if ref.matches(variant.matcher)]
    try:
        collected = collect(state, ref, name, matching)
    except NoMatchingParent:
        return None
    job = MergedJob(state, collected[0])
    for variant in collected[1:]:
        job.apply(variant)
    job.name = name
    job.add_below(below)
    if not matching:
        return None
    may_report = False
    for variant in matching:
        job.apply(variant)
        job.ignore_allowed_projects = job.ignore_allowed_projects or variant.source.trusted
        if not may_report and job.get("type", "regular") == "reporter":
            _refuse_reporter(state, variant.source)
            may_report = True
        if image := job.get("image_build_name", None):
            _refuse_image(state, name, image, variant.source)
    _refuse_pragma(state, job, collected[0].source)
    return job


def _refuse_pragma(state: LayoutState, job: MergedJob, root: Source) -> None:
    """Zuul stops here (`ImpliedBranchMatcher` has no list of matchers), so no working configuration has this."""
    pragma = root.pragma
    if job.explicit_branches is not None or not pragma.stated or pragma.implied_branches is not None:
        return
    own = state.known(root.project).settings.implied_branch_matchers
    if own if pragma.implied_matchers is None else pragma.implied_matchers:
        raise Wrong(
            f'the job "{job.name}" begins in {root}, whose pragma turns on implied branch matchers: '
            f"say implied-branches there too, or give a variant of the job branches"
        )


def _refuse_reporter(state: LayoutState, source: Source) -> None:
    if not state.known(source.project).settings.allow_reporter_jobs:
        raise Wrong(f"the project {source.name} may not configure a reporter job", (), "Reporter Job Not Permitted")


def _refuse_image(state: LayoutState, job: str, image: str, source: Source) -> None:
    named = state.named.get(("image", image))
    if named is None:
        raise Wrong(f'the job "{job}" builds the image "{image}", which there is not')
    if named.source.project != source.project:
        raise Wrong(f'the job "{job}" builds the image "{image}" of {named.source.name} and may be attached to a pipeline there only')


def _refusal(job: MergedJob, ref: Ref, state: LayoutState, pipeline: Pipeline) -> str:
    """Why the job must not run after all; it matters only if it would."""
    name = state.known(ref.project).name
    if job.abstract:
        return f'the job "{job.name}" is abstract and cannot run itself'
    if not job.ignore_allowed_projects and job.allowed_projects is not None and name not in job.allowed_projects:
        allowed = ", ".join(sorted(job.allowed_projects)) or "none"
        return f'the project {name} may not run the job "{job.name}"; allowed are {allowed}'
    if job.post_review and not pipeline.post_review:
        return f'the job "{job.name}" is post-review, the pipeline "{pipeline.name}" is not'
    if not job.playbooks["run"]:
        return f'the job "{job.name}" has no run playbook'
    return ""


def matches_files(job: MergedJob, ref: Ref) -> bool:
    """Do the file matchers let the job run? Without files to look at they do. May raise `RegexTooSlow`."""
    files = [path for path in ref.files if path != COMMIT_MESSAGE]
    if not files:
        return True
    if job.files is not None and not any(_any(job.files, path) for path in files):
        return False
    return job.irrelevant_files is None or not all(_any(job.irrelevant_files, path) for path in files)


def _any(patterns: tuple[Regex, ...], path: str) -> bool:
    return any(pattern.match(path) for pattern in patterns)


class _Updates:
    """Does the change under test alter a job's own configuration? The graph without the change is made once, if asked at all."""

    def __init__(self, refs: tuple[Ref, ...], pipeline: Pipeline, ahead: LayoutState | None) -> None:
        self.refs = refs
        self.pipeline = pipeline
        self.ahead = ahead
        self.before: dict[tuple[str, int], object] | None = None
        self.broken = False
        self.at_second_look: dict[tuple[str, int], object] | None = None
        """The jobs without the change if no graph can be made of them. Zuul asked once takes nothing for changed then; asked again, it
        finds what it left lying the first time, and compares."""

    def changed(self, job: MergedJob, state: LayoutState, position: int) -> bool:
        if job.get("match_on_config_updates", True) is False:
            return False
        ref = self.refs[position]
        touched = set(ref.files)
        if any(each.name in touched and (each.project or ref.project) == ref.project for each in job.include_vars):
            return True
        if any(playbook.path in touched and playbook.project == ref.project for playbook in job.all_playbooks()):
            return True
        if self.ahead is None:
            return False
        if self.before is None and not self.broken:
            if self.at_second_look is None:
                self._look_ahead(self.ahead)
            else:
                self.before = self.at_second_look
        if self.before is None:
            return False
        former = self.before.get((job.name, position))
        return former is None or former != configuration(job, state)

    def _look_ahead(self, ahead: LayoutState) -> None:
        try:
            candidates, fail_fast = _candidates(ahead, self.refs, self.pipeline, None, True)
        except (Wrong, RegexTooSlow, RecursionError):
            self.broken = True
            return
        found = {(each.job.name, each.position): configuration(each.job, ahead) for each in candidates}
        try:
            graph = settle(candidates, fail_fast, ahead)
        except (Wrong, RegexTooSlow, RecursionError):
            self.broken = any(each.job.get("deduplicate", "auto") is False for each in candidates)
            self.at_second_look = found
            return
        kept = {(job.name, position) for job in graph.jobs for position in job.changes}
        self.before = {key: value for key, value in found.items() if key in kept}
