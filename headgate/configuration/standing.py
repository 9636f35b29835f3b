"""Which of the objects of one name stand, and which are refused because of others or of what the tenant allows."""

from __future__ import annotations

from headgate.configuration.admission import admit_job, admit_labels, admit_pipeline, admit_secret, admit_stanza, admit_target
from headgate.configuration.notes import Notes
from headgate.configuration.objects import Named, StanzaObject, Variant
from headgate.configuration.stanza import Wrong
from headgate.configuration.state import Key, LayoutState

STATIC = frozenset(("semaphore", "section", "provider"))
"""Kinds that are validated in a proposed change but never altered before it merges; pipelines are not even looked at."""


class Standing:
    """Admits names of a state again, from its candidates; what is refused is noted. `speculative`: proposed changes take effect in it."""

    def __init__(self, state: LayoutState, notes: Notes, speculative: bool) -> None:
        self.state = state
        self.notes = notes
        self.speculative = speculative

    def named(self, key: Key) -> None:
        """Of equal objects on several branches of a project the first stands; different ones are an error."""
        kind = key[0]
        first: Named | None = None
        candidates = [item for item in self.state.candidates.get(key) or () if isinstance(item, Named)]
        for named in candidates:
            try:
                self._may_stand(named, first)
            except Wrong as wrong:
                self.notes.complain(kind, named, wrong)
                continue
            self.notes.complain(kind, named, None)
            first = first or named
        for named in candidates if kind == "nodeset" else ():
            if named is not first:
                self.notes.complain("nodeset check", named, None)
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

    def jobs(self, name: str) -> None:
        admitted: list[Variant] = []
        for variant in self.state.candidates.get(("job", name)) or ():
            assert isinstance(variant, Variant)
            try:
                admit_job(variant, self.state.tenant, self.state.projects)
                if name == "noop":
                    raise Wrong("a job of this name is built in: choose another name", ("name",))
                shadows = self._shadows(variant, admitted[0] if admitted else None)
            except Wrong as wrong:
                self.notes.complain("job", variant, wrong)
                self.notes.complain("job check", variant, None)
                continue
            self.notes.complain("job", variant, None)
            if shadows:
                self.notes.complain("job check", variant, None)
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

    def templates(self, name: str) -> None:
        admitted: list[StanzaObject] = []
        for template in self.state.candidates.get(("project-template", name)) or ():
            assert isinstance(template, StanzaObject)
            try:
                admit_stanza(template, self.state.pipelines, self.state.tenant, self.state.projects)
                if admitted and admitted[0].source.project != template.source.project:
                    raise Wrong(f"is already defined in {admitted[0].source.name}", ("name",))
            except Wrong as wrong:
                self.notes.complain("project-template", template, wrong)
                continue
            self.notes.complain("project-template", template, None)
            admitted.append(template)
        self.state.templates.put(name, admitted or None)

    def regex(self, pattern: str) -> set[str]:
        """The projects (canonical) that a changed pattern concerns."""
        candidates = [item for item in self.state.candidates.get(("regex", pattern)) or () if isinstance(item, StanzaObject)]
        self.state.regexes.put(pattern, candidates or None)
        try:
            matching = self.state.binder.matching(pattern)
        except Wrong as wrong:
            if candidates:
                self.notes.complain("regex", candidates[0], wrong)
            return set()
        return set(matching)

    def project(self, project: str) -> None:
        """Which stanzas a project has: explicit ones in order, then those of matching patterns in the order of the patterns."""
        stanzas = [item for item in self.state.candidates.get(("project", project)) or () if isinstance(item, StanzaObject)]
        patterns = [(found[0].order, pattern, found) for pattern, found in self.state.regexes.items()]
        for _, pattern, found in sorted(patterns, key=lambda each: each[0]):
            if self.state.binder.matches(pattern, project):
                stanzas += found
        admitted, refused = [], []
        for stanza in stanzas:
            try:
                admit_target(stanza.source, project, self.state.projects)
                admit_stanza(stanza, self.state.pipelines, self.state.tenant, self.state.projects)
            except Wrong as wrong:
                refused.append(self.notes.describe(stanza, wrong))
            else:
                admitted.append(stanza)
        self.state.stanzas.put(project, admitted or None)
        self.notes.note("project", (self.state.binder.positions[project],), refused)
