"""A Nodepool file is read whole, and what is wrong in it is said in one sentence."""

from __future__ import annotations

import pytest

from headgate.configuration.nodepool import BadNodepoolFile, parse_nodepool

FILE = """
zookeeper-servers: [{host: zk}]
labels: [{name: jammy, min-ready: 2}, rack]
diskimages:
  - {name: base, abstract: true, elements: [vm], env-vars: {A: "1", B: "1"}, rebuild-age: 7}
  - {name: jammy, parent: base, elements: [ubuntu-minimal], env-vars: {B: "2"}, release: jammy}
providers:
  - name: cloud
    region-name: one
    diskimages: [jammy]
    pools: [{name: main, max-servers: 5, labels: [{name: jammy, diskimage: jammy, min-ram: 8192}]}]
  - name: racks
    driver: static
    pools: [{name: main, nodes: [{name: r1.example.org, labels: rack}]}]
tenant-resource-limits: [{tenant-name: example, max-servers: 3}]
"""


def test_everything_is_read() -> None:
    read = parse_nodepool(FILE)
    assert [label.name for label in read.labels] == ["jammy", "rack"]
    assert read.providers[0].pools[0].labels[0].min_ram == 8192
    assert read.providers[1].pools[0].nodes[0].labels == ("rack",)
    assert read.tenant_resource_limits[0].max_servers == 3


def test_image_inherits() -> None:
    image = parse_nodepool(FILE).image("jammy")
    assert image.elements == ("vm", "ubuntu-minimal")
    assert image.env_vars == {"A": "1", "B": "2"}
    assert (image.rebuild_age, image.abstract, image.release) == (7, False, "jammy")


@pytest.mark.parametrize(
    ("found", "instead", "sentence"),
    [
        ("min-ready: 2", "min-redy: 2", 'labels.0.min-redy: not allowed here, did you mean "min-ready"?'),
        ("max-servers: 5", "max-servers: many", "providers.0.pools.0.max-servers"),
        ("diskimage: jammy", "diskimage: jamy", 'no disk image "jamy", did you mean "jammy"?'),
        ("parent: base", "parent: jammy", "inherits from itself"),
        ("labels: rack", "labels: rck", 'no label "rck", did you mean "rack"?'),
        ("labels: [{", "labels: [{{", "nodepool.yaml:"),
    ],
)
def test_what_is_wrong_is_said(found: str, instead: str, sentence: str) -> None:
    with pytest.raises(BadNodepoolFile) as bad:
        parse_nodepool(FILE.replace(found, instead))
    assert sentence in str(bad.value)
