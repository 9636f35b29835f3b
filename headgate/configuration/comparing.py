"""When is a job's configuration another one? Then it runs for the change that made it so, whatever its file matchers say."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

from headgate.configuration.freezing_graph import DEFAULT_ANSIBLE
from headgate.configuration.inheritance import MergedJob
from headgate.configuration.state import LayoutState
from headgate.jobs import RoleSource

_COUNTS: dict[str, Any] = {
    **dict.fromkeys(("parent", "protected", "post_review", "pre_timeout", "timeout", "post_timeout", "override_checkout")),
    **dict.fromkeys(("image_build_name", "ansible_split_streams")),
    "voting": True,
    "attempts": 3,
    "match_on_config_updates": True,
    "deduplicate": "auto",
    "type": "regular",
    "workspace_scheme": "golang",
    "workspace_checkout": True,
}
"""Simple attributes that make a job another one, with what it means not to say them. Messages and file matchers do not (Zuul's
`Job.toDict`, of which its `getConfigHash` is made, lists what does)."""


def configuration(job: MergedJob, state: LayoutState) -> object:
    """What must be equal for a job's configuration to count as unchanged."""
    return tuple(_configuration(job, state))


def _configuration(job: MergedJob, state: LayoutState) -> Iterator[object]:
    yield job.name
    yield job.variant_description
    yield job.explicit_branches
    yield [job.get(key, default) for key, default in _COUNTS.items()]
    yield job.get("ansible_version", None) or state.tenant.default_ansible_version or DEFAULT_ANSIBLE
    yield job.sets
    yield (job.vars, job.extra_vars, job.host_vars, job.group_vars, job.include_vars)
    yield (list(job.required_projects.values()), job.include_projects, job.exclude_projects)
    yield (job.semaphores, job.failure_output, job.secret_exposure or "ignore")
    yield (job.final, job.abstract, job.intermediate, _roles(job.roles))
    for playbook in job.all_playbooks():
        yield (playbook.project, playbook.branch, playbook.path, playbook.semaphores, playbook.cleanup, _roles(playbook.roles))
        yield [(use.name, use.secret) for use in playbook.secrets if not use.passed]
    yield [len(group) for group in job.playbooks.values()]
    alternatives = job.nodesets()
    yield [each for each in alternatives if each.nodes or len(alternatives) > 1]


def _roles(roles: Iterable[RoleSource]) -> list[tuple[str, str, bool]]:
    return [(role.project, role.name, role.implicit) for role in roles]
