"""The answer to `Prepare`: merge, build the speculative layout, freeze the graph."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace

from headgate.configuration import FreezeFailed, Layout, Problem, Ref, RemovedFile, SourceFile, config_paths
from headgate.configuration.files import rank
from headgate.gating import Key, Prepare, Prepared
from headgate.gating.knowledge import Knowledge, takes_part
from headgate.refs import is_ref
from headgate.simulation.knowledge import Reading
from headgate.simulation.repositories import Commit, Heads, Place, Repositories, merge
from headgate.simulation.texts import Conflict

DEPENDS_ON_CONFIG = (
    "This change depends on a change to a config project.\n\nThe syntax of the configuration in this change has been verified to be "
    "correct once the config project change upon which it depends is merged, but it can not be used until that occurs."
)


@dataclass(slots=True)
class Merger:
    """Keeps, for each buildset, the branches as it sees them: frozen when it was prepared."""

    repositories: Repositories
    reading: Reading
    worlds: dict[str, Heads] = field(default_factory=dict)
    base: Heads = field(default_factory=dict)
    merged: dict[tuple[Key, ...], Heads | None] = field(default_factory=lambda: {(): {}})
    """What these changes merged onto `base` gave; None for a conflict."""
    layouts: dict[tuple[Layout, str, tuple[Key, ...]], Layout] = field(default_factory=dict)
    """By the tenant's layout, pipeline and an item's changes: the layout that the item came to."""

    def prepare(self, wanted: Prepare, pipeline: str, facts: Knowledge) -> Prepared:
        """Do it at once."""
        merged = self._merged((*wanted.ahead, *wanted.changes), facts)
        heads = merged if merged is not None else self.base
        self.worlds[wanted.buildset] = heads
        refs = tuple(replace(_ref(key, facts), containing_branches=self.reading.containing.get(key, ())) for key in wanted.changes)
        if merged is None:
            return replace(self._in_conflict(wanted, refs, pipeline, facts), warnings=(self._culprit(wanted, facts),))
        before = self._layout_ahead(wanted, pipeline, facts, heads)
        layout, error = before, ""
        if any(touches_configuration(key, facts) for key in wanted.changes):
            layout, error = self._layout(facts, heads, (*wanted.ahead, *wanted.changes), wanted.changes)
        self.layouts[(facts.layout, pipeline, wanted.changes)] = layout
        # a layout that cannot be loaded is none: the tenant's says then whether the project takes part
        part = any(takes_part(facts.layout if error else layout, ref, pipeline) for ref in refs)
        if error or not wanted.live:
            return Prepared(wanted.buildset, None, part, config_error=error)
        return _frozen(wanted.buildset, layout, before, refs, pipeline, part)

    def _merged(self, keys: tuple[Key, ...], facts: Knowledge) -> Heads | None:
        """All branches with these changes, one after the other. What was merged before is remembered until a branch moves."""
        if self.base != self.repositories.heads:
            self.base = dict(self.repositories.heads)
            self.merged = {(): self.base}
        known = next(length for length in range(len(keys), -1, -1) if keys[:length] in self.merged)
        for length in range(known + 1, len(keys) + 1):
            heads = self.merged[keys[: length - 1]]
            self.merged[keys[:length]] = self._with(heads, keys[length - 1], facts) if heads is not None else None
        return self.merged[keys]

    def _culprit(self, wanted: Prepare, facts: Knowledge) -> str:
        """Which change does not merge."""
        keys = (*wanted.ahead, *wanted.changes)
        key = next(keys[length - 1] for length in range(1, len(keys) + 1) if self.merged[keys[:length]] is None)
        return f"Error merging {key[0]}/{self.reading.review(key).project} for {key[1]},{key[2]}"

    def _with(self, heads: Heads, key: Key, facts: Knowledge) -> Heads | None:
        if is_ref(key):
            return heads
        review = self.reading.review(key)
        place = (review.canonical, review.branch)
        try:
            return {**heads, place: merge(heads.get(place) or self.repositories.head(place), review.patchsets[key[2] - 1].commit)}
        except Conflict:
            return None

    def _in_conflict(self, wanted: Prepare, refs: tuple[Ref, ...], pipeline: str, facts: Knowledge) -> Prepared:
        """Nobody knows the layout, so the tenant's stands for it, and without a configuration change even for the graph."""
        part = any(takes_part(facts.layout, ref, pipeline) for ref in refs)
        if not part or not wanted.live or any(touches_configuration(key, facts) for key in wanted.changes):
            return Prepared(wanted.buildset, None, part, conflict=True)
        frozen = _frozen(wanted.buildset, facts.layout, facts.layout, refs, pipeline, part)
        return Prepared(wanted.buildset, frozen.graph, part, True, frozen.config_error)

    def _layout_ahead(self, wanted: Prepare, pipeline: str, facts: Knowledge, heads: Heads) -> Layout:
        """The layout of the item ahead, which may know of changes that have merged since; else what those ahead say."""
        for start in range(len(wanted.ahead) - 1, -1, -1):
            found = self.layouts.get((facts.layout, pipeline, wanted.ahead[start:]))
            if found is not None:
                return found
        return self._layout(facts, heads, wanted.ahead, ())[0]

    def _layout(self, facts: Knowledge, heads: Heads, tested: Iterable[Key], own: tuple[Key, ...]) -> tuple[Layout, str]:
        """The layout with the configuration of all changes under test, and what is wrong with it that these brought."""
        keys = [key for key in tested if touches_configuration(key, facts)]
        if not keys:
            return facts.layout, ""
        files = [each for place in dict.fromkeys(_place(key, facts) for key in keys) for each in self._files(facts, heads, place)]
        trusted = any(facts.layout.projects.by_canonical[facts.project(key)].trusted for key in keys)
        layout = facts.layout.with_files(files)
        wrong = _new_errors(layout, facts, own)
        if trusted:
            whole = facts.layout.with_files(files, config_projects=True)
            whole_wrong = _new_errors(whole, facts, own)
            if whole_wrong:
                return layout, str(whole_wrong[0])
            if wrong:
                return layout, DEPENDS_ON_CONFIG
        return layout, str(wrong[0]) if wrong else ""

    def _files(self, facts: Knowledge, heads: Heads, place: Place) -> list[SourceFile | RemovedFile]:
        settings = facts.layout.projects.by_canonical[place[0]].settings
        merged = heads[place].tree
        before = self.repositories.head(place).tree
        there = config_paths(settings, merged)
        gone = [path for path in config_paths(settings, before) if path not in there]
        return [*(SourceFile(*place, path, merged[path]) for path in there), *(RemovedFile(*place, path) for path in gone)]


