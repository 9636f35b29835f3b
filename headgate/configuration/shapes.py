"""A small language for the shapes a configuration may have: what is allowed, said once.

A shape answers three things from one definition: is this value allowed (`ok`, fast: nearly every value is), why not and where
(`fault`), and what an editor should know (`schema`, JSON Schema).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from headgate.configuration.document_values import Override, kind_of
from headgate.configuration.problems import nearest


@dataclass(frozen=True, slots=True)
class Fault:
    """Why a value is not allowed: `path` leads to it from the value that was checked, `known` are names that would have been."""

    path: tuple[Any, ...]
    message: str

    def under(self, step: Any) -> Fault:
        return Fault((step, *self.path), self.message)


class Shape:
    """What a value may be. `called` is how a sentence names it: `a string`, `a list of strings`."""

    called = "a value"

    def ok(self, value: Any) -> bool:
        raise NotImplementedError

    def fault(self, value: Any) -> Fault:
        """Why `value`, for which `ok` was false, is not allowed."""
        return Fault((), f"must be {self.called}, found {kind_of(value)}{self.hint(value)}")

    def hint(self, value: Any) -> str:
        """`, did you mean "x"?` where one of the literal values allowed is near."""
        return ""

    def schema(self) -> dict[str, Any]:
        raise NotImplementedError


class OfType(Shape):
    """Anything of some Python types."""

    def __init__(self, called: str, types: tuple[type, ...], schema: dict[str, Any]) -> None:
        self.called = called
        self.types = types
        self._schema = schema

    def ok(self, value: Any) -> bool:
        return isinstance(value, self.types)

    def schema(self) -> dict[str, Any]:
        return dict(self._schema)


TEXT = OfType("a string", (str,), {"type": "string"})
WHOLE = OfType("a whole number", (int,), {"type": "integer"})
FLAG = OfType("true or false", (bool,), {"type": "boolean"})
NUMBER_OR_TEXT = OfType("a string or a number", (str, int, float), {"type": ["string", "number"]})
SCALAR = OfType("a string, number or boolean", (str, int, float, bool), {"type": ["string", "number", "boolean"]})
MAPPING = OfType("a mapping", (dict,), {"type": "object"})
NOTHING = OfType("nothing", (type(None),), {"type": "null"})
ANYTHING = OfType("anything", (object,), {})


class AtLeast(Shape):
    """A whole number with a lower bound."""

    def __init__(self, least: int) -> None:
        self.least = least
        self.called = f"a whole number of at least {least}"

    def ok(self, value: Any) -> bool:
        return isinstance(value, int) and value >= self.least

    def schema(self) -> dict[str, Any]:
        return {"type": "integer", "minimum": self.least}


class Choice(Shape):
    """One of some literal values."""

    def __init__(self, *allowed: Any) -> None:
        self.allowed = allowed
        self.called = "one of " + ", ".join(str(value).lower() if isinstance(value, bool) else str(value) for value in allowed)

    def ok(self, value: Any) -> bool:
        return any(value == each for each in self.allowed) if not isinstance(value, (dict, list)) else False

    def hint(self, value: Any) -> str:
        return nearest(value, self.allowed) if isinstance(value, str) else ""

    def schema(self) -> dict[str, Any]:
        return {"enum": list(self.allowed)}


class Either(Shape):
    """Any of several shapes; the fault is that of the one which fits best."""

    def __init__(self, *shapes: Shape) -> None:
        self.shapes = shapes
        self.called = " or ".join(shape.called for shape in shapes)

    def ok(self, value: Any) -> bool:
        for shape in self.shapes:  # noqa: SIM110 - any() costs twice as much, and this runs for every value
            if shape.ok(value):
                return True
        return False

    def fault(self, value: Any) -> Fault:
        deeper = [fault for fault in (shape.fault(value) for shape in self.shapes) if fault.path]
        return max(deeper, key=lambda fault: len(fault.path)) if deeper else super().fault(value)

    def hint(self, value: Any) -> str:
        return next(filter(None, (shape.hint(value) for shape in self.shapes)), "")

    def schema(self) -> dict[str, Any]:
        return {"anyOf": [shape.schema() for shape in self.shapes]}


class ListOf(Shape):
    def __init__(self, item: Shape) -> None:
        self.item = item
        self.called = f"a list of {item.called}"

    def ok(self, value: Any) -> bool:
        if not isinstance(value, list):
            return False
        check = self.item.ok
        for each in value:  # noqa: SIM110 - all() costs twice as much, and this runs for every value
            if not check(each):
                return False
        return True

    def fault(self, value: Any) -> Fault:
        if not isinstance(value, list):
            return super().fault(value)
        for position, each in enumerate(value):
            if not self.item.ok(each):
                return self.item.fault(each).under(position)
        return super().fault(value)

    def schema(self) -> dict[str, Any]:
        return {"type": "array", "items": self.item.schema()}


class OneOrMany(Shape):
    """One value, or a list of such values."""

    def __init__(self, item: Shape) -> None:
        self.item = item
        self.many = ListOf(item)
        self.called = f"{item.called}, or a list of such"

    def ok(self, value: Any) -> bool:
        return self.many.ok(value) if isinstance(value, list) else self.item.ok(value)

    def fault(self, value: Any) -> Fault:
        fault = self.many.fault(value) if isinstance(value, list) else self.item.fault(value)
        return fault if fault.path else super().fault(value)

    def hint(self, value: Any) -> str:
        return self.item.hint(value)

    def schema(self) -> dict[str, Any]:
        return {"anyOf": [self.item.schema(), self.many.schema()]}


one_or_many = OneOrMany


class Overridable(Shape):
    """A value that may stand under `!override` or `!inherit`."""

    def __init__(self, inner: Shape) -> None:
        self.inner = inner
        self.called = inner.called

    def ok(self, value: Any) -> bool:
        return self.inner.ok(value.value if isinstance(value, Override) else value)

    def fault(self, value: Any) -> Fault:
        return self.inner.fault(value.value if isinstance(value, Override) else value)

    def schema(self) -> dict[str, Any]:
        return self.inner.schema()


class Record(Shape):
    """A mapping with known keys; `rest` is the shape of every other (string) key's value, if any. `about` tells editors what keys mean."""

    def __init__(
        self,
        keys: Mapping[str, Shape],
        required: Iterable[str] = (),
        rest: Shape | None = None,
        called: str = "a mapping",
        ignored: Iterable[str] = (),
        about: Mapping[str, str] | None = None,
    ) -> None:
        self.about = about or {}
        self.keys = dict(keys)
        self.checks = {key: shape.ok for key, shape in self.keys.items()}
        self.required = tuple(required)
        self.rest = rest
        self.called = called
        self.ignored = frozenset(ignored)

    def ok(self, value: Any) -> bool:
        if not isinstance(value, dict):
            return False
        checks = self.checks
        for key, each in value.items():
            check = checks.get(key)
            if check is None:
                if self.rest is None or not isinstance(key, str) or not self.rest.ok(each):
                    return False
            elif not check(each):
                return False
        for key in self.required:  # noqa: SIM110 - all() costs twice as much, and this runs for every value
            if key not in value:
                return False
        return True

    def fault(self, value: Any) -> Fault:
        if not isinstance(value, dict):
            return super().fault(value)
        for key, each in value.items():
            shape = self.keys.get(key, self.rest)
            if shape is None or (key not in self.keys and not isinstance(key, str)):
                hint = nearest(str(key), self.keys) or f"; allowed are {', '.join(sorted(self.keys)) or 'no keys'}"
                return Fault((key,), f'"{key}" is not allowed here{hint}')
            if not shape.ok(each):
                inner = shape.fault(each)
                hint = nearest(key, self.keys) if key not in self.keys and not inner.path else ""
                return Fault((key, *inner.path), inner.message + hint)
        missing = next((key for key in self.required if key not in value), "")
        return Fault((), f'"{missing}" is required')

    def schema(self) -> dict[str, Any]:
        said = {key: {"description": self.about[key]} if key in self.about else {} for key in self.keys}
        schema: dict[str, Any] = {"type": "object", "properties": {key: said[key] | shape.schema() for key, shape in self.keys.items()}}
        if self.required:
            schema["required"] = list(self.required)
        schema["additionalProperties"] = self.rest.schema() if self.rest else False
        return schema


