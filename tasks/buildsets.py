"""Preparing a buildset: its changes merged onto those ahead, and the job graph that this means. Made once and kept."""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime

from headgate.changes import Change
from headgate.configuration import FreezeFailed, Layout, Ref, RemovedFile, SourceFile
from headgate.configuration.files import rank
from headgate.configuration.problems import Problem as ConfigurationError
from headgate.frozen_secrets import frozen_secrets
from headgate.gating.knowledge import takes_part
from headgate.gating.primaries import led_by
from headgate.jobs import JobGraph
from headgate.problems import Problem
from headgate.records import Buildset, FileComment, FrozenProject, Item
from headgate.refs import is_deleted
from tasks.effects import effect
from tasks.git import Conflict, kept
from tasks.runtime import Runtime, runtime

CONFLICT, CONFIG_ERROR = "MERGE_CONFLICT", "CONFIG_ERROR"
MOST_ERRORS = 10
"""Configuration errors written into one report; the rest are counted."""
DEPENDS_ON_CONFIGURATION = (
    "This change depends on a change to a config project: its configuration is right once that one has merged, and cannot be used before."
)

Place = tuple[str, str]
"""Canonical project and branch."""


@dataclass(frozen=True, slots=True)
class World:
    """Branches as one buildset sees them. `ahead` are the commits that the changes ahead make, `all` with the item's own on top.

    `files` are what each of the item's own changes touches. `conflict` says in words what does not merge.
    """

    branches: Mapping[str, Mapping[str, str]] = field(default_factory=dict)
    ahead: Mapping[Place, str] = field(default_factory=dict)
    all: Mapping[Place, str] = field(default_factory=dict)
    files: tuple[tuple[str, ...], ...] = ()
    configured: tuple[tuple[Place, bool], ...] = ()
    """Places whose configuration changes touch, and whether the item's own do."""
    conflict: str = ""
    containing: tuple[str, ...] = ()
    """The branches that have the tag which is under test."""


async def prepare_buildset(buildset_id: str) -> Buildset:
    """The buildset, prepared now unless that was done before."""
    this = await runtime()
    found = await _buildset(this, buildset_id)
    if found.prepared is None:
        await freeze(buildset_id, await merge(buildset_id))
        found = await _buildset(this, buildset_id)
    return found


async def prepare_quietly(buildset_id: str) -> None:
    """The same without a flow run, for an item that is there only to be tested on top of."""
    this = await runtime()
    found = await _buildset(this, buildset_id)
    if found.prepared is None:
        await freeze.fn(buildset_id, await merge.fn(buildset_id))


async def _buildset(this: Runtime, buildset_id: str) -> Buildset:
    found = await this.store.buildset(buildset_id)
    if found is None:
        raise Problem(f"There is no buildset {buildset_id}.")
    return found


async def _item(this: Runtime, item_id: str) -> Item:
    item = await this.store.item(item_id)
    if item is None:
        raise Problem(f"There is no item {item_id}.")
    return item


@effect(name="merge", task_run_name="merge", retries=5, retry_delay_seconds=[1, 2, 5, 15, 30])
async def merge(buildset_id: str) -> World:
    """Fetch the changes and merge them one on top of the other in the bare caches. Retried because a review server may be restarting."""
    this = await runtime()
    buildset = await _buildset(this, buildset_id)
    layout = await this.tenants.layout((await _item(this, buildset.item)).tenant)
    changes = (*buildset.ahead, *buildset.changes)
    await fetch_changes(this, changes)
    branches = {project: await this.caches.branches(project) for project in dict.fromkeys(map(this.canonical, changes))}
    commits: dict[Place, str] = {}
    ahead: dict[Place, str] = {}
    configured: dict[Place, bool] = {}
    files: list[tuple[str, ...]] = []
    for number, change in enumerate(changes):
        place = (this.canonical(change), change.branch)
        own = number >= len(buildset.ahead)
        if change.is_ref:
            files.append(())
            if (commit := await commit_of_ref(this, change, branches[place[0]])) is not None:
                commits[place] = commit
            continue
        if number == len(buildset.ahead):
            ahead = dict(commits)
        if change.branch not in branches[place[0]]:
            return World(branches, conflict=f"The branch {change.branch} of {change.project} does not exist.")
        tip = branches[place[0]][change.branch]
        outcome = await this.caches.merge(
            place[0], commits.get(place, tip), [change.commit], layout.merge_mode(place[0]), keep=kept(buildset_id, change.branch)
        )
        if isinstance(outcome, Conflict):
            said = f"In conflict with {change.branch}: {', '.join(outcome.files)}"
            return World(branches, conflict=said if own else f"{said} ({change.project} {change}, which is ahead)")
        commits[place] = outcome.commit
        touched = await this.caches.changed_files(place[0], tip, change.commit)
        if own:
            files.append(touched)
        known = layout.projects.by_canonical.get(place[0])
        if known is not None and any(rank(known.settings, path) is not None for path in touched):
            configured[place] = configured.get(place, False) or own
    containing: tuple[str, ...] = ()
    for change in buildset.changes:
        if change.is_ref and not change.branch and (commit := commits.get((this.canonical(change), ""))) is not None:
            containing = await this.caches.branches_with(this.canonical(change), commit)
    return World(branches, ahead, commits, tuple(files), tuple(configured.items()), containing=containing)


