"""How the parsers of single stanzas speak: `Wrong` drops the stanza, a warning is noted and the stanza stays."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any


class Wrong(Exception):
    """The stanza cannot be used: one sentence, and the path to what is wrong in it."""

    def __init__(self, message: str, path: tuple[Any, ...] = (), name: str = "Unknown") -> None:
        super().__init__(message)
        self.path = path
        self.name = name


@dataclass(slots=True)
class Complaint:
    """Something to say about one stanza, not yet about one file: the line is found when the file is known."""

    severity: str
    name: str
    message: str
    kind: str
    object: str
    index: int
    stanza_line: int
    path: tuple[Any, ...] = ()
    line: int = 0
    column: int = 0


@dataclass(slots=True)
class Complaints:
    """Collects what is said about the stanzas of one text. `at` sets the stanza that is spoken of."""

    found: list[Complaint] = field(default_factory=list)
    kind: str = ""
    object: str = ""
    index: int = 0
    stanza_line: int = 0
    prefix: tuple[Any, ...] = ()

    def at(self, kind: str, name: Any, index: int, line: int) -> None:
        self.kind, self.object, self.index, self.stanza_line = kind, name if isinstance(name, str) else "", index, line
        self.prefix = ()

    def warn(self, name: str, message: str, path: tuple[Any, ...] = ()) -> None:
        self._add("warning", name, message, path)

    def error(self, name: str, message: str, path: tuple[Any, ...] = ()) -> None:
        self._add("error", name, message, path)

    def _add(self, severity: str, name: str, message: str, path: tuple[Any, ...]) -> None:
        where = (*self.prefix, *path)
        self.found.append(Complaint(severity, name, message, self.kind, self.object, self.index, self.stanza_line, where))
