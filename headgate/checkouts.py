"""Which branch and commit of each repository a build has in its workspace.

Law: a job's override-checkout of the project wins, then its own, where the project has such a branch; else what the buildset chose.
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
    for wanted, why in ((override, "job override ref"), (job.override_checkout, "job override ref")):
        if wanted is not None and wanted in project.branches:
            return wanted, project.speculative(wanted), why
    return project.branch, project.commit, "zuul branch"


def project_states(job: FrozenJob, buildset: Buildset, own: str, tested: Iterable[str] = ()) -> tuple[ProjectState, ...]:
    """The repositories of the job's workspace: its change's own, those of all changes under test, and those it requires."""
    required = {one.name for one in job.required_projects}
    states = []
    for canonical in dict.fromkeys([own, *tested, *sorted(required)]):
        branch, commit, why = checkout(job, buildset, canonical)
        states.append(ProjectState(canonical, commit, branch, why, canonical in required))
    return tuple(states)
