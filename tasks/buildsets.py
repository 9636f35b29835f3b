"""The buildset of an item: its change merged speculatively, and the job graph that this means. Made once and kept."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime

from headgate.configuration import FreezeFailed, Layout, Ref
from headgate.configuration.files import rank
from headgate.configuration.problems import Problem as ConfigurationError
from headgate.configuration.projects import Known
from headgate.frozen_secrets import frozen_secrets
from headgate.jobs import JobGraph
from headgate.problems import Problem
from headgate.records import Buildset, FrozenProject, Item
from tasks.effects import effect
from tasks.git import Conflict, Merged
from tasks.reporting import CONFIG_ERROR, CONFLICT, NO_JOBS
from tasks.runtime import Runtime, runtime
from tasks.store import new_id

MOST_ERRORS = 10
"""Configuration errors written into one report; the rest are counted."""


@dataclass(frozen=True, slots=True)
class MergedChange:
    """The item's own repository: the merge commit on its branch, or the files in conflict; every branch's tip; the files it touches."""

    branches: dict[str, str]
    commit: str = ""
    files: tuple[str, ...] = ()
    conflict: tuple[str, ...] = ()


async def prepare_buildset(item_id: str) -> Buildset:
    """The item's buildset, made now unless it was made before."""
    this = await runtime()
    found = await this.store.buildset_of(item_id)
    if found is not None:
        return found
    buildset_id = new_id()
    merged = await merge(item_id, buildset_id)
    return await this.store.add_buildset(await freeze(item_id, buildset_id, merged))


async def _item(this: Runtime, item_id: str) -> Item:
    item = await this.store.item(item_id)
    if item is None:
        raise Problem(f"There is no item {item_id}.")
    return item


@effect(name="merge", task_run_name="merge", retries=5, retry_delay_seconds=[1, 2, 5, 15, 30])
async def merge(item_id: str, keep: str) -> MergedChange:
    """Fetch the change and merge it onto its branch in the bare cache. Retried because a review server may be restarting."""
    this = await runtime()
    item = await _item(this, item_id)
    change = item.change
    layout = await this.tenants.layout(item.tenant)
    url, environment = this.connections[change.connection].git(change.project)
    await this.caches.fetch(item.project, url, environment, [change.ref])
    branches = await this.caches.branches(item.project)
    if change.branch not in branches:
        return MergedChange(branches, conflict=(f"(the branch {change.branch} does not exist)",))
    tip = branches[change.branch]
    outcome = await this.caches.merge(item.project, tip, [change.commit], layout.merge_mode(item.project), keep=f"buildset/{keep}")
    if isinstance(outcome, Conflict):
        return MergedChange(branches, conflict=outcome.files)
    assert isinstance(outcome, Merged)
    return MergedChange(branches, outcome.commit, await this.caches.changed_files(item.project, tip, change.commit))


@effect(name="freeze", task_run_name="jobs")
async def freeze(item_id: str, buildset_id: str, merged: MergedChange) -> Buildset:
    """Which jobs the merged change means, with every repository's state they will see."""
    this = await runtime()
    item = await _item(this, item_id)
    now = datetime.now(UTC)
    if merged.conflict:
        files = ", ".join(merged.conflict)
        return Buildset(buildset_id, item.id, now, problem=CONFLICT, messages=(f"In conflict with {item.change.branch}: {files}",))
    base = await this.tenants.layout(item.tenant)
    known = base.projects.by_canonical[item.project]
    layout, errors = await _speculative(this, item, base, known, merged)
    if errors:
        return Buildset(buildset_id, item.id, now, problem=CONFIG_ERROR, messages=tuple(messages_of(errors)))
    try:
        graph = layout.freeze(Ref(item.project, item.change.branch, (*merged.files, "/COMMIT_MSG")), item.pipeline, ahead=base)
    except FreezeFailed as failed:
        return Buildset(buildset_id, item.id, now, problem=CONFIG_ERROR, messages=(str(failed),))
    projects = await _projects(this, item, layout, graph, merged)
    problem = None if graph.jobs else NO_JOBS
    return Buildset(buildset_id, item.id, now, projects, graph, problem, secrets=frozen_secrets(graph, layout))


async def _speculative(
    this: Runtime, item: Item, base: Layout, known: Known, merged: MergedChange
) -> tuple[Layout, tuple[ConfigurationError, ...]]:
    """The layout with the change's own configuration, and the errors that brings. A config-project's change is only validated."""
    if not any(rank(known.settings, path) is not None for path in merged.files):
        return base, ()
    branch = item.change.branch
    changes = await this.tenants.proposed(known, branch, merged.commit, base)
    validated = base.with_files(changes, config_projects=known.trusted)
    there = set(base.occurrences)
    errors = tuple(problem for problem in validated.occurrences if problem.is_error and problem not in there)
    return (base if known.trusted else validated), errors


def messages_of(errors: tuple[ConfigurationError, ...]) -> list[str]:
    """The errors as a reviewer reads them."""
    shown = [str(error) for error in errors[:MOST_ERRORS]]
    return shown + ([f"and {len(errors) - MOST_ERRORS} more."] if len(errors) > MOST_ERRORS else [])


async def _projects(this: Runtime, item: Item, layout: Layout, graph: JobGraph, merged: MergedChange) -> dict[str, FrozenProject]:
    """Every repository that the graph's jobs, playbooks or roles come from, at the commits they are at now."""
    wanted = {item.project}
    for job in graph.jobs:
        wanted |= {required.name for required in job.required_projects}
        wanted |= {included.project for included in job.include_vars if included.project}
        for playbook in (*job.pre_run, *job.run, *job.post_run, *job.cleanup_run):
            wanted |= {playbook.project, *(role.project for role in playbook.roles)}
    found = {}
    for canonical in sorted(wanted):
        settings = layout.projects.by_canonical[canonical].settings
        if canonical == item.project:
            found[canonical] = FrozenProject(settings.connection, settings.name, item.change.branch, merged.commit, merged.branches)
            continue
        branches = await this.caches.branches(canonical)
        branch = next(
            (name for name in (item.change.branch, layout.default_branch(canonical), settings.load_branch) if name in branches), ""
        )
        if not branch:
            branch = next(iter(branches), "")
        found[canonical] = FrozenProject(settings.connection, settings.name, branch, branches.get(branch, ""), branches)
    return found
