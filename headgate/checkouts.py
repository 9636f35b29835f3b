"""Which branch and commit of each repository a build has in its workspace.

Law (Zuul's): what the job wants of this project wins, then what it wants of all, where the project has such a branch or tag; else the
branch of the change, where the project has it; else its default branch. A tag under test is itself what its project checks out.
"""

from __future__ import annotations

from collections.abc import Iterable

from headgate.inventory import ProjectState
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


def project_states(job: FrozenJob, buildset: Buildset, own: str, tested: Iterable[str] = ()) -> tuple[ProjectState, ...]:
    """The repositories of the job's workspace: its change's own, those of all changes under test, and those it requires."""
    required = {one.name for one in job.required_projects}
    states = []
    for canonical in dict.fromkeys([own, *tested, *sorted(required)]):
        branch, commit, why = checkout(job, buildset, canonical)
        is_tag = branch not in buildset.projects[canonical].branches
        states.append(ProjectState(canonical, commit, branch, why, canonical in required, is_tag))
    return tuple(states)
