"""Filling a layout's state: which objects stand, after which others, and who must be looked at again when something changes.

One path serves both a full load (everything is new) and a speculative one (a few names are): replace the objects of some files,
admit again the names they define, then check again those names and whatever refers to a name whose meaning changed.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from headgate.configuration.checking import Checker
from headgate.configuration.files import RemovedFile, SourceFile, left_out_problem, parse_text, rank, read_and_left_out, syntax_problems
from headgate.configuration.notes import PHASES, Notes
from headgate.configuration.objects import Bound, StanzaObject
from headgate.configuration.problems import Problem
from headgate.configuration.standing import Standing
from headgate.configuration.stanza import Wrong
from headgate.configuration.state import Key, LayoutState


class Builder:
    """Changes a state that no one else has yet."""

    def __init__(self, state: LayoutState) -> None:
        self.state = state
        self.binder = state.binder
        self.notes = Notes(state)
        self.inline_nodesets = False
        """Did a file that was read so far have one?"""
        self.touched: dict[Key, tuple[set[int], list[Any]]] = {}
        self.speculative = state.previous is not None
        """Is this a layout that proposed changes take effect in (not one that only validates)?"""

    def load(self, files: Iterable[SourceFile]) -> LayoutState:
        """A state with all files of a tenant, in load order."""
        grouped: dict[Key, list[SourceFile]] = {}
        for file in files:
            grouped.setdefault((file.project, file.branch), []).append(file)
        for name, project in self.state.projects.by_canonical.items():
            if not project.settings.kinds:
                continue
            for branch in project.branches:
                found = grouped.get((name, branch), [])
                if project.trusted and branch != project.settings.load_branch:
                    self._documents_only(name, branch, found)
                elif found:
                    self._replace((name, branch), found)
            if project.read_for_another:
                self._replace((name, project.settings.load_branch), grouped.get((name, project.settings.load_branch), []))
        for name, wrong in self.state.projects.unknown_shadows:
            unknown = Problem("error", wrong.name, str(wrong), name, (), "", key="shadow")
            self.notes.note("file", (self.binder.positions[name], "", ""), [unknown])
        self._settle_names()
        self.state.settle()
        return self.state

    def apply_changes(self, changes: Iterable[SourceFile | RemovedFile], config_projects: bool) -> LayoutState | None:
        """The state with some files changed, `None` if none of them is a configuration file that counts."""
        grouped: dict[Key, dict[str, SourceFile | RemovedFile]] = {}
        for change in changes:
            project = self.state.projects.by_canonical.get(change.project)
            if project is None or rank(project.settings, change.path) is None or not project.settings.kinds:
                continue
            if project.trusted and (not config_projects or change.branch != project.settings.load_branch):
                continue
            if project.trusted or change.branch in project.branches or project.settings.is_dynamic_only(change.branch):
                grouped.setdefault((change.project, change.branch), {})[change.path] = change
        if not grouped:
            return None
        self.speculative = not config_projects
        for key, by_path in grouped.items():
            kept = {file.path: file for file in self.binder.files_of(self.state.files.get(key))}
            for path, change in by_path.items():
                if isinstance(change, RemovedFile):
                    kept.pop(path, None)
                else:
                    kept[path] = change
            self._replace(key, list(kept.values()))
        self._settle_names()
        return self.state

    def _documents_only(self, project: str, branch: str, files: list[SourceFile]) -> None:
        """Other branches of a config-project are read for their syntax alone."""
        known = self.state.known(project)
        read, left_out = read_and_left_out(known.settings, files)
        found = [syntax for file in read for syntax in syntax_problems(file)]
        self._note_inline_nodesets(files, [])
        for file in left_out:
            found += [*syntax_problems(file), left_out_problem(file, read[0].path)]
        self.notes.note("file", (self.binder.positions[project], branch, ""), found)

    def _replace(self, key: Key, files: list[SourceFile]) -> None:
        """Put these files in the place of a branch's former ones; a file that did not change keeps its objects."""
        project = self.state.known(key[0])
        former = {bound.file: bound for bound in self.state.files.get(key) or () if bound.counts}
        bounds, problems = self.binder.branch(project, key[1], files, former, self.inline_nodesets)
        self._note_inline_nodesets(files, bounds)
        self.notes.note("file", (self.binder.positions[key[0]], key[1], ""), problems)
        self.state.files.put(key, bounds)
        kept = {id(bound) for bound in bounds}
        for bound in former.values():
            if id(bound) not in kept:
                self._touch(bound, removed=True)
        known = {id(bound) for bound in former.values()}
        for bound in bounds:
            if bound.counts and id(bound) not in known:
                self._touch(bound, removed=False)

    def _note_inline_nodesets(self, files: list[SourceFile], bounds: list[Bound]) -> None:
        """Files that are bound are not parsed for it again."""
        held = {bound.file: bound.parsed for bound in bounds}
        self.inline_nodesets = self.inline_nodesets or any((held.get(file) or parse_text(file.text)).inline_nodesets for file in files)

    def _touch(self, bound: Bound, removed: bool) -> None:
        for variant in bound.variants:
            self._mark(("job", variant.name), variant, removed)
        for template in bound.templates:
            self._mark(("project-template", template.name), template, removed)
        for named in bound.named:
            if not (self.speculative and named.kind == "pipeline"):
                self._mark((named.kind, named.name), named, removed)
        for stanza in bound.projects:
            key = self._target(stanza, removed)
            if key:
                self._mark(key, stanza, removed)

    def _target(self, stanza: StanzaObject, removed: bool) -> Key | None:
        name = stanza.name or stanza.source.project
        if name.startswith("^"):
            return ("regex", name)
        try:
            return ("project", self.state.projects.need((name,), ("name",))[0])
        except Wrong as wrong:
            self.notes.complain("project", stanza, None if removed else wrong)
            return None

    def _mark(self, key: Key, item: Any, removed: bool) -> None:
        gone, added = self.touched.setdefault(key, (set(), []))
        if removed:
            gone.add(id(item))
            self.notes.note(key[0], item.order, [])
            if key[0] in ("job", "nodeset"):
                self.notes.note(f"{key[0]} check", item.order, [])
        else:
            added.append(item)

    def _settle_names(self) -> None:
        """Admit every touched name again, then check what depends on it."""
        for key, (gone, added) in self.touched.items():
            former = self.state.candidates.get(key) or []
            candidates = sorted([item for item in former if id(item) not in gone] + added, key=lambda item: item.order)
            self.state.candidates.put(key, candidates or None)
        standing = Standing(self.state, self.notes, self.speculative)
        kinds: dict[str, list[Key]] = {kind: [] for kind in PHASES}
        for key in self.touched:
            kinds[key[0]].append(key)
        for kind in ("pipeline", "nodeset", "secret", "image", "flavor", "label", "semaphore", "section", "provider", "queue"):
            for key in kinds[kind]:
                standing.named(key)
        if kinds["pipeline"]:
            ordered = sorted((named for (kind, _), named in self.state.named.items() if kind == "pipeline"), key=lambda each: each.order)
            self.state.pipelines = {named.name: named.value for named in ordered}
        for _, name in kinds["job"]:
            standing.jobs(name)
        for _, name in kinds["project-template"]:
            standing.templates(name)
        projects = {name for _, name in kinds["project"]}
        for _, pattern in kinds["regex"]:
            projects.update(standing.regex(pattern))
        for name in projects:
            standing.project(name)
        Checker(self.state, self.notes).run(set(self.touched) | {("project", name) for name in projects})
