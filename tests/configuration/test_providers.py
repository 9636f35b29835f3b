"""Provider objects are read, and what they refer to must exist."""

from __future__ import annotations

import pytest

from tests.configuration.helpers import load

OBJECTS = """
- image: {name: noble, type: zuul, retain-count: 3}
- flavor: {name: small}
- label: {name: noble-small, image: noble, flavor: small, min-ready: 1}
- section:
    name: cloud
    connection: openstack
    images: [{name: noble, retain-count: 1, max-retain-count: 2}]
    flavors: [{name: small, flavor-name: m1.small}]
- provider: {name: cloud-main, section: cloud, labels: [noble-small]}
"""


def test_provider_objects_are_read() -> None:
    layout = load(config=OBJECTS)
    assert layout.problems == ()
    assert layout.state.named.get(("label", "noble-small")) is not None


@pytest.mark.parametrize(
    ("found", "instead", "sentence"),
    [
        ("section: cloud,", "section: clod,", 'no section "clod", did you mean "cloud"?'),
        ("labels: [noble-small]", "labels: [{name: nobel-small}]", 'no label "nobel-small"'),
        ("image: noble,", "image: jammy,", 'no image "jammy"'),
        ("max-retain-count: 2", "max-retain-count: 0", "retain-count 1 is more than max-retain-count 0"),
        ("    connection: openstack\n", "", "names a connection"),
    ],
)
def test_broken_references_are_said(found: str, instead: str, sentence: str) -> None:
    problem, *_ = load(config=OBJECTS.replace(found, instead)).problems
    assert sentence in problem.message


@pytest.mark.parametrize(
    ("found", "instead", "sentence"),
    [
        (
            "flavor-name: m1.small",
            "flavor-nam: m1.small",
            'flavors small flavor-nam "flavor-nam" is not allowed here, did you mean "flavor-name"?',
        ),
        ("retain-count: 1,", "import-timeout: soon,", "images noble import-timeout must be a whole number"),
        (
            "connection: openstack",
            "connection: openstack\n    region: 5",
            "the openstack provider's region must be a string, found the number 5",
        ),
        ("connection: openstack", "connection: aws", '"flavor-name" is not allowed here'),
        ("connection: openstack", "connection: my-kube", '"flavor-name" is not allowed here'),
        ("connection: openstack", "connection: openstack\n    label-defaults: {az: [a]}", "label-defaults az must be a string"),
        ("connection: openstack", "connection: gerrit", "which provides no nodes"),
        ("flavors: [{name: small, flavor-name: m1.small}]", "flavors: []", 'the flavor "small" of the label "noble-small" is not among'),
    ],
)
def test_what_a_driver_does_not_take_is_said(found: str, instead: str, sentence: str) -> None:
    (problem,) = load(config=OBJECTS.replace(found, instead)).problems
    assert sentence in problem.message


def test_final_image_keeps_its_definition() -> None:
    again = OBJECTS.replace("{name: noble, retain-count: 1, max", "{name: noble, final: true, max").replace(
        "labels: [noble-small]}", "labels: [noble-small], images: [noble]}"
    )
    (problem,) = load(config=again).problems
    assert 'the image "noble" is final and may not be defined again' in problem.message
