"""Tells the executor, while a playbook still runs, what already decides about its build: a task has failed, a line is one of the job's
failure-output, a host cannot be reached any more.

Each word is one line of a pipe, `WORD DETAIL`. Every process of the playbook writes to it; what the words mean is the executor's to say.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Sequence
from typing import Any

import re2

FAILED, MATCHED, UNREACHABLE = "failed", "matched", "unreachable"
LONGEST = 2000
"""Bytes of a word with its detail: less than what a pipe takes in one piece, so that words of several processes never mix."""


class Telling:
    """The executor's ear during one playbook. Without a descriptor nobody listens."""

    def __init__(self, descriptor: int = -1, expressions: Sequence[str] = ()) -> None:
        self.descriptor = descriptor
        self.expressions = [(text, re2.compile(text)) for text in expressions] if descriptor >= 0 else []

    def tell(self, word: str, detail: str) -> None:
        if self.descriptor >= 0:
            line = f"{word} {' '.join(detail.split())}".encode(errors="replace")[:LONGEST]
            with contextlib.suppress(OSError):  # nobody listens any more, or somebody floods it: the build's end will tell
                os.write(self.descriptor, line + b"\n")

    def look(self, lines: Sequence[bytes]) -> None:
        """Tell of the first of `lines` that begins with what one of the expressions matches."""
        for line in lines if self.expressions else ():
            said = line.decode(errors="replace")
            for text, expression in self.expressions:
                if expression.match(said):
                    self.tell(MATCHED, text)
                    self.expressions = []
                    return


def may_be_rescued(task: Any) -> bool:
    """Is the task in a block that has a rescue section, however far above?"""
    parent = task._parent
    while parent is not None:
        if getattr(parent, "rescue", None):
            return True
        parent = getattr(parent, "_parent", None)
    return False