class MappingOf(Shape):
    """A mapping whose keys pass `key_fault` (a sentence, or "" when fine; `pattern` says the same to an editor) and whose values have
    one shape."""

    def __init__(self, item: Shape, key_fault: Callable[[Any], str] | None = None, called: str = "a mapping", pattern: str = "") -> None:
        self.item = item
        self.key_fault = key_fault or (lambda key: "" if isinstance(key, str) else f"a key must be a string, found {kind_of(key)}")
        self.called = called
        self.pattern = pattern

    def ok(self, value: Any) -> bool:
        if not isinstance(value, dict):
            return False
        return all(not self.key_fault(key) and self.item.ok(each) for key, each in value.items())

    def fault(self, value: Any) -> Fault:
        if not isinstance(value, dict):
            return super().fault(value)
        for key, each in value.items():
            if sentence := self.key_fault(key):
                return Fault((key,), sentence)
            if not self.item.ok(each):
                return self.item.fault(each).under(key)
        return super().fault(value)

    def schema(self) -> dict[str, Any]:
        names = {"propertyNames": {"pattern": self.pattern}} if self.pattern else {}
        return {"type": "object", "additionalProperties": self.item.schema(), **names}


class Named(Shape):
    """A string that must pass a test of its own (`sentence` says what is wrong, or "")."""

    def __init__(self, called: str, sentence: Callable[[str], str], pattern: str = "") -> None:
        self.called = called
        self.sentence = sentence
        self.pattern = pattern

    def ok(self, value: Any) -> bool:
        return isinstance(value, str) and not self.sentence(value)

    def fault(self, value: Any) -> Fault:
        return Fault((), self.sentence(value)) if isinstance(value, str) else super().fault(value)

    def schema(self) -> dict[str, Any]:
        return {"type": "string", "pattern": self.pattern} if self.pattern else {"type": "string"}
