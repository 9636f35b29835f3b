"""A provider with its sections merged: do its references exist, and does its driver take what it says?

Law: sections are merged from the root to the provider; what is said later holds, lists are joined, images, flavors and labels are
replaced as a whole unless `final`. Then each of them takes what it does not say from the `*-defaults` and its top-level object.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from headgate.configuration.driver_shapes import driver_of
from headgate.configuration.provider_definitions import Image, Label, Provider, Section
from headgate.configuration.provider_drivers import PROVIDER_DRIVERS
from headgate.configuration.provider_shapes import DriverShapes
from headgate.configuration.shapes import Shape
from headgate.configuration.stanza import Wrong
from headgate.configuration.state import LayoutState

_KINDS = ("image", "flavor", "label")
Settings = dict[str, Any]
MOST_SECTIONS = 50
"""Levels of sections: more only hostile files have."""
SAYING = {**{kind: kind for kind in PROVIDER_DRIVERS}, "kube": "kubernetes", "k8s": "kubernetes"}
"""What a connection's name says of its kind, where nobody tells: a part of the name, and the kind."""


def check_provider(state: LayoutState, provider: Provider) -> None:
    """Raises `Wrong` for what is not there, a connection that is missing or given twice, what the driver does not take, or counts that
    contradict. A connection whose driver cannot be told is checked for its references only."""
    chain = _sections(state, provider)
    connection = provider.settings.get("connection")
    for section in chain:
        if section.connection and connection:
            raise Wrong(f'the section "{section.name}" may not change the connection "{connection}"', ("section",))
        connection = connection or section.connection
    if not connection:
        raise Wrong("neither the provider nor one of its sections names a connection", ("section",), "Unknown Connection")
    driver = _driver(connection, state.binder.drivers) if isinstance(connection, str) else None
    levels = [*(dict(section.settings) for section in reversed(chain)), dict(provider.settings)]
    for settings in levels:
        _check_entries(state, settings)
    if driver in PROVIDER_DRIVERS:
        try:
            _check_driver(state, PROVIDER_DRIVERS[driver], levels, driver)
        except (TypeError, AttributeError, KeyError, ValueError) as wrong:
            raise Wrong(f"its settings cannot be merged with those of its sections: {wrong}") from wrong
    elif driver:
        raise Wrong(f'the connection "{connection}" is to {driver}, which provides no nodes', ("section",))


def _driver(connection: str, drivers: Mapping[str, str]) -> str | None:
    """The kind of a connection, as told or as its name says, `None` if neither."""
    told = drivers.get(connection)
    said = next((kind for part, kind in SAYING.items() if part in connection), None)
    return told or said or driver_of(connection, drivers)


def _sections(state: LayoutState, provider: Provider) -> list[Section]:
    """The sections, nearest first."""
    chain: list[Section] = []
    name, seen = provider.section, set[str]()
    while name:
        named = state.named.get(("section", name))
        if named is None:
            known = (each for kind, each in state.named if kind == "section")
            raise Wrong(f'no section "{name}"{state.hint(name, known)}', ("section",))
        if name in seen:
            raise Wrong(f'the section "{name}" inherits from itself', ("section",))
        seen.add(name)
        if len(seen) > MOST_SECTIONS:
            raise Wrong(f"inherits from more than {MOST_SECTIONS} sections", ("section",))
        chain.append(named.value)
        name = named.value.parent or ""
    return chain


def _check_entries(state: LayoutState, settings: Mapping[str, Any]) -> None:
    for kind in _KINDS:
        for entry in settings.get(f"{kind}s") or ():
            name = entry.get("name") if isinstance(entry, dict) else entry
            if not isinstance(name, str) or (kind, name) not in state.named:
                known = (each for found, each in state.named if found == kind)
                raise Wrong(f'no {kind} "{name}"{state.hint(str(name), known)}', (f"{kind}s",))
            if kind == "image" and isinstance(entry, dict):
                _check_counts(entry)


def _check_counts(image: Mapping[str, Any]) -> None:
    count, most = image.get("retain-count"), image.get("max-retain-count")
    if isinstance(count, int) and isinstance(most, int) and count > most:
        raise Wrong(f"retain-count {count} is more than max-retain-count {most}", ("images",))


def _check_driver(state: LayoutState, shapes: DriverShapes, levels: list[Settings], driver: str) -> None:
    merged: Settings = {}
    objects: dict[str, dict[str, Settings]] = {kind: {} for kind in _KINDS}
    for level in levels:
        given = {kind: {name: dict(entry) for name, entry in _entries(level.pop(f"{kind}s", ()))} for kind in _KINDS}
        _not_more(merged.get("image-defaults", {}), level.get("image-defaults", {}), "image-defaults")
        merged = join(merged, level)
        for kind in _KINDS:
            _check_shape(_defaults_shape(shapes, kind), merged.get(f"{kind}-defaults", {}), f"{kind}-defaults", driver)
            defaults = merged.get(f"{kind}-defaults", {})
            for name, entry in given[kind].items():
                if entry.get("final") or defaults.get("final"):
                    _complete(state, shapes, kind, entry, defaults)
                _replace(objects[kind], kind, name, entry)
    for kind in _KINDS:
        for entry in objects[kind].values():
            if not entry.get("final"):
                _complete(state, shapes, kind, entry, merged.get(f"{kind}-defaults", {}))
        merged[f"{kind}s"] = list(objects[kind].values())
    _check_shape(shapes.whole, merged, "", driver)
    for image in merged["images"]:
        _check_counts(image)
    for label in merged["labels"]:
        _check_label(label, objects, driver)
    for node in merged.get("nodes", ()) if driver == "static" else ():
        if node["label"] not in objects["label"]:
            raise Wrong(f'the label "{node["label"]}" of the node {node["name"]} is not among the provider\'s labels', ("nodes",))


