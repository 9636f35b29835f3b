"""How the variants of a job become one: the merge rule of each attribute.

Law: variants are applied in order, root parent first. Execution attributes of a later one are refused if the job is final by then,
or protected and the later one stands in another project; what says how a job is chosen and reported may always be changed.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from headgate.configuration import references
from headgate.configuration.definitions import PlaybookDefinition, ProjectUse
from headgate.configuration.joining import deep_update, joined_roles
from headgate.configuration.objects import CONTEXT, MATCHERS, UNITED, Variant
from headgate.configuration.regex import Regex
from headgate.configuration.stanza import Wrong
from headgate.configuration.state import LayoutState
from headgate.jobs import IncludeVars, Nodeset, Playbook, RoleSource


class MergedJob:
    """A job in the making. Attributes not said have Zuul's defaults; every one is plain to read."""

    def __init__(self, state: LayoutState, variant: Variant) -> None:
        self.state = state
        job = variant.job
        self.name = job.name
        self.description = job.description
        self.variant_description = job.variant_description
        self.source = variant.source
        self.path: list[Variant] = []
        self.values: dict[str, Any] = {}
        self.final = bool(job.final)
        self.abstract = bool(job.abstract)
        self.intermediate = bool(job.intermediate)
        self.protected_origin: str | None = None
        self.final_attributes = set(job.final_attributes)
        self.ignore_allowed_projects = False
        self.vars: Mapping[str, Any] = job.vars or {}
        self.extra_vars: Mapping[str, Any] = job.extra_vars or {}
        self.host_vars: Mapping[str, Any] = job.host_vars or {}
        self.group_vars: Mapping[str, Any] = job.group_vars or {}
        self.include_vars: list[IncludeVars] = []
        self.roles: list[RoleSource] = []
        self.playbooks: dict[str, list[Playbook]] = {"pre_run": [], "run": [], "post_run": [], "cleanup_run": []}
        self.required_projects: dict[str, ProjectUse] = {}
        self.include_projects: frozenset[tuple[str, str | None]] | None = None
        self.exclude_projects: frozenset[tuple[str, str | None]] | None = None
        self.allowed_projects: frozenset[str] | None = job.allowed_projects
        self.semaphores: tuple[tuple[str, bool], ...] = job.semaphores or ()
        self.failure_output: tuple[str, ...] = job.failure_output or ()
        self.preserve_home_paths: frozenset[str] = frozenset(job.preserve_home_paths or ())
        self.sets: dict[str, frozenset[Any]] = {key: getattr(job, key) or frozenset() for key in UNITED}
        self.files: tuple[Regex, ...] | None = job.files
        self.irrelevant_files: tuple[Regex, ...] | None = job.irrelevant_files
        self.secret_exposure: str | None = job.secret_exposure
        self.explicit_branches = job.branches
        self._start(variant)

    def _start(self, variant: Variant) -> None:
        job = variant.job
        if job.protected is not None:
            self.values["protected"] = job.protected
        said = variant.what_is_said()
        self.values.update(said.replaced)
        self.values.update(said.context)
        if not job.post_review and job.secrets and not variant.source.trusted:
            self.values["post_review"] = True
            self.allowed_projects = frozenset((variant.source.name,))
        if job.required_projects:
            self.required_projects = references.required(self.state, variant)
        self.include_projects = references.selected(self.state, job.include_projects)
        self.exclude_projects = references.selected(self.state, job.exclude_projects)
        self.include_vars = references.include_vars(self.state, variant)
        self.roles = list(references.roles(self.state, variant))
        for key in self.playbooks:
            if getattr(job, key) is not None:
                self.playbooks[key] = self._playbooks(variant, key)
        self.path.append(variant)

    def get(self, key: str, default: Any) -> Any:
        """A simple attribute, or Zuul's default."""
        return self.values.get(key, default)

    @property
    def post_review(self) -> bool:
        return bool(self.values.get("post_review"))

    def all_playbooks(self) -> list[Playbook]:
        return [playbook for group in self.playbooks.values() for playbook in group]

    def apply(self, variant: Variant) -> None:
        """Apply a later variant. Raises `Wrong`: what it may not change."""
        job = variant.job
        self._guard(variant)
        self.values.update(variant.what_is_said().replaced)
        self._need_nodeset()
        self._apply_kind(variant)
        if not job.in_pipeline or job.roles:
            self.roles = joined_roles(self.roles, references.roles(self.state, variant))
        if job.preserve_home_paths:
            self.preserve_home_paths |= frozenset(job.preserve_home_paths)
        self._apply_secrets(variant)
        self._apply_playbooks(variant)
        self._apply_variables(variant)
        self._apply_projects(variant)
        self._apply_semaphores(variant)
        self._apply_context(variant)
        self.path.append(variant)
        self.name = job.name
        self.description = job.description or self.description

    def _need_nodeset(self) -> None:
        """A name must exist even if a later variant replaces it."""
        nodeset = self.values.get("nodeset")
        if isinstance(nodeset, str) and self.state.nodeset(nodeset) is None:
            self.state.alternatives(nodeset)

    def nodesets(self) -> list[Nodeset]:
        """The alternatives, in order. Raises `Wrong`."""
        nodeset = self.values.get("nodeset")
        return [Nodeset()] if nodeset is None else self.state.alternatives(nodeset)

    def _guard(self, variant: Variant) -> None:
        for key in variant.what_is_said().execution:
            if self.final:
                raise Wrong(f'the job "{self.name}" is final: {_place(variant)} may not set {_key(key)}')
            if self.protected_origin and self.protected_origin != variant.source.project:
                raise Wrong(f'the job "{self.name}" of {self.protected_origin} is protected: {_place(variant)} may not set {_key(key)}')
            if self.final_attributes or variant.job.final_attributes:
                self._final_attribute(variant, key)

    def _final_attribute(self, variant: Variant, key: str) -> None:
        """Refuse a final attribute, and make final what the variant says is. Asked a second time by those attributes of which Zuul
        asks twice: a variant (not the first) may not set these and make them final at once."""
        if key in self.final_attributes and getattr(variant.job, key) is not None:
            raise Wrong(f'{_key(key)} of the job "{self.name}" is final by attribute-control: {_place(variant)} may not set it')
        if key in variant.job.final_attributes:
            self.final_attributes.add(key)

    def _apply_kind(self, variant: Variant) -> None:
        job = variant.job
        if job.final:
            self.final = True
        same = job.name == self.name
        self.abstract = bool(job.abstract) or (same and self.abstract)
        if self.intermediate and not job.abstract:
            raise Wrong(f'the job "{self.name}" is intermediate: only an abstract job may inherit from it, {_place(variant)} is none')
        self.intermediate = bool(job.intermediate) or (same and self.intermediate)
        if job.protected is not None:
            if not job.protected and self.protected_origin:
                raise Wrong(f'the job "{self.name}" is protected, {_place(variant)} may not undo that')
            self.protected_origin = self.protected_origin or variant.source.project

    def _apply_secrets(self, variant: Variant) -> None:
        job, source = variant.job, variant.source
        if job.secret_exposure:
            if self.secret_exposure and self.secret_exposure != job.secret_exposure:
                raise Wrong(f'secret-exposure of the job "{self.name}" is {self.secret_exposure}, {_place(variant)} may not change it')
            self.secret_exposure = job.secret_exposure
        passed = tuple(references.secret(self.state, use.secret, use.alias, variant) for use in job.secrets if use.pass_to_parent)
        if passed:
            for key, group in self.playbooks.items():
                self.playbooks[key] = [references.with_secrets(playbook, passed) for playbook in group]
            if any(not playbook.trusted for playbook in self.all_playbooks()):
                self.values["post_review"] = True
        if not self.post_review and job.secrets and not source.trusted:
            self.values["post_review"] = True
            own = frozenset((source.name,))
            self.allowed_projects = own if self.allowed_projects is None else self.allowed_projects & own

    def _playbooks(self, variant: Variant, key: str) -> list[Playbook]:
        given: tuple[PlaybookDefinition, ...] | None = getattr(variant.job, key)
        if not given:
            return []
        source = variant.source
        secrets = tuple(references.secret(self.state, use.secret, use.alias, variant) for use in variant.job.secrets)
        return [
            Playbook(
                source.project,
                source.branch,
                each.path,
                source.trusted,
                tuple(self.roles),
                secrets,
                each.semaphores,
                len(self.path),
                each.cleanup or key == "cleanup_run",
            )
            for each in given
        ]

    def _apply_playbooks(self, variant: Variant) -> None:
        job = variant.job
        if job.run is not None:
            self.playbooks["run"] = self._playbooks(variant, "run")
        if job.pre_run is not None:
            self.playbooks["pre_run"] = self.playbooks["pre_run"] + self._playbooks(variant, "pre_run")
        for key in ("post_run", "cleanup_run"):
            if getattr(job, key) is not None:
                self.playbooks[key] = self._playbooks(variant, key) + self.playbooks[key]

    def _apply_variables(self, variant: Variant) -> None:
        job = variant.job
        for key in ("vars", "extra_vars", "host_vars", "group_vars"):
            above = getattr(job, key)
            if above is None and not job.replaces and not job.final_attributes:
                continue
            self._final_attribute(variant, key)
            if job.replaced(key):
                setattr(self, key, above or {})
            elif above:
                setattr(self, key, deep_update(getattr(self, key), above))
        if job.include_vars is not None:
            self._final_attribute(variant, "include_vars")
            added = references.include_vars(self.state, variant)
            if job.replaced("include_vars"):
                self.include_vars = added
            else:
                self.include_vars = self.include_vars + [each for each in added if each not in self.include_vars]

    def add_below(self, values: Mapping[str, Any]) -> None:
        """Merge project or template variables underneath the job's own."""
        if values:
            self.vars = deep_update(values, self.vars)

    def _apply_projects(self, variant: Variant) -> None:
        job = variant.job
        if job.required_projects is not None:
            self._final_attribute(variant, "required_projects")
            before = {} if job.replaced("required_projects") else self.required_projects
            self.required_projects = {**before, **references.required(self.state, variant)}
        for key in ("include_projects", "exclude_projects"):
            given = getattr(job, key)
            if given is None:
                continue
            self._final_attribute(variant, key)
            if job.replaced(key):
                setattr(self, key, given)
            else:
                setattr(self, key, (getattr(self, key) or frozenset()) | (references.selected(self.state, given) or frozenset()))
        if job.allowed_projects is not None:
            allowed = frozenset(references.allowed(self.state, name, variant) for name in job.allowed_projects)
            self.allowed_projects = allowed if self.allowed_projects is None else self.allowed_projects & allowed

    def _apply_semaphores(self, variant: Variant) -> None:
        if variant.job.semaphores is not None:
            self.semaphores = tuple(sorted({*self.semaphores, *variant.job.semaphores}))
        if variant.job.failure_output is not None:
            self._final_attribute(variant, "failure_output")
            before = () if variant.job.replaced("failure_output") else self.failure_output
            self.failure_output = tuple(sorted({*before, *variant.job.failure_output}))
        if self.semaphores:
            held = {name for playbook in self.all_playbooks() for name in playbook.semaphores}
            if both := sorted(held.intersection(name for name, _ in self.semaphores)):
                raise Wrong(f'the job "{self.name}" and one of its playbooks both take the semaphore {", ".join(both)}')

    def _apply_context(self, variant: Variant) -> None:
        job, said = variant.job, variant.what_is_said()
        if self.final_attributes or job.final_attributes:
            for key, _ in (*said.context, *said.joined):
                self._final_attribute(variant, key)
            self.final_attributes.update(job.final_attributes.intersection((*CONTEXT, *UNITED, *MATCHERS)))
        self.values.update(said.context)
        for key, value in said.joined:
            if key in MATCHERS:
                before = () if job.replaced(key) else getattr(self, key) or ()
                setattr(self, key, tuple(dict.fromkeys((*before, *value))) if before else value)
            else:
                self.sets[key] = value if job.replaced(key) else self.sets[key] | value
        if job.branches is not None:
            self.explicit_branches = job.branches


def _place(variant: Variant) -> str:
    where = f"{variant.source.name}/{variant.source.path}:{variant.job.line}"
    return f"the project's variant in {where}" if variant.job.in_pipeline else f'the job "{variant.name}" in {where}'


def _key(attribute: str) -> str:
    return attribute.replace("_", "-")
