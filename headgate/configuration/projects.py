"""A tenant's projects by name, their branches, and which branches an object applies to."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

import re2

from headgate.configuration.definitions import JobDefinition, Source
from headgate.configuration.problems import nearest
from headgate.configuration.regex import Regex
from headgate.configuration.stanza import Wrong
from headgate.configuration.tenant_values import Tenant, TenantProject

BranchMatcher = str | tuple[Regex, ...] | None
"""One exact branch, any of some patterns, or `None` for everything."""


@dataclass(frozen=True, slots=True)
class Ref:
    """What is under test: a change (or branch) of `project`, or a tag, whose `ref` is then given and `branch` is "".

    `files` are the paths it touches, `()` when there are none or they are not known: then every file matcher passes.
    `containing_branches` are a tag's.
    """

    project: str
    branch: str = ""
    files: tuple[str, ...] = ()
    ref: str = ""
    containing_branches: tuple[str, ...] = ()

    def matches(self, matcher: BranchMatcher) -> bool:
        """May raise `RegexTooSlow`."""
        if matcher is None:
            return True
        if self.branch:
            return matches_branch(matcher, self.branch)
        if isinstance(matcher, str):
            return matcher in self.containing_branches
        return any(pattern.match(text) for pattern in matcher for text in (self.ref, *self.containing_branches))


def matches_branch(matcher: BranchMatcher, branch: str) -> bool:
    if matcher is None:
        return True
    return matcher == branch if isinstance(matcher, str) else any(pattern.match(branch) for pattern in matcher)


@dataclass(frozen=True, slots=True)
class Known:
    """One project of a tenant with its canonical name and branches (default first) whose configuration is read."""

    settings: TenantProject
    canonical: str
    branches: tuple[str, ...]
    default_branch: str = "master"
    read_for_another: bool = False
    """Does this tenant leave out a config-project's load-branch, which one loaded before reads? Then Zuul takes what that one read."""

    @property
    def name(self) -> str:
        return self.settings.name

    @property
    def trusted(self) -> bool:
        return self.settings.trusted


@dataclass(slots=True)
class Projects:
    """The projects of one tenant, config-projects first. Build with `of`."""

    by_canonical: dict[str, Known] = field(default_factory=dict)
    by_name: dict[str, list[str]] = field(default_factory=dict)
    hostnames: set[str] = field(default_factory=set)
    shadows: dict[str, frozenset[str]] = field(default_factory=dict)
    unknown_shadows: list[tuple[str, Wrong]] = field(default_factory=list)
    """Projects that shall shadow what there is not, or what several are called, and what to say of it."""

    @classmethod
    def of(
        cls,
        tenant: Tenant,
        canonical: Mapping[str, str],
        branches: Mapping[str, Sequence[str]],
        default_branches: Mapping[str, str],
        before: Iterable[Tenant] = (),
    ) -> Projects:
        """`before` are the tenants that are loaded earlier."""
        projects = cls()
        for settings in tenant.projects:
            hostname = canonical.get(settings.connection, settings.connection)
            name = f"{hostname}/{settings.name}"
            default = default_branches.get(name, "master")
            known = sorted(branches.get(name, ("master",)))
            ordered = [branch for branch in known if branch == default] + [branch for branch in known if branch != default]
            included = tuple(branch for branch in ordered if settings.includes(branch))
            branch = settings.load_branch
            left_out = settings.trusted and branch in known and branch not in included
            elsewhere = left_out and any(_reads(other, canonical, name, branch) for other in before)
            projects.by_canonical[name] = Known(settings, name, included, default, elsewhere)
            if name not in projects.by_name.setdefault(settings.name, []):
                projects.by_name[settings.name].append(name)
            projects.hostnames.add(hostname)
        for name, project in projects.by_canonical.items():
            found: set[str] = set()
            for shadowed in project.settings.shadow:
                try:
                    resolved = projects.find(shadowed)
                    if resolved is None:
                        raise Wrong(f'no project "{shadowed}" in this tenant, which it shall shadow', ("shadow",), "Project Not Found")
                except Wrong as wrong:
                    projects.unknown_shadows.append((name, wrong))
                    found = {each for each in project.settings.shadow if each in projects.by_canonical}
                    break
                found.add(resolved)
            projects.shadows[name] = frozenset(found)
        return projects

    def find(self, name: str) -> str | None:
        """The canonical name of a project called by its short or canonical name. Raises `Wrong` for an ambiguous one."""
        hostname, _, rest = name.partition("/")
        if hostname in self.hostnames:
            return name if name in self.by_canonical and rest else None
        found = self.by_name.get(name, [])
        if len(found) > 1:
            raise Wrong(f'the project name "{name}" is ambiguous: write one of {", ".join(found)}')
        return found[0] if found else None

    def need(self, names: Iterable[str], path: tuple[str, ...] = ()) -> list[str]:
        """Canonical names of all. Raises `Wrong`."""
        found: list[str] = []
        missing: list[str] = []
        for name in names:
            canonical = self.find(name)
            (missing if canonical is None else found).append(canonical or name)
        if missing:
            hint = nearest(missing[0], self.by_name)
            quoted = ", ".join(f'"{name}"' for name in missing)
            raise Wrong(f"no project {quoted} in this tenant{hint}; the tenant file must list it", path, "Project Not Found")
        return found

    def matching(self, pattern: str) -> list[str]:
        """Canonical names of projects whose short or canonical name the pattern matches fully. Raises `Wrong`."""
        options = re2.Options()
        options.log_errors = False
        try:
            compiled = re2.compile(pattern, options=options)
        except re2.error as bad:
            said = bad.args[0].decode("utf8", "replace") if bad.args and isinstance(bad.args[0], bytes) else f"{bad}"
            raise Wrong(f'"{pattern}" is not a regular expression: {said}', ("name",)) from bad
        found = []
        for name, canonicals in self.by_name.items():
            if compiled.fullmatch(name):
                found += canonicals
            else:
                found += [canonical for canonical in canonicals if compiled.fullmatch(canonical)]
        return found

    def job_matcher(self, job: JobDefinition, source: Source) -> BranchMatcher:
        """The branches a job's variant applies to."""
        if job.branches is not None:
            return job.branches
        if job.in_pipeline:
            return None
        settings = self.by_canonical[source.project].settings
        implied: BranchMatcher = source.branch if source.pragma.implied_branches is None else source.pragma.implied_branches
        use = source.pragma.implied_matchers
        if use is None:
            use = settings.implied_branch_matchers
        if use is None:
            if settings.trusted:
                return None
            use = bool(settings.always_dynamic_branches) or len(self.by_canonical[source.project].branches) != 1
        return implied if use else None

    def stanza_matcher(self, branches: BranchMatcher, is_template: bool, source: Source, project: str) -> BranchMatcher:
        """The branches a project or template stanza applies to when it configures `project`."""
        if branches is not None:
            return branches
        if not is_template and project == source.project:
            return None if source.trusted else source.branch
        implied: BranchMatcher = source.branch if source.pragma.implied_branches is None else source.pragma.implied_branches
        use = source.pragma.implied_matchers
        if use is None:
            use = not source.trusted and len(self.by_canonical[source.project].branches) != 1
        return implied if use else None


def _reads(tenant: Tenant, canonical: Mapping[str, str], name: str, branch: str) -> bool:
    return any(
        project.kinds and project.includes(branch) and f"{canonical.get(project.connection, project.connection)}/{project.name}" == name
        for project in tenant.projects
    )
