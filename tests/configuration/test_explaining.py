"""Of every attribute, the line that set it."""

from __future__ import annotations

import pytest

from headgate.configuration import Layout, Ref
from headgate.configuration.explaining import Origin, explain
from headgate.configuration.job_shapes import JOB_ATTRIBUTES
from tests.configuration.helpers import PROJECT, load

MEANINGLESS = ("failure-url", "success-url", "variant-description", "intermediate")
"""Zuul accepts them and does nothing with them; an intermediate job is never in a graph, and no job inherits that."""
VALUES = {
    "parent": "base",
    **dict.fromkeys(("final", "protected", "hold-following-changes", "voting", "ansible-split-streams", "post-review"), "true"),
    **dict.fromkeys(("match-on-config-updates", "workspace-checkout", "deduplicate"), "true"),
    **dict.fromkeys(("requires", "provides", "tags", "failure-message", "success-message", "description"), "a"),
    **dict.fromkeys(("files", "irrelevant-files", "failure-output", "override-branch", "override-checkout"), "x"),
    **dict.fromkeys(("pre-run", "run", "post-run", "cleanup-run", "semaphore", "semaphores"), "x"),
    **dict.fromkeys(("pre-timeout", "timeout", "post-timeout", "attempts"), "5"),
    **dict.fromkeys(("vars", "extra-vars"), "{a: 1}"),
    **dict.fromkeys(("host-vars", "group-vars"), "{h: {a: 1}}"),
    **dict.fromkeys(("required-projects", "include-projects", "exclude-projects", "allowed-projects"), "org/project"),
    "branches": "master",
    "secrets": "own",
    "nodeset": "{nodes: []}",
    "ansible-version": "11",
    "roles": "[{zuul: org/other}]",
    "include-vars": "x.yaml",
    "dependencies": "noop",
    "workspace-scheme": "flat",
    "image-build-name": "noble",
    "type": "initializer",
    "preserve-home-paths": "[.cache]",
    "secret-exposure": "fail",
    "attribute-control": "{tags: {final: true}}",
    "abstract": "true",
}
BEFORE = "- secret: {name: own, data: {a: b}}\n- image: {name: noble, type: zuul}\n"


def origins(layout: Layout, name: str = "unit") -> dict[str, list[Origin]]:
    _, explained = explain(layout, Ref(PROJECT, "master"), "gate")
    (found,) = [each for each in explained if each.name == name]
    by_attribute: dict[str, list[Origin]] = {}
    for origin in found.origins:
        by_attribute.setdefault(origin.attribute, []).append(origin)
    return by_attribute


def tenant_with_images() -> str:
    return (
        "- tenant: {name: example, source: {gerrit: {config-projects: [config], "
        "untrusted-projects: [{org/project: {include-provider-config: true}}, org/other]}}}"
    )


@pytest.mark.parametrize("attribute", sorted(set(JOB_ATTRIBUTES) - {*MEANINGLESS}))
def test_attribute_of_a_job_has_its_line(attribute: str) -> None:
    text = f"{BEFORE}- job:\n    name: unit\n    {attribute}: {VALUES[attribute]}\n- project: {{gate: {{jobs: [unit]}}}}\n"
    found = origins(load(project=text, tenant=tenant_with_images()))
    (origin,) = [each for each in found["semaphores" if attribute == "semaphore" else attribute] if each.job == "unit"]
    assert (origin.job, origin.place) == ("unit", "org/project/zuul.yaml:5 (master)")


def test_attribute_of_a_variant_in_a_pipeline_has_its_line() -> None:
    text = "- job: {name: unit, voting: true}\n- project:\n    gate:\n      jobs:\n        - unit:\n            voting: false\n"
    assert [origin.place for origin in origins(load(project=text))["voting"]] == ["org/project/zuul.yaml:6 (master)"]


def test_what_a_job_is_comes_from_itself_and_what_it_says_from_the_nearest() -> None:
    config = "- job: {name: up, parent: null, abstract: true, description: above, final: false, run: x}\n"
    text = "- job: {name: unit, parent: up}\n- project: {gate: {jobs: [unit]}}\n"
    found = origins(load(config=config, project=text))
    assert "abstract" not in found
    assert [origin.job for origin in found["description"]] == ["up"]
    assert [origin.job for origin in found["parent"]] == ["unit"]
