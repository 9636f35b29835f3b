"""A small tenant to say things about: `layout(project=..., config=...)`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from headgate.configuration import Layout, Ref, SourceFile, load_layout, parse_tenants
from headgate.jobs import FrozenJob, JobGraph

HOST = "review.example.org"
PROJECT = f"{HOST}/org/project"
OTHER = f"{HOST}/org/other"
CONFIG = f"{HOST}/config"

TENANT = """
- tenant:
    name: example
    source:
      gerrit:
        config-projects: [config]
        untrusted-projects: [org/project, org/other]
"""
BASE = """
- pipeline: {name: check, manager: independent, trigger: {gerrit: [{event: patchset-created}]}, success: {gerrit: {Verified: 1}}}
- pipeline: {name: gate, manager: dependent, post-review: true, trigger: {gerrit: [{event: comment-added}]}}
- job: {name: base, parent: null, pre-run: base/pre.yaml, post-run: base/post.yaml, run: base/run.yaml}
"""


def load(
    files: Mapping[tuple[str, str], str] | None = None,
    config: str = "",
    project: str = "",
    tenant: str = TENANT,
    branches: Sequence[str] = ("master",),
) -> Layout:
    """A layout of `BASE` with `config` added to it, `project` on every branch of org/project, and `files` by (project, branch)."""
    sources = [SourceFile(CONFIG, "master", "zuul.yaml", BASE + config)]
    sources += [SourceFile(PROJECT, branch, "zuul.yaml", project) for branch in branches if project]
    sources += [SourceFile(name, branch, "zuul.yaml", text) for (name, branch), text in (files or {}).items()]
    (read,) = parse_tenants(tenant)
    return load_layout(read, sources, {"gerrit": HOST}, {PROJECT: branches, OTHER: ("master",)})


def graph(layout: Layout, branch: str = "master", files: tuple[str, ...] = (), pipeline: str = "check", project: str = PROJECT) -> JobGraph:
    return layout.freeze(Ref(project, branch, files), pipeline)


def the_job(layout: Layout, name: str = "unit", branch: str = "master", pipeline: str = "check") -> FrozenJob:
    return graph(layout, branch, (), pipeline)[name]
