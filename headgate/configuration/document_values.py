"""What YAML texts hold beside plain values, and what a reader would call any of it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any


class BadDocument(Exception):
    """The text cannot be read at all (or not further than `stanzas`): one sentence, with a line (from 1) and column when known."""

    def __init__(self, message: str, line: int = 0, column: int = 0, stanza_line: int = 0, name: str = "Unknown") -> None:
        super().__init__(message)
        self.line = line
        self.column = column
        self.stanza_line = stanza_line
        self.name = name


@dataclass(frozen=True, slots=True)
class Override:
    """A value under `!override` (`replace` true) or `!inherit` (false)."""

    value: Any
    replace: bool


@dataclass(frozen=True, slots=True)
class Encrypted:
    """A value under `!encrypted/pkcs1-oaep`: chunks, each encrypted with the project's RSA key."""

    chunks: tuple[bytes, ...]


@dataclass(frozen=True, slots=True)
class Stanza:
    """One item of a configuration file: `kind` is its only key, `line` (from 1) where it starts, `index` its place in the list."""

    kind: str
    conf: dict[str, Any]
    line: int
    index: int


def kind_of(value: Any) -> str:
    """`a list`, `the number 3`, `the string "x"`: what a reader would call a value."""
    if value is None:
        return "nothing"
    if isinstance(value, bool):
        return f"the boolean {str(value).lower()}"
    if isinstance(value, (int, float)):
        return f"the number {str(value)[:40]}"
    if isinstance(value, str):
        return f'the string "{value[:40]}"'
    if isinstance(value, dict):
        return "a mapping"
    if isinstance(value, (list, tuple)):
        return "a list"
    if isinstance(value, Override):
        return "a value under !override or !inherit"
    if isinstance(value, Encrypted):
        return "an encrypted value"
    return f"a {type(value).__name__}"
