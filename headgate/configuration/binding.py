"""Text to objects of one tenant: a file's parsed definitions with their source, load order and branch matchers."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from headgate.configuration.definitions import ProjectDefinition, Source
from headgate.configuration.files import (
    Parsed,
    SourceFile,
    check_shape,
    left_out_problem,
    parse_text,
    problem,
    rank,
    read_and_left_out,
    syntax_problems,
)
from headgate.configuration.objects import Bound, Named, Order, StanzaObject, Variant
from headgate.configuration.parse_pipelines import pipeline, pipeline_shape
from headgate.configuration.problems import Problem
from headgate.configuration.projects import Known, Projects
from headgate.configuration.stanza import Complaints, Wrong

_SMALL_LISTS = (
    ("nodeset", "nodesets"),
    ("secret", "secrets"),
    ("semaphore", "semaphores"),
    ("queue", "queues"),
    ("image", "images"),
    ("flavor", "flavors"),
    ("label", "labels"),
    ("section", "sections"),
    ("provider", "providers"),
)


class Binder:
    """Binds the files of one tenant. `drivers` says of what kind each connection is."""

    def __init__(self, projects: Projects, drivers: Mapping[str, str]) -> None:
        self.projects = projects
        self.drivers = drivers
        self.positions = {name: position for position, name in enumerate(projects.by_canonical)}
        self.pipeline_shape = pipeline_shape(drivers)
        self._matching: dict[str, dict[str, None]] = {}

    def branch(
        self, project: Known, branch: str, files: Iterable[SourceFile], former: Mapping[SourceFile, Bound], late: bool = False
    ) -> tuple[list[Bound], list[Problem]]:
        """The objects of one branch (those of `former` files again as they are), and what is wrong with its files and stanzas.
        `late`: a file read before has an inline nodeset."""
        read, left_out = read_and_left_out(project.settings, files)
        bounds: list[Bound] = []
        for file in read:
            bounds.append(former.get(file) or self.file(project, file, late))
            late = late or bounds[-1].parsed.inline_nodesets
        problems = [problem for bound in bounds for problem in bound.problems]
        for file in left_out:
            problems += [*syntax_problems(file), left_out_problem(file, read[0].path)]
            source = Source(project.canonical, project.name, project.settings.connection, branch, file.path)
            bounds.append(Bound(file, source, Parsed(), counts=False))
        return bounds, problems

    @staticmethod
    def files_of(bounds: Iterable[Bound] | None) -> list[SourceFile]:
        """The files of a branch, also those that do not count beside an earlier default place."""
        return [bound.file for bound in bounds or ()]

    def matching(self, pattern: str) -> list[str]:
        """Canonical names that a pattern matches, remembered. Raises `Wrong`."""
        found = self._matching.get(pattern)
        if found is None:
            found = self._matching[pattern] = dict.fromkeys(self.projects.matching(pattern))
        return list(found)

    def matches(self, pattern: str, project: str) -> bool:
        """Does a project's pattern match? A pattern that is none matches nothing."""
        try:
            self.matching(pattern)
        except Wrong:
            return False
        return project in self._matching[pattern]

    def order(self, project: Known, branch: str, path: str) -> Order:
        branches = project.branches
        position = branches.index(branch) if branch in branches else len(branches)
        return (self.positions[project.canonical], position, branch, *(rank(project.settings, path) or (9, path)))

    def file(self, project: Known, file: SourceFile, late: bool) -> Bound:
        """One file's objects in this tenant."""
        parsed = parse_text(file.text)
        settings = project.settings
        source = Source(project.canonical, settings.name, settings.connection, file.branch, file.path, settings.trusted, parsed.pragma)
        bound = Bound(file, source, parsed)
        problems = bound.problems
        order = self.order(project, file.branch, file.path)
        self._small(bound, settings.kinds, order)
        if parsed.pipelines and "pipeline" in settings.kinds:
            self._pipelines(bound, order, problems)
        if "job" in settings.kinds:
            matcher = self.projects.job_matcher
            bound.variants = [Variant(job, source, (*order, position), matcher(job, source)) for position, job in enumerate(parsed.jobs)]
        if "project-template" in settings.kinds:
            bound.templates = [self._stanza(definition, source, (*order, n)) for n, definition in enumerate(parsed.templates)]
        if "project" in settings.kinds:
            bound.projects = [self._stanza(definition, source, (*order, n)) for n, definition in enumerate(parsed.projects)]
        problems += syntax_problems(file)
        for complaint in parsed.complaints:
            if complaint.kind in settings.kinds or complaint.kind == "pragma":
                problems.append(problem(complaint, file.text, project.canonical, file.branch, file.path, late))
        return bound

    def _stanza(self, definition: ProjectDefinition, source: Source, order: Order) -> StanzaObject:
        jobs = {
            pipeline_name: {name: [Variant(job, source, order, job.branches) for job in variants] for name, variants in use.jobs.items()}
            for pipeline_name, use in definition.pipelines.items()
        }
        return StanzaObject(definition, source, order, jobs)

    def _small(self, bound: Bound, kinds: frozenset[str], order: Order) -> None:
        parsed: Parsed = bound.parsed
        for kind, attribute in _SMALL_LISTS:
            entries = getattr(parsed, attribute)
            if entries and kind in kinds:
                bound.named += [
                    Named(kind, value.name, value, bound.source, (*order, position), stanza.line, stanza.index)
                    for position, (value, stanza) in enumerate(entries)
                ]

    def _pipelines(self, bound: Bound, order: Order, problems: list[Problem]) -> None:
        source = bound.source
        complaints = Complaints()
        for position, stanza in enumerate(bound.parsed.pipelines):
            complaints.at("pipeline", stanza.conf.get("name"), stanza.index, stanza.line)
            if not source.trusted:
                complaints.error("Pipeline Forbidden", "a pipeline may be defined in a config-project only")
                break
            try:
                check_shape(self.pipeline_shape, stanza.conf)
                value = pipeline(stanza.conf, self.drivers, complaints)
            except Wrong as wrong:
                complaints.error(wrong.name, str(wrong), wrong.path)
                continue
            bound.named.append(Named("pipeline", value.name, value, source, (*order, position), stanza.line, stanza.index))
        problems += [problem(each, bound.file.text, source.project, source.branch, source.path) for each in complaints.found]
