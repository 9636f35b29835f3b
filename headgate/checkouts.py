"""Which branch and commit of each repository a build has in its workspace.

Law (Zuul's): what the job wants of this project wins, then what it wants of all, where the project has such a branch or tag; else the
branch of the change, where the project has it; else its default branch. A tag under test is itself what its project checks out.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable

from headgate.build_facts import ProjectState
from headgate.jobs import FrozenJob
from headgate.records import Buildset


def checkout(job: FrozenJob, buildset: Buildset, canonical: str) -> tuple[str, str, str]:
    """What a build checks out of a repository: branch, commit, and in words why that branch."""
    override = next((one.override_checkout for one in job.required_projects if one.name == canonical), None)
    project = buildset.projects[canonical]
    for wanted, why in ((override, "project override ref"), (job.override_checkout, "job override ref")):
        if wanted is not None and wanted in project.branches:
            return wanted, project.speculative(wanted), why
        if wanted is not None and wanted in project.tags:
            return wanted, project.tags[wanted], why
    change = buildset.changes[-1] if buildset.changes else None
    if change is None or change.branch == project.branch:
        return project.branch, project.commit, "branch ref" if change is not None and change.is_ref else "zuul branch"
    if change.ref.startswith("refs/tags/") and (change.connection, change.project) == (project.connection, project.name):
        return change.ref.removeprefix("refs/tags/"), project.commit, "tag ref"
    return project.branch, project.commit, "project default branch"


def is_included(job: FrozenJob, canonical: str, own: str, item: Collection[str]) -> bool:
    """Do the job's include-projects and exclude-projects let a project of a change under test into the workspace? `own` is that of the
    job's change, `item` are those of all changes of the item."""

    def meant(rules: Collection[tuple[str, str | None]]) -> bool:
        kinds = {"change": own == canonical, "item": canonical in item}
        return any(name == canonical if kind == "name" else kinds[kind] for kind, name in rules)

    return (job.include_projects is None or meant(job.include_projects)) and not meant(job.exclude_projects or ())


def project_states(
    job: FrozenJob, buildset: Buildset, own: str, tested: Iterable[str] = (), item: Collection[str] = ()
) -> tuple[ProjectState, ...]:
    """The repositories of the job's workspace: its change's own and those of all changes under test as far as the job includes them (those
    of `item` are the item's own), and those it requires."""
    required = {one.name for one in job.required_projects}
    states = []
    changed = (canonical for canonical in (own, *tested) if is_included(job, canonical, own, {own, *item}))
    for canonical in dict.fromkeys([*changed, *sorted(required)]):
        branch, commit, why = checkout(job, buildset, canonical)
        is_tag = branch not in buildset.projects[canonical].branches
        states.append(ProjectState(canonical, commit, branch, why, canonical in required, is_tag))
    return tuple(states)
