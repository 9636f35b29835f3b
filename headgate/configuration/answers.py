"""Frozen graphs and problems as JSON: what `headgate jobs --json` prints."""

from __future__ import annotations

import datetime
from collections.abc import Iterable, Mapping
from typing import Any

from headgate.configuration.document_values import Encrypted, Override
from headgate.configuration.layout import Layout
from headgate.configuration.problems import Problem
from headgate.jobs import FrozenJob, JobGraph, Nodeset, Playbook


def plain(value: Any) -> Any:
    """A configuration value as JSON has it: dates as ISO text, tags taken off, nothing secret shown."""
    if isinstance(value, Mapping):
        return {key if isinstance(key, str) else _key(key): plain(each) for key, each in value.items()}
    if isinstance(value, (list, tuple, set, frozenset)):
        return [plain(each) for each in value]
    if isinstance(value, (datetime.date, datetime.datetime)):
        return value.isoformat()
    if isinstance(value, Override):
        return plain(value.value)
    if isinstance(value, Encrypted):
        return "ENCRYPTED"
    if isinstance(value, bytes):
        return value.decode("utf8", "replace")
    return value


def _key(key: Any) -> str:
    if isinstance(key, bool):
        return str(key).lower()
    return "null" if key is None else str(key)


def job_answer(job: FrozenJob, layout: Layout) -> dict[str, Any]:
    """One frozen job."""

    def playbooks(group: Iterable[Playbook]) -> list[dict[str, Any]]:
        return [playbook_answer(each, layout) for each in group]

    return {
        "name": job.name,
        "parents": list(job.parents),
        "voting": job.voting,
        "attempts": job.attempts,
        "timeout": job.timeout,
        "post_timeout": job.post_timeout,
        "dependencies": [{"name": each.name, "soft": each.soft} for each in job.declared_dependencies],
        "semaphores": [{"name": each.name, "resources_first": each.resources_first} for each in job.semaphores],
        "tags": list(job.tags),
        "provides": list(job.provides),
        "requires": list(job.requires),
        "vars": plain(job.vars),
        "extra_vars": plain(job.extra_vars),
        "host_vars": plain(job.host_vars),
        "group_vars": plain(job.group_vars),
        "required_projects": [each.name for each in job.required_projects],
        "nodeset": [_nodeset(each) for each in job.nodesets],
        "pre_run": playbooks(job.pre_run),
        "run": playbooks(job.run),
        "post_run": playbooks(job.post_run),
    }


def _nodeset(nodeset: Nodeset) -> list[dict[str, Any]]:
    return [{"name": list(node.names), "label": node.label} for node in nodeset.nodes]


def playbook_answer(playbook: Playbook, layout: Layout) -> dict[str, Any]:
    """A playbook; its project by short name, its roles by canonical project, its secrets by variable."""
    return {
        "project": layout.projects.by_canonical[playbook.project].name,
        "branch": playbook.branch,
        "path": playbook.path,
        "trusted": playbook.trusted,
        "roles": [role.project for role in playbook.roles],
        "secrets": sorted({use.name for use in playbook.secrets}),
    }


def graph_answer(graph: JobGraph, layout: Layout) -> list[dict[str, Any]]:
    """All jobs of a graph, in order."""
    return [job_answer(job, layout) for job in graph.jobs]


def problem_answers(problem: Problem, layout: Layout) -> list[dict[str, Any]]:
    """A problem as Zuul reports it: once for each branch, with the line on which its object starts."""
    known = layout.projects.by_canonical.get(problem.project)
    name = known.name if known else problem.project
    return [
        {
            "name": problem.name,
            "severity": problem.severity,
            "source": None if problem.placeless else f"{name}/{problem.path}@{branch}" if branch else f"{name}/None@None",
            "line": None if problem.placeless else problem.stanza_line or None,
            "error": problem.message,
        }
        for branch in problem.branches or ("",)
    ]
