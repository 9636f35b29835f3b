"""Which texts of a secret are hidden, and how."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from tasks.ansible.streaming import HIDDEN

SHORTEST = 6
"""Shorter texts would blot out words."""


def texts(value: Any) -> set[str]:
    """Every string in a secret that is worth hiding, line by line."""
    if isinstance(value, Mapping):
        return set().union(*(texts(inner) for inner in value.values()))
    if isinstance(value, list | tuple):
        return set().union(*(texts(inner) for inner in value))
    return {line for line in value.splitlines() if len(line) >= SHORTEST} if isinstance(value, str) else set()


def hidden(text: str, values: Iterable[str]) -> str:
    """`text` without any of `values`."""
    for value in sorted(values, key=len, reverse=True):
        text = text.replace(value, HIDDEN.decode())
    return text
