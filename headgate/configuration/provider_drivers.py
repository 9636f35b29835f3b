"""The five drivers that provide nodes from Zuul's own objects, each with what it takes."""

from __future__ import annotations

from typing import Any

from headgate.configuration.provider_shapes import (
    FINAL,
    LABEL,
    LABEL_NAMES,
    NAMED,
    PUBLIC,
    SSH,
    TAGS,
    DriverShapes,
    Exclusive,
    Keys,
    each,
    images,
    limits,
    record,
)
from headgate.configuration.shapes import FLAG, MAPPING, NOTHING, TEXT, WHOLE, Choice, Either, ListOf, MappingOf, Record, one_or_many


def _aws() -> DriverShapes:
    disk: Keys = {
        **each(WHOLE, "volume-size", "iops", "throughput"),
        **each(TEXT, "volume-type", "userdata"),
        "imds-http-tokens": Choice("optional", "required"),
    }
    filters = record({"name": TEXT, "values": one_or_many(TEXT)})
    built: Keys = {
        "import-method": Choice("snapshot", "image", "ebs-direct"),
        "image-format": Choice("ova", "vhd", "vhdx", "vmdk", "raw", "snapshot"),
        "imds-support": Either(Choice("v2.0"), NOTHING),
        "architecture": TEXT,
        "ena-support": FLAG,
    }
    cloud, made, defaults, taken = images(disk, {"image-id": TEXT, "image-filters": one_or_many(filters)}, built)
    profile = Exclusive(record(each(TEXT, "name", "arn")), ("name", "arn"))
    label: Keys = {
        **LABEL,
        **disk,
        **SSH,
        "az": TEXT,
        "kms-key-id": TEXT,
        "iam-instance-profile": profile,
        **each(one_or_many(TEXT), "security-group-ids", "subnet-ids"),
    }
    strategies = (
        *("prioritized", "price-capacity-optimized", "capacity-optimized", "capacity-optimized-prioritized", "diversified"),
        "lowest-price",
    )
    fleet_keys: Keys = {"instance-types": one_or_many(TEXT), "allocation-strategy": Choice(*strategies)}
    flavor: Keys = {
        **NAMED,
        **PUBLIC,
        **disk,
        **each(FLAG, "dedicated-host", "ebs-optimized", "nested-virtualization"),
        "market-type": Choice("on-demand", "spot"),
        "instance-type": TEXT,
        "fleet": record(fleet_keys, required=fleet_keys),
    }
    quota = MappingOf(WHOLE, _aws_limit_fault, "a mapping from cores, instances, ram or a code of AWS's service quotas to a number")
    return DriverShapes(
        {"region": TEXT, "object-storage": record({"bucket-name": TEXT}, required=("bucket-name",))},
        quota,
        record(label, LABEL_NAMES, required=("name",)),
        Exclusive(cloud, ("image-id", "image-filters")),
        made,
        Exclusive(record(flavor, required=("name",)), ("instance-type", "fleet")),
        record(label),
        defaults,
        record(FINAL, disk, PUBLIC),
        tuple(label),
        taken,
        ("region",),
    )


def _aws_limit_fault(name: Any) -> str:
    code = isinstance(name, str) and name[:2] == "L-" and len(name) == 10 and not set(name[2:]) - set("0123456789ABCDEF")
    return (
        "" if code or name in ("instances", "cores", "ram") else f'"{name}" is no limit; allowed are instances, cores, ram and L-XXXXXXXX'
    )


