"""A pipeline stanza to a `Pipeline`. What is allowed depends on which connections there are."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from headgate.configuration.about_pipelines import PIPELINE
from headgate.configuration.driver_shapes import DRIVERS, driver_of
from headgate.configuration.drivers import ref_filter, reporter, triggers
from headgate.configuration.pipelines import Pipeline, RefFilter, Reporter, Trigger
from headgate.configuration.problems import nearest
from headgate.configuration.shapes import FLAG, NOTHING, TEXT, AtLeast, Choice, Either, Fault, Record, Shape, one_or_many
from headgate.configuration.stanza import Complaints, Wrong
from headgate.configuration.tenant_values import as_list

MANAGERS = ("independent", "dependent", "serial", "supercedent")
OCCASIONS = ("enqueue", "start", "success", "failure", "merge-conflict", "no-jobs", "disabled", "dequeue", "config-error")
_FACTOR = AtLeast(1)
_PLAIN: dict[str, Shape] = {
    "name": TEXT,
    "manager": Choice(*MANAGERS),
    "allow-other-connections": FLAG,
    "allow-parameters": FLAG,
    "precedence": Choice("normal", "low", "high"),
    "supercedes": one_or_many(TEXT),
    "description": TEXT,
    **{
        f"{occasion}-message": TEXT
        for occasion in ("success", "failure", "start", "merge-conflict", "enqueue", "no-jobs", "footer", "dequeue")
    },
    "dequeue-on-new-patchset": FLAG,
    "ignore-dependencies": FLAG,
    "post-review": FLAG,
    "disable-after-consecutive-failures": _FACTOR,
    "window": AtLeast(0),
    "window-floor": _FACTOR,
    "window-ceiling": Either(NOTHING, _FACTOR),
    "window-increase-type": Choice("linear", "exponential"),
    "window-increase-factor": _FACTOR,
    "window-decrease-type": Choice("linear", "exponential"),
    "window-decrease-factor": _FACTOR,
}


class _Connections(Shape):
    """A mapping from a connection to what its driver allows in this `role`."""

    called = "a mapping from a connection"

    def __init__(self, role: str, drivers: Mapping[str, str]) -> None:
        self.role = role
        self.drivers = drivers

    def _shape(self, connection: Any) -> Shape | None:
        driver = driver_of(connection, self.drivers) if isinstance(connection, str) else None
        inner: Shape | None = None if driver is None else getattr(DRIVERS[driver], self.role)
        return one_or_many(inner) if inner else None

    def ok(self, value: Any) -> bool:
        if not isinstance(value, dict):
            return False
        shapes = {key: self._shape(key) for key in value}
        return all(shape is not None and shape.ok(value[key]) for key, shape in shapes.items())

    def fault(self, value: Any) -> Fault:

        if not isinstance(value, dict):
            return super().fault(value)
        for key, each in value.items():
            shape = self._shape(key)
            if shape is None:
                known = sorted({*self.drivers, "timer", "zuul"})
                kind = driver_of(key, self.drivers) if isinstance(key, str) else None
                if kind is not None:
                    return Fault((key,), f'the connection "{key}" ({kind}) cannot be used as {self.role}')
                return Fault((key,), f'there is no connection "{key}"{nearest(str(key), known)}; there are {", ".join(known)}')
            if not shape.ok(each):
                return shape.fault(each).under(key)
        return super().fault(value)

    def schema(self) -> dict[str, Any]:
        return {"type": "object"}


def pipeline_shape(drivers: Mapping[str, str]) -> Record:
    """The shape of a pipeline stanza where these connections (name to driver) exist."""
    keys = {
        **_PLAIN,
        "trigger": _Connections("trigger", drivers),
        "require": _Connections("require", drivers),
        "reject": _Connections("reject", drivers),
        **{occasion: _Connections("reporter", drivers) for occasion in OCCASIONS},
    }
    return Record(keys, required=("name", "manager"), about=PIPELINE)


def pipeline(conf: dict[str, Any], drivers: Mapping[str, str], complaints: Complaints) -> Pipeline:
    """A pipeline from its checked mapping. Raises `Wrong`."""
    plain: dict[str, Any] = {key.replace("-", "_"): conf[key] for key in _PLAIN if key in conf and key != "supercedes"}
    reporters: dict[str, Any] = {occasion.replace("-", "_"): _reporters(conf, occasion, drivers) for occasion in OCCASIONS}
    for occasion in ("merge_conflict", "config_error"):
        reporters[occasion] = reporters[occasion] or reporters["failure"]
    ceiling, floor = plain.get("window_ceiling"), plain.get("window_floor", 3)
    if ceiling is not None and ceiling < floor:
        raise Wrong(f"window-ceiling {ceiling} is less than window-floor {floor}", ("window-ceiling",))
    found: list[Trigger] = []
    for connection, given in conf.get("trigger", {}).items():
        found += triggers(connection, driver_of(connection, drivers) or "", given, complaints)
    named = [name for key in ("trigger", "require", "reject", *OCCASIONS) for name in conf.get(key) or {}]
    return Pipeline(
        **plain,
        triggers=tuple(found),
        require=_filters(conf, "require", drivers, complaints),
        reject=_filters(conf, "reject", drivers, complaints),
        supercedes=tuple(as_list(conf.get("supercedes"))),
        connections=tuple(dict.fromkeys(named)),
        builds_images=any(each.options.get("image-built") for group in reporters.values() for each in group),
        **reporters,
    )


def _reporters(conf: dict[str, Any], occasion: str, drivers: Mapping[str, str]) -> tuple[Reporter, ...]:
    made = []
    for connection, given in (conf.get(occasion) or {}).items():
        try:
            made.append(reporter(connection, driver_of(connection, drivers) or "", given))
        except Wrong as wrong:
            raise Wrong(str(wrong), (occasion, *wrong.path)) from wrong
    return tuple(made)


def _filters(conf: dict[str, Any], key: str, drivers: Mapping[str, str], complaints: Complaints) -> tuple[RefFilter, ...]:
    made = []
    for connection, given in conf.get(key, {}).items():
        if not isinstance(given, dict):
            raise Wrong("must be a mapping, found a list", (key, connection))
        made.append(ref_filter(connection, driver_of(connection, drivers) or "", given, (key, connection), complaints))
    return tuple(made)
