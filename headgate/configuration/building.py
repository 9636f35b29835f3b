"""Filling a layout's state: which objects stand, after which others, and who must be looked at again when something changes.

One path serves both a full load (everything is new) and a speculative one (a few names are): replace the objects of some files,
admit again the names they define, then check again those names and whatever refers to a name whose meaning changed.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from typing import Any

from headgate.configuration.admission import admit_job, admit_labels, admit_pipeline, admit_secret, admit_stanza, admit_target
from headgate.configuration.checking import Checker
from headgate.configuration.files import RemovedFile, SourceFile, left_out_problem, problem, rank, read_and_left_out, syntax_problems
from headgate.configuration.objects import Bound, Named, StanzaObject, Variant
from headgate.configuration.problems import Problem
from headgate.configuration.stanza import Complaint, Wrong
from headgate.configuration.state import Key, LayoutState

PHASES = {
    "file": 0,
    "pipeline": 10,
    "nodeset": 20,
    "secret": 30,
    "job": 40,
    "image": 50,
    "flavor": 51,
    "label": 52,
    "semaphore": 53,
    "section": 54,
    "provider": 55,
    "nodeset check": 60,
    "job check": 61,
    "queue": 70,
    "project-template": 71,
    "project": 72,
    "regex": 73,
    "project check": 80,
}
STATIC = frozenset(("semaphore", "section", "provider"))
"""Kinds that are validated in a proposed change but never altered before it merges; pipelines are not even looked at."""


class Builder:
    """Changes a state that no one else has yet."""

    def __init__(self, state: LayoutState) -> None:
        self.state = state
        self.binder = state.binder
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
        for name, shadowed in self.state.projects.unknown_shadows:
            message = f'no project "{shadowed}" in this tenant, which it shall shadow'
            unknown = Problem("error", "Project Not Found", message, name, (), "", key="shadow")
            self.note("file", (self.binder.positions[name], "", ""), [unknown])
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
            if change.branch in project.branches or project.settings.is_dynamic_only(change.branch):
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
        for file in left_out:
            found += [*syntax_problems(file), left_out_problem(file, read[0].path)]
        self.note("file", (self.binder.positions[project], branch, ""), found)

    def _replace(self, key: Key, files: list[SourceFile]) -> None:
        """Put these files in the place of a branch's former ones; a file that did not change keeps its objects."""
        project = self.state.known(key[0])
        former = {bound.file: bound for bound in self.state.files.get(key) or () if bound.counts}
        bounds, problems = self.binder.branch(project, key[1], files, former)
        self.note("file", (self.binder.positions[key[0]], key[1], ""), problems)
        self.state.files.put(key, bounds)
        kept = {id(bound) for bound in bounds}
        for bound in former.values():
            if id(bound) not in kept:
                self._touch(bound, removed=True)
        known = {id(bound) for bound in former.values()}
        for bound in bounds:
            if bound.counts and id(bound) not in known:
                self._touch(bound, removed=False)

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
            self.complain("project", stanza, None if removed else wrong)
            return None

    def _mark(self, key: Key, item: Any, removed: bool) -> None:
        gone, added = self.touched.setdefault(key, (set(), []))
        if removed:
            gone.add(id(item))
            self.note(key[0], item.order, [])
            if key[0] in ("job", "nodeset"):
                self.note(f"{key[0]} check", item.order, [])
        else:
            added.append(item)

    def _settle_names(self) -> None:
        """Admit every touched name again, then check what depends on it."""
        for key, (gone, added) in self.touched.items():
            former = self.state.candidates.get(key) or []
            candidates = sorted([item for item in former if id(item) not in gone] + added, key=lambda item: item.order)
            self.state.candidates.put(key, candidates or None)
        kinds: dict[str, list[Key]] = {kind: [] for kind in PHASES}
        for key in self.touched:
            kinds[key[0]].append(key)
        for kind in ("pipeline", "nodeset", "secret", "image", "flavor", "label", "semaphore", "section", "provider", "queue"):
            for key in kinds[kind]:
                self._admit_named(key)
        if kinds["pipeline"]:
            ordered = sorted((named for (kind, _), named in self.state.named.items() if kind == "pipeline"), key=lambda each: each.order)
            self.state.pipelines = {named.name: named.value for named in ordered}
        for _, name in kinds["job"]:
            self._admit_jobs(name)
        for _, name in kinds["project-template"]:
            self._admit_templates(name)
        projects = {name for _, name in kinds["project"]}
        for _, pattern in kinds["regex"]:
            projects.update(self._admit_regex(pattern))
        for name in projects:
            self._admit_project(name)
        Checker(self.state, self).run(set(self.touched) | {("project", name) for name in projects})

    def _admit_named(self, key: Key) -> None:
        """Of equal objects on several branches of a project the first stands; different ones are an error."""
        kind = key[0]
        first: Named | None = None
        candidates = [item for item in self.state.candidates.get(key) or () if isinstance(item, Named)]
        for named in candidates:
            try:
                self._may_stand(named, first)
            except Wrong as wrong:
                self.complain(kind, named, wrong)
                continue
            self.complain(kind, named, None)
            first = first or named
        for named in candidates if kind == "nodeset" else ():
            if named is not first:
                self.complain("nodeset check", named, None)
        if not (self.speculative and kind in STATIC):
            self.state.named.put(key, first)

    def _may_stand(self, named: Named, first: Named | None) -> None:
        if named.kind == "nodeset":
            admit_labels(named.value, self.state.tenant)
        elif named.kind == "secret":
            admit_secret(named.value, self.state.tenant)
        elif named.kind == "semaphore" and named.name in {each.name for each in self.state.tenant.semaphores}:
            raise Wrong("shadows the global semaphore of this name and is ignored: choose another name", ("name",))
        elif named.kind == "pipeline":
            admit_pipeline(named.value, self.state.tenant)
        if first is None:
            return
        if first.source.project != named.source.project:
            raise Wrong(f"is already defined in {first.source.name}, {first.source.path}:{first.line}", ("name",))
        if first.source.branch == named.source.branch or named.kind == "pipeline":
            raise Wrong(f"is already defined in {first.source.path}:{first.line}", ("name",))
        if first.value != named.value:
            raise Wrong(f"differs from its definition on the branch {first.source.branch} ({first.source.path}:{first.line})", ("name",))

    def _admit_jobs(self, name: str) -> None:
        admitted: list[Variant] = []
        for variant in self.state.candidates.get(("job", name)) or ():
            assert isinstance(variant, Variant)
            try:
                admit_job(variant, self.state.tenant, self.state.projects)
                if name == "noop":
                    raise Wrong("a job of this name is built in: choose another name", ("name",))
                shadows = self._shadows(variant, admitted[0] if admitted else None)
            except Wrong as wrong:
                self.complain("job", variant, wrong)
                self.complain("job check", variant, None)
                continue
            self.complain("job", variant, None)
            if shadows:
                self.complain("job check", variant, None)
            else:
                admitted.append(variant)
        self.state.jobs.put(name, admitted or None)

    def _shadows(self, variant: Variant, first: Variant | None) -> bool:
        """Does this variant stand behind a job of another project that it may shadow? Raises `Wrong` if it may not."""
        if first is None or first.source.project == variant.source.project:
            return False
        if first.source.project in self.state.projects.shadows[variant.source.project]:
            return True
        raise Wrong(
            f"a job of this name is defined in {first.source.name}, {first.source.path}:{first.job.line}; "
            f"choose another name, or let the tenant file say shadow: {first.source.name}",
            ("name",),
        )

    def _admit_templates(self, name: str) -> None:
        admitted: list[StanzaObject] = []
        for template in self.state.candidates.get(("project-template", name)) or ():
            assert isinstance(template, StanzaObject)
            try:
                admit_stanza(template, self.state.pipelines, self.state.tenant, self.state.projects)
                if admitted and admitted[0].source.project != template.source.project:
                    raise Wrong(f"is already defined in {admitted[0].source.name}", ("name",))
            except Wrong as wrong:
                self.complain("project-template", template, wrong)
                continue
            self.complain("project-template", template, None)
            admitted.append(template)
        self.state.templates.put(name, admitted or None)

    def _admit_regex(self, pattern: str) -> set[str]:
        """The projects (canonical) that a changed pattern concerns."""
        candidates = [item for item in self.state.candidates.get(("regex", pattern)) or () if isinstance(item, StanzaObject)]
        self.state.regexes.put(pattern, candidates or None)
        try:
            matching = self.binder.matching(pattern)
        except Wrong as wrong:
            if candidates:
                self.complain("regex", candidates[0], wrong)
            return set()
        return set(matching)

    def _admit_project(self, project: str) -> None:
        """Which stanzas a project has: explicit ones in order, then those of matching patterns in the order of the patterns."""
        stanzas = [item for item in self.state.candidates.get(("project", project)) or () if isinstance(item, StanzaObject)]
        patterns = [(found[0].order, pattern, found) for pattern, found in self.state.regexes.items()]
        for _, pattern, found in sorted(patterns, key=lambda each: each[0]):
            if self.binder.matches(pattern, project):
                stanzas += found
        admitted, refused = [], []
        for stanza in stanzas:
            try:
                admit_target(stanza.source, project, self.state.projects)
                admit_stanza(stanza, self.state.pipelines, self.state.tenant, self.state.projects)
            except Wrong as wrong:
                refused.append(self.describe(stanza, wrong))
            else:
                admitted.append(stanza)
        self.state.stanzas.put(project, admitted or None)
        self.note("project", (self.binder.positions[project],), refused)

    def note(self, phase: str, order: tuple[Any, ...], problems: list[Problem]) -> None:
        """Note all there is to say about an owner in a phase, in the place of what was noted before."""
        owner = (PHASES[phase], order)
        if problems or self.state.found.get(owner) is not None:
            self.state.found.put(owner, tuple(problems) or None)

    def complain(self, phase: str, item: Any, wrong: Wrong | None) -> None:
        """Note (or forget, with `None`) what is wrong with an object in a phase."""
        self.note(phase, item.order, [] if wrong is None else [self.describe(item, wrong)])

    def describe(self, item: Any, wrong: Wrong) -> Problem:
        """What is wrong with an object, at its place."""
        source = item.source
        complaint = Complaint("error", wrong.name, str(wrong), *_identity(item), wrong.path)
        bounds = self.state.files.get((source.project, source.branch)) or ()
        text = next((bound.file.text for bound in bounds if bound.file.path == source.path), "")
        found = problem(complaint, text, source.project, source.branch, source.path)
        nodeless = isinstance(item, Named) and item.kind == "nodeset" and not item.value.nodeset.nodes
        return replace(found, placeless=True) if nodeless else found


def _identity(item: Any) -> tuple[str, str, int, int]:
    if isinstance(item, Variant):
        return ("job", item.name, item.job.index, item.job.line)
    if isinstance(item, StanzaObject):
        definition = item.definition
        return ("project-template" if definition.is_template else "project", item.name, definition.index, definition.line)
    return (item.kind, item.name, item.index, item.line)