def _frozen(buildset: str, layout: Layout, before: Layout, refs: tuple[Ref, ...], pipeline: str, part: bool) -> Prepared:
    known = tuple(ref for ref in refs if ref.project in layout.projects.by_canonical)
    try:
        return Prepared(buildset, layout.freeze(known, pipeline, before), part)
    except FreezeFailed as failed:
        return Prepared(buildset, None, part, config_error=f"Unable to freeze job graph: {failed}")


def _new_errors(layout: Layout, facts: Knowledge, own: tuple[Key, ...]) -> list[Problem]:
    """Errors that the tenant's layout does not have, or that are where these changes are."""
    former = set(facts.layout.errors)
    places = {_place(key, facts) for key in own}
    names = {(facts.layout.projects.by_canonical[project].name, branch) for project, branch in places}
    return [
        problem
        for problem in layout.errors
        if problem not in former or any((problem.project, branch) in names | places for branch in problem.branches)
    ]


def touches_configuration(key: Key, facts: Knowledge) -> bool:
    """Does a change touch what this tenant reads as configuration?"""
    known = facts.layout.projects.by_canonical.get(facts.project(key))
    files = facts.read.known(key).change.files
    return known is not None and any(rank(known.settings, path) is not None for path in files)


def _place(key: Key, facts: Knowledge) -> Place:
    return (facts.project(key), facts.read.known(key).change.branch)


def _ref(key: Key, facts: Knowledge) -> Ref:
    change = facts.read.known(key).change
    return Ref(facts.project(key), change.branch, change.files, change.ref)


def messages_of(world: Mapping[Place, Commit], place: Place) -> set[str]:
    """The messages of all commits on a branch in one buildset's world."""
    head = world.get(place)
    return {commit.message for commit in head.ancestry()} if head is not None else set()
