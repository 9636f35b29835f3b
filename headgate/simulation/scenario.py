"""A scenario: steps to play, checked before any is played."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from headgate.configuration.problems import nearest
from headgate.problems import Problem


class BadScenario(Problem):
    """A scenario that cannot be played: which step, what is wrong, what is allowed."""


@dataclass(frozen=True, slots=True)
class Shape:
    """What a step must and may say."""

    required: tuple[str, ...] = ()
    optional: tuple[str, ...] = ()


STEPS = {
    "change": Shape(("id", "project"), ("branch", "subject", "files", "parent", "depends_on", "topic")),
    "approve": Shape(("id", "label", "value"), ("event",)),
    "event": Shape(("id",)),
    "patchset": Shape(("id",), ("files",)),
    "comment": Shape(("id", "text")),
    "abandon": Shape(("id",)),
    "submit": Shape(("id",)),
    "fail": Shape(("job", "id")),
    "hold": Shape(("on",)),
    "release": Shape((), ("regex", "id")),
    "conflict": Shape(("id",)),
    "hold_nodes": Shape(("on",)),
    "dequeue": Shape(("pipeline",), ("id", "ids", "tenant")),
    "enqueue": Shape(("pipeline",), ("id", "ids", "tenant")),
    "promote": Shape(("pipeline",), ("id", "ids", "tenant")),
    "ref": Shape(("project", "ref"), ("branch", "deleted")),
    "time": Shape(("seconds",), ("timers",)),
    "snapshot": Shape((), ("label",)),
}
"""Every step's `op` and its other keys; `nosettle` goes with any."""


@dataclass(frozen=True, slots=True)
class Step:
    op: str
    values: Mapping[str, Any]
    settle: bool = True

    def get(self, name: str, default: Any = None) -> Any:
        return self.values.get(name, default)

    @property
    def ids(self) -> list[str]:
        """The changes it is about."""
        given = self.values.get("ids")
        return list(given) if given is not None else [self.values["id"]]


@dataclass(frozen=True, slots=True)
class Scenario:
    """`config` is a directory as written in the file."""

    config: str
    steps: tuple[Step, ...]


def parse_scenario(value: Any) -> Scenario:
    """From parsed JSON. Raises `BadScenario`."""
    if not isinstance(value, dict) or not isinstance(value.get("config"), str) or not isinstance(value.get("steps"), list):
        raise BadScenario('a scenario is {"config": DIRECTORY, "steps": [...]}')
    made: set[str] = set()
    return Scenario(value["config"], tuple(_step(number, step, made) for number, step in enumerate(value["steps"], 1)))


def _step(number: int, value: Any, made: set[str]) -> Step:
    op = value.get("op") if isinstance(value, dict) else None
    if op not in STEPS:
        raise BadScenario(f'step {number}: no op "{op}"{nearest(str(op), STEPS)}; allowed are {", ".join(STEPS)}')
    shape = STEPS[op]
    for name in shape.required:
        if name not in value:
            raise BadScenario(f'step {number}: {op} needs "{name}"')
    for name in value:
        if name not in ("op", "nosettle", *shape.required, *shape.optional):
            allowed = ", ".join((*shape.required, *shape.optional)) or "nothing else"
            raise BadScenario(f'step {number}: {op} has no "{name}"; allowed are {allowed}')
    if op in ("dequeue", "enqueue", "promote") and not {"id", "ids"} & set(value):
        raise BadScenario(f'step {number}: {op} needs "id" or "ids"')
    _known_changes(number, op, value, made)
    return Step(op, {name: each for name, each in value.items() if name not in ("op", "nosettle")}, not value.get("nosettle", False))


def _known_changes(number: int, op: str, value: Mapping[str, Any], made: set[str]) -> None:
    named = [value["id"]] if value.get("id") is not None else []
    named += value.get("ids") or []
    if op == "change":
        if value["id"] in made:
            raise BadScenario(f'step {number}: there is a change "{value["id"]}" already')
        made.add(value["id"])
        named = [value["parent"]] if value.get("parent") is not None else []
    for each in named:
        if each not in made:
            raise BadScenario(f'step {number}: no change "{each}" has been made before{nearest(str(each), made)}')
