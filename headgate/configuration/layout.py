"""A tenant's layout: all its objects, ready to freeze job graphs, and what is wrong with them.

Law: an object that is broken drops out, the rest stands. A speculative layout (`with_files`) shares everything with the one it
comes from but the names that the changed files define; only those, and what refers to a name whose meaning changed, are looked at again.
"""

from __future__ import annotations

import gc
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import cached_property

from headgate.configuration.binding import Binder
from headgate.configuration.building import Builder
from headgate.configuration.definitions import Queue
from headgate.configuration.files import RemovedFile, SourceFile
from headgate.configuration.freezing import freeze
from headgate.configuration.pipelines import Pipeline
from headgate.configuration.problems import Problem, fold
from headgate.configuration.projects import Projects, Ref
from headgate.configuration.state import LayoutState
from headgate.configuration.tenant_values import Tenant
from headgate.jobs import JobGraph


class Layout:
    """One tenant's configuration at one moment. Build with `load_layout`; it is never changed afterwards."""

    def __init__(self, state: LayoutState) -> None:
        self.state = state

    @property
    def tenant(self) -> Tenant:
        return self.state.tenant

    @property
    def projects(self) -> Projects:
        return self.state.projects

    @property
    def pipelines(self) -> Mapping[str, Pipeline]:
        """By name, in the order they were loaded."""
        return self.state.pipelines

    @cached_property
    def occurrences(self) -> tuple[Problem, ...]:
        """Every problem at every place, in order of loading: the same one on two branches is two."""
        ordered = sorted(self.state.found.items(), key=lambda entry: entry[0])
        return tuple(problem for _, problems in ordered for problem in problems)

    @cached_property
    def problems(self) -> tuple[Problem, ...]:
        """Errors and warnings; the same on several branches is one, with all its branches."""
        return fold(self.occurrences)

    @property
    def errors(self) -> tuple[Problem, ...]:
        return tuple(problem for problem in self.problems if problem.is_error)

    def queue_of(self, project: str, branch: str, pipeline: str = "") -> Queue | None:
        """The shared queue of a project (canonical) and branch, `None` if it has none. It is the same for all pipelines."""
        return self.state.queue_of(project, branch)

    def merge_mode(self, project: str) -> str:
        """How changes of a project (canonical) are merged, `merge-resolve` unless said."""
        return self.state.merge_mode(project)

    def default_branch(self, project: str) -> str:
        """The branch checked out of a project (canonical) when the item's own does not exist there."""
        return self.state.default_branch(project)

    def with_files(self, changes: Iterable[SourceFile | RemovedFile], config_projects: bool = False) -> Layout:
        """The layout as it would be with these files changed, in the cost of what they define.

        Changes of config-projects are left out unless `config_projects`, which is for validating them: they never take
        effect before they merge. Pipelines, semaphores, sections, providers and queues stay as they are, in Zuul too.
        """
        state = Builder(self.state.speculative()).apply_changes(changes, config_projects)
        return self if state is None else Layout(state)

    def freeze(self, items: Ref | Sequence[Ref], pipeline: str, ahead: Layout | None = None) -> JobGraph:
        """The exact jobs that run for what is under test (one `Ref`, or all of a cycle) in a pipeline.

        `ahead` is the layout without these changes (of the item ahead, or the tenant's): a job whose configuration differs from
        there runs whatever its file matchers say. Raises `FreezeFailed`: the buildset's result is then CONFIG_ERROR.
        """
        refs = (items,) if isinstance(items, Ref) else tuple(items)
        return freeze(self.state, refs, pipeline, ahead.state if ahead is not None and ahead is not self else None)


def load_layout(
    tenant: Tenant,
    files: Iterable[SourceFile],
    canonical: Mapping[str, str],
    branches: Mapping[str, Sequence[str]],
    default_branches: Mapping[str, str] | None = None,
    drivers: Mapping[str, str] | None = None,
    before: Iterable[Tenant] = (),
) -> Layout:
    """Load a tenant from its projects' configuration files.

    `canonical` maps a connection to its canonical hostname, `branches` a canonical project name to all its (unfiltered by the
    tenant) branches, `default_branches` where it is not `master`, `drivers` a connection to its kind (`gerrit`, ...); where
    `drivers` has none, the name tells (`my_gerrit`); `before` are the tenants loaded earlier, as the tenant file lists them. Files may be
    more than Zuul reads; never raises for what they hold.
    """
    projects = Projects.of(tenant, canonical, branches, default_branches or {}, before)
    known = {project.connection: "" for project in tenant.projects}
    binder = Binder(projects, _kinds(known, drivers or {}))
    with _no_collection():
        return Layout(Builder(LayoutState(tenant, projects, binder)).load(files))


@contextmanager
def _no_collection() -> Iterator[None]:
    """Without the cyclic garbage collector: a load makes a million values that stay, and looking through them again and again
    would take more time than the load itself."""
    enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if enabled:
            gc.enable()


def _kinds(sources: Mapping[str, str], drivers: Mapping[str, str]) -> dict[str, str]:
    from headgate.configuration.driver_shapes import driver_of

    return {name: driver_of(name, drivers) or "" for name in sources} | dict(drivers)
