"""What Zuul says otherwise because of something it read before."""

from __future__ import annotations

import pytest

from headgate.configuration import Layout, SourceFile, load_layout, parse_tenants
from tests.configuration.helpers import CONFIG, HOST, OTHER, PROJECT, load

TENANTS = """
- tenant: {name: first, source: {gerrit: {config-projects: [config: {SAID}]}}}
- tenant: {name: second, source: {gerrit: {config-projects: [config: {exclude-branches: master}]}}}
"""
FAULTY = "- nodeset: {name: two, alternatives: [{nodes: [{name: a, label: l}], groups: [{name: g, nodes: [b]}]}]}\n"
INLINE = "- job: {name: elsewhere, nodeset: {nodes: []}}\n"


def second_tenant(said: str) -> Layout:
    first, second = parse_tenants(TENANTS.replace("SAID", said))
    file = SourceFile(CONFIG, "master", "zuul.yaml", "- job: {name: base, parent: null}")
    return load_layout(second, [file], {"gerrit": HOST}, {CONFIG: ("master", "stable")}, before=[first])


def test_load_branch_that_is_left_out_is_read_if_an_earlier_tenant_reads_it() -> None:
    assert second_tenant("load-branch: stable").state.jobs.get("base")


@pytest.mark.parametrize("said", ["include: []", "exclude-branches: master"])
def test_load_branch_that_nobody_reads_is_not_read(said: str) -> None:
    assert not second_tenant(said).state.jobs.get("base")


@pytest.mark.parametrize(
    ("project", "other", "name"),
    [
        (FAULTY, "", "Unknown"),
        (INLINE + FAULTY, "", "Unknown"),
        (FAULTY, INLINE, "Unknown"),
        (INLINE, FAULTY, "Node From Group Not Found"),
        (
            INLINE + "\n- job: {name: x, nodeset: {alternatives: [{nodes: [], groups: [{name: g, nodes: [b]}]}]}}",
            "",
            "Node From Group Not Found",
        ),
    ],
)
def test_fault_of_an_inline_alternative_has_its_name_once_an_inline_nodeset_was_read(project: str, other: str, name: str) -> None:
    layout = load({(OTHER, "master"): other} if other else {}, project=project)
    assert [problem.name for problem in layout.errors] == [name]


def test_shadow_of_a_name_that_two_projects_have_is_an_error() -> None:
    projects = "{gerrit: {config-projects: [config: {shadow: twin}], untrusted-projects: [twin]}, github: {untrusted-projects: [twin]}}"
    (tenant,) = parse_tenants(f"- tenant: {{name: example, source: {projects}}}")
    (problem,) = load_layout(tenant, [], {"gerrit": HOST, "github": "github.com"}, {}).errors
    assert (problem.name, problem.key) == ("Unknown", "shadow")
    assert '"twin" is ambiguous' in problem.message


def test_proposed_file_is_read_without_what_was_read_before() -> None:
    layout = load(project=INLINE).with_files([SourceFile(OTHER, "master", "zuul.yaml", FAULTY), SourceFile(PROJECT, "master", "x", "")])
    assert [problem.name for problem in layout.errors] == ["Unknown"]
