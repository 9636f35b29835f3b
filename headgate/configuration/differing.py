"""What would run differently: the graphs of all projects before and after a proposed configuration."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, fields
from typing import Any

from headgate.configuration.freezing import FreezeFailed
from headgate.configuration.layout import Layout
from headgate.configuration.projects import Ref
from headgate.jobs import FrozenJob, JobGraph


@dataclass(frozen=True, slots=True)
class Difference:
    """One change of what runs. `job` "" speaks of the whole graph; `attribute` "" of the whole job, which is then new or gone."""

    project: str
    branch: str
    pipeline: str
    job: str = ""
    attribute: str = ""
    before: Any = None
    after: Any = None


def differences(before: Layout, after: Layout) -> Iterator[Difference]:
    """All differences, by project, branch and pipeline in the order of the tenant. File matchers are left out: every job is looked at."""
    for canonical, known in after.projects.by_canonical.items():
        for branch in known.branches:
            ref = Ref(canonical, branch)
            for pipeline in after.pipelines:
                old, new = _graph(before, ref, pipeline), _graph(after, ref, pipeline)
                if old == new:
                    continue
                if isinstance(old, str) or isinstance(new, str):
                    yield Difference(
                        known.name, branch, pipeline, "", "", old if isinstance(old, str) else None, new if isinstance(new, str) else None
                    )
                    continue
                yield from _graphs(known.name, branch, pipeline, old, new)


def _graph(layout: Layout, ref: Ref, pipeline: str) -> JobGraph | str:
    try:
        return layout.freeze(ref, pipeline)
    except FreezeFailed as wrong:
        return str(wrong)


def _graphs(project: str, branch: str, pipeline: str, old: JobGraph, new: JobGraph) -> Iterator[Difference]:
    former = {job.name: job for job in old.jobs}
    latter = {job.name: job for job in new.jobs}
    for name in former:
        if name not in latter:
            yield Difference(project, branch, pipeline, name, "", name, None)
    for name, job in latter.items():
        if name not in former:
            yield Difference(project, branch, pipeline, name, "", None, name)
            continue
        for attribute in _changed(former[name], job):
            yield Difference(project, branch, pipeline, name, attribute, getattr(former[name], attribute), getattr(job, attribute))


def _changed(old: FrozenJob, new: FrozenJob) -> list[str]:
    return [each.name for each in fields(FrozenJob) if getattr(old, each.name) != getattr(new, each.name)]
