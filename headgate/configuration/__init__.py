"""Zuul's configuration language: text in, values out. Nothing here reads a file or a repository.

A tenant file gives tenants; a tenant and the configuration files of its projects give a layout; a layout freezes job graphs::

    from headgate.configuration import Ref, SourceFile, load_layout, parse_tenants

    (tenant,) = parse_tenants('''
    - tenant:
        name: example
        source: {gerrit: {config-projects: [config], untrusted-projects: [org/project]}}
    ''')
    config = SourceFile("review.example.org/config", "master", "zuul.yaml", '''
    - pipeline: {name: check, manager: independent, trigger: {gerrit: {event: patchset-created}}}
    - job: {name: base, parent: null, run: playbooks/base.yaml}
    - job: {name: unit, timeout: 600}
    ''')
    project = SourceFile("review.example.org/org/project", "master", ".zuul.yaml", '''
    - project: {check: {jobs: [unit]}}
    ''')
    layout = load_layout(tenant, [config, project], canonical={"gerrit": "review.example.org"}, branches={})
    assert layout.problems == ()

    change = Ref("review.example.org/org/project", "master", files=("README",))
    (job,) = layout.freeze(change, "check").jobs
    assert (job.name, job.parents, job.timeout) == ("unit", ("base", "unit"), 600)

    proposed = SourceFile(project.project, "master", ".zuul.yaml", "- project: {check: {jobs: [unti]}}")
    speculative = layout.with_files([proposed])
    (problem,) = speculative.problems
    assert (problem.line, problem.message) == (1, 'no job "unti", did you mean "unit"?')

`config_paths(project, paths)` says which paths of a tree to read; `Layout.pipelines`, `.problems`, `.queue_of(project, branch)`,
`.merge_mode(project)`, `.default_branch(project)`, `.with_files(changes)` and `.freeze(refs, pipeline, ahead=layout_without_them)`
are the rest. `freeze` raises `FreezeFailed`, one sentence, for what makes a buildset a CONFIG_ERROR.
"""

from headgate.configuration.definitions import Queue, Secret
from headgate.configuration.document_values import Encrypted
from headgate.configuration.files import RemovedFile, SourceFile, config_paths
from headgate.configuration.freezing import FreezeFailed
from headgate.configuration.layout import Layout, load_layout
from headgate.configuration.pipelines import ApprovalFilter, Pipeline, RefFilter, Reporter, Trigger
from headgate.configuration.problems import Problem
from headgate.configuration.projects import Ref
from headgate.configuration.regex import Regex
from headgate.configuration.tenant_values import Semaphore, Tenant, TenantFile, TenantProject
from headgate.configuration.tenants import BadTenantFile, parse_tenant_file, parse_tenants

__all__ = [
    "ApprovalFilter",
    "BadTenantFile",
    "Encrypted",
    "FreezeFailed",
    "Layout",
    "Pipeline",
    "Problem",
    "Queue",
    "Ref",
    "RefFilter",
    "Regex",
    "RemovedFile",
    "Reporter",
    "Secret",
    "Semaphore",
    "SourceFile",
    "Tenant",
    "TenantFile",
    "TenantProject",
    "Trigger",
    "config_paths",
    "load_layout",
    "parse_tenant_file",
    "parse_tenants",
]
