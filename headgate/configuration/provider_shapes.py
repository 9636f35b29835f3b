"""What the images, flavors, labels and settings of a provider may say, driver by driver, once sections and defaults are merged."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from headgate.configuration.document_values import kind_of
from headgate.configuration.shapes import (
    FLAG,
    TEXT,
    WHOLE,
    AtLeast,
    Choice,
    Fault,
    ListOf,
    MappingOf,
    Record,
    Shape,
    one_or_many,
)

Keys = Mapping[str, Shape]


class Exclusive(Shape):
    """A mapping that has at most one of some keys; exactly one if `needed`."""

    def __init__(self, inner: Record, keys: Iterable[str], needed: bool = True) -> None:
        self.inner = inner
        self.keys = tuple(keys)
        self.needed = needed
        self.called = inner.called

    def ok(self, value: Any) -> bool:
        return self.inner.ok(value) and self._count(value)

    def _count(self, value: Mapping[Any, Any]) -> bool:
        count = sum(key in value for key in self.keys)
        return count == 1 or (count == 0 and not self.needed)

    def fault(self, value: Any) -> Fault:
        if not self.inner.ok(value):
            return self.inner.fault(value)
        return Fault((), f"{'exactly' if self.needed else 'at most'} one of {', '.join(self.keys)} may be given, found {kind_of(value)}")

    def schema(self) -> dict[str, Any]:
        return self.inner.schema()


def record(*keys: Keys, required: Iterable[str] = ()) -> Record:
    return Record({key: shape for some in keys for key, shape in some.items()}, required)


def each(shape: Shape, *keys: str) -> Keys:
    return dict.fromkeys(keys, shape)


TAGS = MappingOf(TEXT)
FINAL: Keys = {"final": Choice(True, False, "allow-override")}
NAMED: Keys = {**FINAL, **each(TEXT, "name", "description")}
LABEL: Keys = {
    **FINAL,
    **each(WHOLE, "boot-timeout", "max-ready-age", "max-age", "min-retention-time", "snapshot-timeout", "snapshot-expiration", "slots"),
    "reuse": FLAG,
    "aliases": one_or_many(TEXT),
    "executor-zone": TEXT,
    "tags": TAGS,
}
LABEL_NAMES = each(TEXT, "name", "description", "image", "flavor")
SSH: Keys = {"key-name": TEXT, "host-key-checking": FLAG}
_IMAGE: Keys = {
    **FINAL,
    **each(TEXT, "username", "python-path", "shell-type"),
    **each(WHOLE, "connection-port", "import-timeout"),
    "connection-type": Choice("winrm", "ssh"),
}
_BUILT: Keys = {
    "upload-methods": ListOf(Choice("copy", "import", "upload")),
    "tags": TAGS,
    **each(AtLeast(1), "retain-count", "max-retain-count"),
}
PUBLIC = each(FLAG, "public-ipv4", "public-ipv6")


@dataclass(frozen=True)
class DriverShapes:
    """One driver. `*_defaults` are what may be said for all images, flavors or labels."""

    settings: Keys
    limits: Shape
    label: Shape
    cloud_image: Shape
    zuul_image: Shape
    flavor: Shape
    label_defaults: Shape
    image_defaults: Record
    flavor_defaults: Record
    label_keys: tuple[str, ...] = ()
    cloud_image_keys: tuple[str, ...] = ()
    needed: tuple[str, ...] = ()
    whole: Record = field(init=False)

    def __post_init__(self) -> None:
        keys: Keys = {
            **each(TEXT, "name", "section", "parent", "connection"),
            "labels": ListOf(self.label),
            "flavors": ListOf(self.flavor),
            "images": ListOf(_ByType(self.cloud_image, self.zuul_image)),
            "label-defaults": self.label_defaults,
            "image-defaults": self.image_defaults,
            "flavor-defaults": self.flavor_defaults,
            "abstract": FLAG,
            "launch-timeout": WHOLE,
            "launch-attempts": WHOLE,
            "resource-limits": self.limits,
            **self.settings,
        }
        object.__setattr__(self, "whole", Record(keys, ("name", "section", "connection", *self.needed)))


class _ByType(Shape):
    """An image: built by Zuul or there in the cloud."""

    called = "an image"

    def __init__(self, cloud: Shape, built: Shape) -> None:
        self.cloud = cloud
        self.built = built

    def _of(self, value: Any) -> Shape:
        return self.built if isinstance(value, dict) and value.get("type") == "zuul" else self.cloud

    def ok(self, value: Any) -> bool:
        return self._of(value).ok(value)

    def fault(self, value: Any) -> Fault:
        return self._of(value).fault(value)

    def schema(self) -> dict[str, Any]:
        return {"anyOf": [self.cloud.schema(), self.built.schema()]}


def images(both: Keys, cloud: Keys, built: Keys, needed: Iterable[str] = ()) -> tuple[Record, Record, Record, tuple[str, ...]]:
    """Shapes of a cloud's image, of a built one, of image-defaults, and what a cloud's image takes from the defaults."""
    given = record(_IMAGE, NAMED, both, cloud, {"type": Choice("cloud")}, required=("name", "type", *needed))
    made = record(_IMAGE, _BUILT, NAMED, both, built, {"type": Choice("zuul")}, required=("name", "type"))
    return given, made, record(_IMAGE, _BUILT, both, built), (*_IMAGE, *both)


def limits(*names: str) -> Record:
    return record(each(WHOLE, "instances", *names))