async def commit_of_ref(this: Runtime, change: Change, branches: Mapping[str, str]) -> str | None:
    """What a branch or tag under test points to: what the event said, else what it is now; None when it was deleted."""
    if is_deleted(change):
        return None
    if change.branch and not change.commit:
        return branches.get(change.branch)
    try:
        return await this.caches.resolve(this.canonical(change), change.commit or change.ref)
    except LookupError:  # moved on, or deleted since
        return branches.get(change.branch)


async def fetch_changes(this: Runtime, changes: Iterable[Change]) -> None:
    """Have the changes, and their projects' branches as they are now, in the caches."""
    refs: dict[str, list[Change]] = {}
    for change in changes:
        refs.setdefault(this.canonical(change), []).append(change)
    for canonical, those in refs.items():
        url, environment = this.connections[those[0].connection].git(those[0].project)
        await this.caches.fetch(canonical, url, environment, [change.ref for change in those if not change.is_ref])


@effect(name="freeze", task_run_name="jobs")
async def freeze(buildset_id: str, world: World) -> None:
    """Which jobs the merged changes mean, with every repository's state they will see; kept with the buildset."""
    this = await runtime()
    buildset = await _buildset(this, buildset_id)
    item = await _item(this, buildset.item)
    base = await this.tenants.layout(item.tenant)
    found = await Freezing(this, item, buildset, base, world).run()
    await this.store.prepared(replace(found, prepared=datetime.now(UTC)))


