"""How the parsers of single stanzas speak: `Wrong` drops the stanza, a warning is noted and the stanza stays."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any


class Wrong(Exception):
    """The stanza cannot be used: one sentence, and the path to what is wrong in it. `late_name` as in `Complaint`."""

    def __init__(self, message: str, path: tuple[Any, ...] = (), name: str = "Unknown", late_name: str = "") -> None:
        super().__init__(message)
        self.path = path
        self.name = name
        self.late_name = late_name


@dataclass(slots=True)
class Complaint:
    """Something to say about one stanza, not yet about one file: the line is found when the file is known.

    `late_name` is its name instead once a file read before has an inline nodeset: Zuul's parser of nodesets remembers that it saw one.
    """

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
    late_name: str = ""


@dataclass(slots=True)
class Complaints:
    """Collects what is said about the stanzas of one text. `at` sets the stanza that is spoken of."""

    found: list[Complaint] = field(default_factory=list)
    kind: str = ""
    object: str = ""
    index: int = 0
    stanza_line: int = 0
    prefix: tuple[Any, ...] = ()
    inline_nodesets: bool = False
    """Was there a job with an inline nodeset?"""

    def at(self, kind: str, name: Any, index: int, line: int) -> None:
        self.kind, self.object, self.index, self.stanza_line = kind, name if isinstance(name, str) else "", index, line
        self.prefix = ()

    def warn(self, name: str, message: str, path: tuple[Any, ...] = ()) -> None:
        self._add("warning", name, message, path)

    def error(self, name: str, message: str, path: tuple[Any, ...] = (), late_name: str = "") -> None:
        self._add("error", name, message, path, late_name)

    def _add(self, severity: str, name: str, message: str, path: tuple[Any, ...], late_name: str = "") -> None:
        where = (*self.prefix, *path)
        complaint = Complaint(severity, name, message, self.kind, self.object, self.index, self.stanza_line, where, late_name=late_name)
        self.found.append(complaint)
