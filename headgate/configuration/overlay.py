"""A dictionary over another: what a speculative layout changes, on top of the tenant's, whose size it does not pay for."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Generic, TypeVar

K = TypeVar("K")
V = TypeVar("V")


class Overlay(Generic[K, V]):
    """`base` is shared and never changed once it is another's; `changed` is this one's own, `None` there removes."""

    __slots__ = ("base", "changed")

    def __init__(self, base: dict[K, V] | None = None, changed: dict[K, V | None] | None = None) -> None:
        self.base: dict[K, V] = {} if base is None else base
        self.changed: dict[K, V | None] = {} if changed is None else changed

    def get(self, key: K) -> V | None:
        if self.changed and key in self.changed:
            return self.changed[key]
        return self.base.get(key)

    def __contains__(self, key: K) -> bool:
        return self.get(key) is not None

    def __iter__(self) -> Iterator[K]:
        for key in self.base:
            if key not in self.changed:
                yield key
        for key, value in self.changed.items():
            if value is not None:
                yield key

    def items(self) -> Iterator[tuple[K, V]]:
        for key in self:
            value = self.get(key)
            if value is not None:
                yield key, value

    def over(self) -> Overlay[K, V]:
        """A dictionary that starts equal to this one and may be changed without changing it."""
        return Overlay(self.base, dict(self.changed))

    def put(self, key: K, value: V | None) -> None:
        self.changed[key] = value