class Freezing:
    """The job graph of one buildset."""

    def __init__(self, this: Runtime, item: Item, buildset: Buildset, base: Layout, world: World) -> None:
        self._this = this
        self._item = item
        self._buildset = buildset
        self._base = base
        self._world = world

    async def run(self) -> Buildset:
        if self._world.conflict:
            return await self._in_conflict()
        layout, errors, note = await self._layout(own=True)
        refs = self._refs()
        # a layout that cannot be loaded is none: the tenant's says then whether the project takes part
        part = any(takes_part(self._base if errors or note else layout, ref, self._item.pipeline) for ref in refs)
        if errors or note:
            said = (*messages_of(errors), *([note] if note and not errors else []))
            return replace(self._buildset, problem=CONFIG_ERROR, messages=said, comments=comments_of(errors), takes_part=part)
        if self._item.ahead_only:
            return replace(self._buildset, takes_part=part)
        before, _, _ = await self._layout(own=False)
        return await self._frozen(layout, before, refs, part)

    async def _in_conflict(self) -> Buildset:
        """Nobody knows the layout, so the tenant's stands for it; with a configuration change there is no graph at all."""
        refs = self._refs()
        part = any(takes_part(self._base, ref, self._item.pipeline) for ref in refs)
        found = replace(self._buildset, problem=CONFLICT, messages=(self._world.conflict,), takes_part=part)
        if not part or self._item.ahead_only or any(self._touches_configuration(change) for change in self._buildset.changes):
            return found
        try:
            return replace(found, graph=self._led(self._base.freeze(refs, self._item.pipeline, ahead=self._base)))
        except FreezeFailed:
            return found

    def _led(self, graph: JobGraph) -> JobGraph:
        """A job that stands for several changes is led by the one that brought the item in, as in the rules: builds are named by it."""
        return led_by(graph, [change.key for change in self._buildset.changes], self._item.change.key)

    def _touches_configuration(self, change: Change) -> bool:
        known = self._base.projects.by_canonical.get(self._this.canonical(change))
        return known is not None and any(rank(known.settings, path) is not None for path in change.files)

    def _refs(self) -> tuple[Ref, ...]:
        """The item's changes for the job matchers. Gerrit counts the commit message among the files of a change."""
        files = self._world.files or tuple(change.files for change in self._buildset.changes)
        found = []
        for change, touched in zip(self._buildset.changes, files, strict=False):
            canonical = self._this.canonical(change)
            if canonical not in self._base.projects.by_canonical:
                continue
            if change.is_ref:
                found.append(Ref(canonical, change.branch, (), change.ref, self._world.containing))
            else:
                found.append(Ref(canonical, change.branch, (*touched, "/COMMIT_MSG"), change.ref))
        return tuple(found)

    async def _layout(self, own: bool) -> tuple[Layout, tuple[ConfigurationError, ...], str]:
        """The layout with the configuration of the changes ahead, with `own` of all; the errors that these bring, and what else is
        wrong. A config-project's change is only validated."""
        commits = self._world.all if own else self._world.ahead
        places = [place for place, _ in self._world.configured if place in commits]
        if not places:
            return self._base, (), ""
        files: list[SourceFile | RemovedFile] = []
        trusted = False
        for canonical, branch in places:
            known = self._base.projects.by_canonical[canonical]
            trusted = trusted or known.trusted
            files += await self._this.tenants.proposed(known, branch, commits[(canonical, branch)], self._base)
        layout = self._base.with_files(files)
        wrong = self._new_errors(layout)
        if not trusted:
            return layout, wrong, ""
        whole = self._new_errors(self._base.with_files(files, config_projects=True))
        return layout, whole, DEPENDS_ON_CONFIGURATION if wrong and not whole else ""

    def _new_errors(self, layout: Layout) -> tuple[ConfigurationError, ...]:
        """Errors the tenant does not have already, or that are where the item's own changes are."""
        former = set(self._base.occurrences)
        places = {place for place, own in self._world.configured if own}
        names = {(self._base.projects.by_canonical[project].name, branch) for project, branch in places} | places
        return tuple(
            problem
            for problem in layout.occurrences
            if problem.is_error and (problem not in former or any((problem.project, branch) in names for branch in problem.branches))
        )

    async def _frozen(self, layout: Layout, before: Layout, refs: tuple[Ref, ...], part: bool) -> Buildset:
        try:
            graph = self._led(layout.freeze(refs, self._item.pipeline, ahead=before))
        except FreezeFailed as failed:
            return replace(self._buildset, problem=CONFIG_ERROR, messages=(f"Unable to freeze job graph: {failed}",), takes_part=part)
        projects = await self._projects(layout, graph)
        return replace(self._buildset, projects=projects, graph=graph, secrets=frozen_secrets(graph, layout), takes_part=part)

    async def _projects(self, layout: Layout, graph: JobGraph) -> dict[str, FrozenProject]:
        """Every repository that the graph's jobs, playbooks or roles come from, or changes are of, at the commits they are at now."""
        wanted = {canonical for canonical, _ in self._world.all}
        for job in graph.jobs:
            wanted |= {required.name for required in job.required_projects}
            wanted |= {included.project for included in job.include_vars if included.project}
            for playbook in (*job.pre_run, *job.run, *job.post_run, *job.cleanup_run):
                wanted |= {playbook.project, *(role.project for role in playbook.roles)}
        return {canonical: await self._project(layout, canonical, overrides(graph, canonical)) for canonical in sorted(wanted)}

    async def _project(self, layout: Layout, canonical: str, asked: Iterable[str]) -> FrozenProject:
        settings = layout.projects.by_canonical[canonical].settings
        branches = self._world.branches.get(canonical) or await self._this.caches.branches(canonical)
        merged = {branch: commit for (project, branch), commit in self._world.all.items() if project == canonical}
        own = [change.branch for change in reversed(self._buildset.changes) if self._this.canonical(change) == canonical]
        candidates = [*own, self._item.change.branch, layout.default_branch(canonical), settings.load_branch, *branches]
        branch = next((name for name in candidates if name in branches), "")
        # a tag has no branch: then what it points to is what jobs check out
        commit = merged.pop("", None) or merged.pop(branch, None) or branches.get(branch, "")
        tags = {}
        for name in asked:
            if name not in branches:
                with contextlib.suppress(LookupError):  # a project that has no such tag is checked out as without
                    tags[name] = await self._this.caches.resolve(canonical, f"refs/tags/{name}")
        return FrozenProject(settings.connection, settings.name, branch, commit, branches, merged, tags)


def overrides(graph: JobGraph, canonical: str) -> tuple[str, ...]:
    """What jobs ask to check out of a project in place of the change's branch."""
    of_all = (job.override_checkout for job in graph.jobs)
    of_this = (required.override_checkout for job in graph.jobs for required in job.required_projects if required.name == canonical)
    return tuple(dict.fromkeys(name for name in (*of_this, *of_all) if name))


def messages_of(errors: Sequence[ConfigurationError]) -> list[str]:
    """The errors as a reviewer reads them."""
    shown = [str(error) for error in errors[:MOST_ERRORS]]
    return shown + ([f"and {len(errors) - MOST_ERRORS} more."] if len(errors) > MOST_ERRORS else [])


def comments_of(errors: Sequence[ConfigurationError]) -> tuple[FileComment, ...]:
    """The errors as remarks on the lines they are about."""
    return tuple(
        FileComment(error.path, error.line or None, error.message, "error", error.project) for error in errors[:MOST_ERRORS] if error.path
    )
