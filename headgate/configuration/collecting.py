"""Which variants make up a job: its own and all its parents' that match, root first."""

from __future__ import annotations

from headgate.configuration.definitions import JobDefinition, PlaybookDefinition, Source
from headgate.configuration.objects import Variant
from headgate.configuration.projects import Ref, matches_branch
from headgate.configuration.state import LayoutState

NOOP = Variant(
    JobDefinition(
        "noop",
        description="A job that always succeeds and does nothing.",
        base=True,
        final=True,
        deduplicate=True,
        run=(PlaybookDefinition("noop.yaml"),),
        in_pipeline=True,
    ),
    Source("", "", "", "", ""),
    (),
    None,
)
"""The built-in job that runs nothing."""

Checkouts = dict[str | None, str]
"""Override-checkouts by canonical project, `None` for all projects."""


class NoMatchingParent(Exception):
    """A job, or a parent of it, has no variant for this branch: the job is not run."""


def collect(state: LayoutState, ref: Ref, name: str, pipeline_variants: list[Variant]) -> list[Variant]:
    """The matching variants of a job, parents first; a parent already visited is not visited again, so a circle ends.

    Raises `NoMatchingParent`.
    """
    checkouts: Checkouts = {}
    for variant in pipeline_variants:
        _note_checkouts(state, variant, checkouts)
    found: list[Variant] = []
    _collect(state, ref, name, set(), found, set(), checkouts)
    return found


def variants_of(state: LayoutState, name: str) -> list[Variant]:
    """All variants of a job in load order."""
    return [NOOP] if name == "noop" else state.jobs.get(name) or []


def _note_checkouts(state: LayoutState, variant: Variant, checkouts: Checkouts) -> None:
    if variant.job.override_checkout:
        checkouts[None] = variant.job.override_checkout
    uses = variant.job.required_projects
    if uses:
        for canonical, use in zip(state.projects.need(uses), uses.values(), strict=True):
            if use.override_checkout:
                checkouts[canonical] = use.override_checkout


def _collect(
    state: LayoutState, ref: Ref, name: str, visited: set[str], found: list[Variant], taken: set[int], checkouts: Checkouts
) -> None:
    visited.add(name)
    variants = variants_of(state, name)
    branch = _override_branch(state, variants[0].source.project, checkouts) if variants else None
    inner = dict(checkouts)
    matched = False
    for variant in variants:
        if not (ref.matches(variant.matcher) if branch is None else matches_branch(variant.matcher, branch)):
            continue
        parent = None if variant.job.base else variant.job.parent
        if parent is None and not variant.job.base and not found:
            parent = state.tenant.default_parent
        _note_checkouts(state, variant, inner)
        if parent and parent not in visited:
            _collect(state, ref, parent, visited, found, taken, inner)
        matched = True
        if id(variant) not in taken:
            taken.add(id(variant))
            found.append(variant)
    if not matched:
        raise NoMatchingParent(name)


def _override_branch(state: LayoutState, project: str, checkouts: Checkouts) -> str | None:
    """The branch that stands for the item's in choosing variants of a job of `project`, if the project has it."""
    branch = checkouts.get(project, checkouts.get(None))
    known = state.projects.by_canonical.get(project)
    return branch if known is not None and branch in known.branches else None