def _entries(given: Iterable[Any]) -> Iterable[tuple[str, Settings]]:
    for entry in given:
        settings = entry if isinstance(entry, dict) else {"name": entry}
        yield settings["name"], settings


def join(below: Mapping[str, Any], above: Mapping[str, Any]) -> Settings:
    """Nested mappings and lists joined, anything else from `above`."""
    joined: Settings = dict(below)
    for key, value in above.items():
        under = below.get(key)
        if isinstance(under, dict) and isinstance(value, dict):
            joined[key] = join(under, value)
        elif isinstance(under, list) and isinstance(value, list):
            joined[key] = [*under, *value]
        else:
            joined[key] = value
    return joined


def _not_more(former: Mapping[str, Any], now: Mapping[str, Any], where: str) -> None:
    before, after = former.get("max-retain-count"), now.get("max-retain-count")
    if before is not None and after is not None and after > before:
        raise Wrong(f"{where}: max-retain-count {after} may not be more than the {before} of a section before", ("images",))


def _replace(known: dict[str, Settings], kind: str, name: str, entry: Settings) -> None:
    former = known.get(name)
    if former is not None:
        final = former.get("final", False)
        if final and final != "allow-override":
            raise Wrong(f'the {kind} "{name}" is final and may not be defined again', (f"{kind}s",))
        if kind == "image":
            _not_more(former, entry, f'image "{name}"')
    known[name] = entry


def _defaults_shape(shapes: DriverShapes, kind: str) -> Shape:
    return {"image": shapes.image_defaults, "flavor": shapes.flavor_defaults, "label": shapes.label_defaults}[kind]


def _complete(state: LayoutState, shapes: DriverShapes, kind: str, entry: Settings, defaults: Mapping[str, Any]) -> None:
    """Add to an image, flavor or label what it takes from its top-level object and from the defaults."""
    named = state.named.get((kind, entry["name"]))
    assert named is not None
    entry.update(join(_top_level(named.value), entry))
    if kind == "label":
        keys: Iterable[str] = shapes.label_keys
    elif kind == "flavor":
        keys = shapes.flavor_defaults.keys
    else:
        keys = shapes.image_defaults.keys if entry["type"] == "zuul" else shapes.cloud_image_keys
    for key in keys:
        if key in defaults and key not in entry:
            entry[key] = defaults[key]
        elif key == "tags" and key in defaults and key in entry:
            entry[key] = join(defaults[key], entry[key])


def _top_level(value: Any) -> Settings:
    """What a top-level image, flavor or label hands on to a provider's."""
    found: Settings = {"name": value.name, "description": value.description}
    if isinstance(value, Image):
        found["type"] = value.type
    elif isinstance(value, Label):
        found |= {"image": value.image, "flavor": value.flavor, "max-ready-age": value.max_ready_age, "max-age": value.max_age}
        found |= {"min-retention-time": value.min_retention_time, "aliases": list(value.aliases)}
    return {key: each for key, each in found.items() if each is not None}


def _check_shape(shape: Shape, value: Any, where: str, driver: str) -> None:
    if shape.ok(value):
        return
    fault = shape.fault(value)
    steps = [where] if where else []
    for step in fault.path:
        value = value[step] if isinstance(value, list) or (isinstance(value, dict) and step in value) else None
        steps.append(str(value["name"]) if isinstance(step, int) and isinstance(value, dict) and "name" in value else str(step))
    place = f"{' '.join(steps)} " if steps else ""
    raise Wrong(f"as merged with its sections, the {driver} provider's {place}{fault.message}", tuple(steps[:1]))


def _check_label(label: Mapping[str, Any], objects: Mapping[str, Mapping[str, Settings]], driver: str) -> None:
    for kind in ("image", "flavor"):
        name = label.get(kind)
        if name not in objects[kind]:
            raise Wrong(f'the {kind} "{name}" of the label "{label["name"]}" is not among the provider\'s {kind}s', ("labels",))
    flavor = objects["flavor"][label["flavor"]]
    if driver == "aws" and flavor.get("dedicated-host"):
        if flavor.get("market-type") == "spot":
            raise Wrong(f'label "{label["name"]}": a dedicated host cannot run spot instances', ("labels",))
        if not label.get("az"):
            raise Wrong(f'label "{label["name"]}": a dedicated host needs az, the availability zone', ("labels",))