def _azure() -> DriverShapes:
    machine: Keys = {"volume-size": WHOLE, "ephemeral-disk": FLAG, "generate-password": FLAG, "userdata": TEXT}
    gallery = record(each(TEXT, "gallery-name", "name", "version"), required=("gallery-name", "name"))
    market = each(TEXT, "sku", "publisher", "version", "offer")
    sources: Keys = {
        "image-filter": record({"location": TEXT, "name": TEXT, "tags": TAGS}),
        "image-id": TEXT,
        "image-reference": record(market, required=market),
        **each(gallery, "community-gallery-image", "shared-gallery-image"),
    }
    cloud, made, defaults, taken = images(machine, sources, {})
    identity = record(each(TEXT, "resource-group", "name"), required=("name",))
    label: Keys = {
        **LABEL,
        **machine,
        "host-key-checking": FLAG,
        "key-data": TEXT,
        "subnet-id": TEXT,
        "user-assigned-identities": one_or_many(identity),
        "subnet-reference": record(each(TEXT, "resource-group", "network", "subnet"), required=("network",)),
    }
    subnet = ("subnet-id", "subnet-reference")
    flavor: Keys = {**NAMED, **PUBLIC, **machine, "vm-size": TEXT, "priority": Choice("regular", "spot"), **each(FLAG, "ipv4", "ipv6")}
    return DriverShapes(
        each(TEXT, "region", "resource-group"),
        limits("cores", "ram", "lowPriorityCores"),
        Exclusive(record(label, LABEL_NAMES, required=("name",)), subnet),
        Exclusive(cloud, sources),
        made,
        record(flavor, required=("name", "vm-size")),
        Exclusive(record(label), subnet, needed=False),
        defaults,
        record(FINAL, machine, PUBLIC),
        tuple(label),
        taken,
        ("region", "resource-group"),
    )


def _openstack() -> DriverShapes:
    server: Keys = {"volume-size": WHOLE, "userdata": TEXT}
    drive: Keys = {"config-drive": FLAG}
    cloud, made, defaults, taken = images(server, {"image-id": TEXT, **drive}, drive, ("image-id",))
    label: Keys = {
        **LABEL,
        **server,
        **SSH,
        "az": TEXT,
        **each(FLAG, "auto-floating-ip", "boot-from-volume"),
        **each(one_or_many(TEXT), "networks", "security-groups"),
    }
    return DriverShapes(
        {"region": TEXT, "floating-ip-cleanup": FLAG, "port-cleanup-interval": WHOLE},
        limits("cores", "ram", "volumes", "volume-gb"),
        record(label, LABEL_NAMES, required=("name",)),
        cloud,
        made,
        record(NAMED, PUBLIC, server, {"flavor-name": TEXT}, required=("name", "flavor-name")),
        record(label),
        defaults,
        record(FINAL, server, PUBLIC),
        tuple(label),
        taken,
    )


def _static() -> DriverShapes:
    cloud, made, defaults, taken = images({}, {}, {})
    node = record({**each(TEXT, "name", "username", "label", "host-key"), "connection-port": WHOLE, "aliases": one_or_many(TEXT)})
    nodes = Record(node.keys, ("name", "label"))
    label = {**LABEL, **SSH}
    return DriverShapes(
        {"nodes": ListOf(nodes)},
        limits(),
        record(label, LABEL_NAMES, required=("name",)),
        cloud,
        made,
        record(NAMED, required=("name",)),
        record(label),
        defaults,
        record(FINAL),
        tuple(label),
        taken,
        ("nodes",),
    )


def _kubernetes() -> DriverShapes:
    cloud, made, defaults, taken = images({}, {}, {})
    pull = record(each(TEXT, "name", "namespace"), required=("name",))
    both: Keys = {**LABEL, "image-pull-secrets": one_or_many(pull)}
    pod = each(MAPPING, "spec", "annotations")
    label = {**both, **pod, "kind": Choice("pod", "namespace")}
    return DriverShapes(
        {},
        record(each(WHOLE, "pods", "namespaces")),
        Either(
            record(both, LABEL_NAMES, pod, {"kind": Choice("pod")}, required=("name", "kind", "spec")),
            record(both, LABEL_NAMES, {"kind": Choice("namespace")}, required=("name", "kind")),
        ),
        cloud,
        made,
        record(NAMED, required=("name",)),
        record(label),
        defaults,
        record(FINAL),
        tuple(label),
        taken,
    )


PROVIDER_DRIVERS = {"aws": _aws(), "azure": _azure(), "openstack": _openstack(), "static": _static(), "kubernetes": _kubernetes()}
"""By driver."""
