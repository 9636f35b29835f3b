"""References between objects: does what one names exist, and may it be used so?

Only touched objects are checked, and those that refer to a name whose meaning to others (`facts`) changed.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

from headgate.configuration.checking_providers import check_provider
from headgate.configuration.definitions import NodesetDefinition, Queue
from headgate.configuration.facts import GatheredFacts, meaning
from headgate.configuration.notes import Notes
from headgate.configuration.objects import Named, StanzaObject, Variant
from headgate.configuration.problems import Problem
from headgate.configuration.stanza import Wrong
from headgate.configuration.state import Key, LayoutState, ProjectFacts
from headgate.configuration.variable_names import secret_variable_fault

CHECKED = ("nodeset", "label", "pipeline", "provider", "job", "project-template", "project")
"""Kinds that refer to others."""
MOST_HINTS = 100
"""A hostile file has ten thousand wrong names; each hint looks through all right ones."""


class Checker:
    """Checks references in a state that is being built."""

    def __init__(self, state: LayoutState, notes: Notes) -> None:
        self.state = state
        self.notes = notes
        self.references: list[Key] = []

    def run(self, touched: Iterable[Key]) -> None:
        """Check the touched names and everything their change reaches."""
        self.state.hints_left = MOST_HINTS
        try:
            self._run(touched)
        finally:
            self.state.hints_left = None

    def _run(self, touched: Iterable[Key]) -> None:
        waiting: dict[str, dict[str, None]] = {kind: {} for kind in CHECKED}
        for kind, name in touched:
            if kind in waiting:
                waiting[kind][name] = None
            self._spread((kind, name), waiting)
        while waiting["nodeset"]:
            name = next(iter(waiting["nodeset"]))
            del waiting["nodeset"][name]
            self._nodeset(name)
        for name in waiting["label"]:
            self._label(name)
        for name in waiting["pipeline"]:
            self._pipeline(name)
        for name in waiting["provider"]:
            self._provider(name)
        for name in waiting["job"]:
            self._job(name)
        for name in waiting["project-template"]:
            self._template(name)
            self._spread(("project-template", name), waiting)
        for name in waiting["project"]:
            self._project(name)

    def _spread(self, key: Key, waiting: dict[str, dict[str, None]]) -> None:
        """Have those looked at again who refer to `key`, if it means something else to them now."""
        previous = self.state.previous
        if previous is None or meaning(previous, key) == meaning(self.state, key):
            return
        for kind, name in self.state.referrers_of(key):
            if name not in waiting[kind]:
                waiting[kind][name] = None
                if kind == "nodeset":
                    self._spread((kind, name), waiting)

    def _refer(self, referrer: Key) -> None:
        for key in self.references:
            self.state.more_referrers.setdefault(key, []).append(referrer)
        self.references = []

    def _attempt(self, phase: str, item: Any, check: Callable[[], None]) -> None:
        try:
            check()
        except Wrong as wrong:
            self.notes.complain(phase, item, wrong)
        else:
            self.notes.complain(phase, item, None)

    def _nodeset(self, name: str) -> None:
        named = self.state.named.get(("nodeset", name))
        if named is None:
            return
        self.references += [("nodeset", each) for each in named.value.alternatives if isinstance(each, str)]
        self._attempt("nodeset check", named, lambda: self._check_nodeset(named.value))
        self._refer(("nodeset", name))

    def _check_nodeset(self, nodeset: NodesetDefinition) -> None:
        try:
            self.state.alternatives(nodeset)
        except Wrong as wrong:
            raise Wrong(str(wrong), ("alternatives",), wrong.name) from wrong
        if not self.state.tenant.use_nodepool:
            for label in sorted(nodeset.labels()):
                self.references.append(("label", label))
                if ("label", label) not in self.state.named:
                    raise Wrong(f'no label "{label}"{self._hint("label", label)}', ("nodes",), "Label Not Found")

    def _label(self, name: str) -> None:
        named = self.state.named.get(("label", name))
        if named is not None:
            self._attempt("label", named, lambda: self._check_label(named))
            self._refer(("label", name))

    def _check_label(self, named: Named) -> None:
        label = named.value
        for kind, target in (("image", label.image), ("flavor", label.flavor), *(("label", alias) for alias in label.aliases)):
            self.references.append((kind, target))
            if (kind, target) not in self.state.named:
                raise Wrong(f'no {kind} "{target}"{self._hint(kind, target)}', (kind if kind != "label" else "aliases",))

    def _pipeline(self, name: str) -> None:
        named = self.state.named.get(("pipeline", name))
        if named is None:
            return

        def check() -> None:
            for other in named.value.supercedes:
                if other not in self.state.pipelines:
                    raise Wrong(
                        f'supercedes the pipeline "{other}", which there is not{self.state.hint(other, self.state.pipelines)}',
                        ("supercedes",),
                    )

        self._attempt("pipeline", named, check)

    def _provider(self, name: str) -> None:
        named = self.state.named.get(("provider", name))
        if named is not None:
            self._attempt("provider", named, lambda: check_provider(self.state, named.value))

    def _job(self, name: str) -> None:
        for variant in self.state.jobs.get(name) or ():
            self._attempt("job check", variant, lambda variant=variant: self._check_job(variant))  # type: ignore[misc]  # a default binds it
        self._refer(("job", name))

    def _check_job(self, variant: Variant) -> None:
        job = variant.job
        if job.parent:
            self.references.append(("job", job.parent))
            self._check_parent(variant)
        if job.nodeset is not None:
            self._check_size(job.nodeset)
        for dependency, _ in sorted(job.dependencies or ()):
            self.references.append(("job", dependency))
            if dependency not in self.state.jobs and dependency != "noop":
                raise Wrong(f'depends on the job "{dependency}", which there is not{self._hint_job(dependency)}', ("dependencies",))
        if job.secrets and (job.pre_run or job.run or job.post_run or job.cleanup_run):
            self._check_secrets(variant)

    def _check_parent(self, variant: Variant) -> None:
        job = variant.job
        parents = self.state.jobs.get(job.parent or "")
        if parents is None:
            if job.parent == "noop":
                raise Wrong('the parent "noop" is final and cannot be one', ("parent",))
            raise Wrong(f'the parent "{job.parent}" does not exist{self._hint_job(job.parent or "")}', ("parent",))
        if all(parent.job.final for parent in parents):
            raise Wrong(f'the parent "{job.parent}" is final and cannot be one', ("parent",))
        if not job.abstract and all(parent.job.intermediate for parent in parents):
            raise Wrong(f'the parent "{job.parent}" is intermediate, so this job must be abstract', ("parent",))
        if parents[0].source.project != variant.source.project and all(parent.job.protected for parent in parents):
            raise Wrong(f'the parent "{job.parent}" is protected and belongs to {parents[0].source.name}', ("parent",))

    def _check_size(self, nodeset: str | NodesetDefinition) -> None:
        self._refer_nodesets(nodeset)
        most = self.state.tenant.max_nodes_per_job
        for alternative in self.state.alternatives(nodeset):
            if most != -1 and len(alternative.nodes) > most:
                raise Wrong(f"the nodeset has {len(alternative.nodes)} nodes, the tenant's max-nodes-per-job is {most}", ("nodeset",))
        if isinstance(nodeset, NodesetDefinition):
            self._check_nodeset(nodeset)

    def _refer_nodesets(self, nodeset: str | NodesetDefinition) -> None:
        if isinstance(nodeset, str):
            self.references.append(("nodeset", nodeset))
        else:
            for alternative in nodeset.alternatives:
                self._refer_nodesets(alternative)

    def _check_secrets(self, variant: Variant) -> None:
        for use in variant.job.secrets:
            self.references.append(("secret", use.secret))
            named = self.state.secret(use.secret)
            if named is None:
                raise Wrong(f'no secret "{use.secret}"{self._hint("secret", use.secret)}', ("secrets",))
            if fault := secret_variable_fault(use.alias):
                raise Wrong(fault, ("secrets",))
            if named.source.project != variant.source.project:
                raise Wrong(
                    f'the secret "{use.secret}" belongs to {named.source.name}; a secret is used in its own project only', ("secrets",)
                )
            if fault := named.value.fault():
                raise Wrong(f'the secret "{use.secret}" cannot be decrypted: {fault}', ("secrets",))

    def _template(self, name: str) -> None:
        results: list[tuple[StanzaObject, Wrong | None]] = []
        for template in self.state.templates.get(name) or ():
            try:
                self._check_content(template)
            except Wrong as wrong:
                results.append((template, wrong))
            else:
                results.append((template, None))
        self._refer(("project-template", name))
        self.state.template_problems.put(name, tuple(results) or None)

    def _check_content(self, stanza: StanzaObject) -> None:
        for variant in stanza.variants():
            self.references.append(("job", variant.name))
            path = (*variant.job.path, variant.name)
            if variant.name not in self.state.jobs and variant.name != "noop":
                raise Wrong(f'no job "{variant.name}"{self._hint_job(variant.name)}', path)
            try:
                self._check_job(variant)
            except Wrong as wrong:
                raise Wrong(f'job "{variant.name}": {wrong}', (*path, *wrong.path), wrong.name) from wrong

    def _project(self, project: str) -> None:
        """A project's stanzas with their templates, and what they say of its queue, merge mode and default branch."""
        facts = GatheredFacts()
        for stanza in self.state.stanzas.get(project) or ():
            facts.merge_mode = facts.merge_mode or stanza.definition.merge_mode
            facts.default_branch = facts.default_branch or stanza.definition.default_branch
        problems: list[Problem] = []
        for stanza in self.state.stanzas.get(project) or ():
            try:
                self._check_stanza(stanza, project, facts, problems)
            except Wrong as wrong:
                problems.append(self.notes.describe(stanza, wrong))
        self.notes.note("project check", (self.state.binder.positions[project],), problems)
        self._refer(("project", project))
        self.state.facts.put(
            project, ProjectFacts(facts.queue, tuple(facts.assigned), facts.merge_mode, facts.default_branch) if facts.any else None
        )

    def _check_stanza(self, stanza: StanzaObject, project: str, facts: GatheredFacts, problems: list[Problem]) -> None:
        self._queue(stanza, project, facts)
        for position, name in enumerate(stanza.definition.templates):
            self.references.append(("project-template", name))
            results = self.state.template_problems.get(name)
            if results is None:
                raise Wrong(
                    f'no project-template "{name}"{self.state.hint(name, self.state.templates)}',
                    ("templates", position),
                    "Template Not Found",
                )
            for template, wrong in results:
                if wrong is None:
                    self._queue(template, project, facts)
                else:
                    problems.append(self.notes.describe(template, wrong))
        self._check_content(stanza)

    def _queue(self, stanza: StanzaObject, project: str, facts: GatheredFacts) -> None:
        name = stanza.definition.queue
        if name is None:
            return
        self.references.append(("queue", name))
        named = self.state.named.get(("queue", name))
        queue: Queue = named.value if named else Queue(name)
        if not facts.queue_said:
            facts.queue_said = True
            if queue.type != "branch-assigned":
                facts.queue = queue
        if queue.type == "branch-assigned":
            definition = stanza.definition
            matcher = self.state.projects.stanza_matcher(definition.branches, definition.is_template, stanza.source, project)
            facts.assigned.append((matcher, queue))

    def _hint_job(self, name: str) -> str:
        return self.state.hint(name, self.state.jobs)

    def _hint(self, kind: str, name: str) -> str:
        return self.state.hint(name, (each for found, each in self.state.named if found == kind))
