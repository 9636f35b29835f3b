"""Provider objects are read, and what they refer to must exist."""

from __future__ import annotations

import pytest

from tests.configuration.helpers import load

OBJECTS = """
- image: {name: noble, type: zuul, retain-count: 3}
- flavor: {name: small}
- label: {name: noble-small, image: noble, flavor: small, min-ready: 1}
- section:
    {name: cloud, connection: openstack, images: [{name: noble, retain-count: 1, max-retain-count: 2}], flavors: [{name: small}]}
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
        ("connection: openstack, ", "", "names a connection"),
    ],
)
def test_broken_references_are_said(found: str, instead: str, sentence: str) -> None:
    (problem,) = load(config=OBJECTS.replace(found, instead)).problems
    assert sentence in problem.message
