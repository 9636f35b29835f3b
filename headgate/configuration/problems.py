"""What is wrong, or probably wrong, in a configuration: where, what was found, what is allowed.

A problem is a value: the same problem on many branches is one problem with a tuple of branches (`fold`). `str(problem)` is
what a reviewer reads.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable
from dataclasses import dataclass, replace
from itertools import islice

MOST_NAMES = 10_000
MOST_COMPARED = 300


@dataclass(frozen=True, slots=True)
class Problem:
    """One error or warning. Lines and columns start at 1; 0 means that no line can be named.

    `name` is the kind of problem (`Project Not Found`, `Regex Deprecation`, `Unknown`), stable for tools; `stanza_line` is the line on
    which the whole object starts, `line` the line of the very key or value. `context` is that line of the file.
    """

    severity: str
    name: str
    message: str
    project: str = ""
    branches: tuple[str, ...] = ()
    path: str = ""
    line: int = 0
    column: int = 0
    stanza_line: int = 0
    object: str = ""
    key: str = ""
    context: str = ""
    placeless: bool = False
    """Does Zuul report it without file and line?"""

    @property
    def is_error(self) -> bool:
        return self.severity == "error"

    def __str__(self) -> str:
        place = self.project
        if self.path:
            place += f"/{self.path}" if place else self.path
        if self.line:
            place += f":{self.line}" + (f":{self.column}" if self.column else "")
        if self.branches:
            place += f" ({', '.join(self.branches)})"
        about = self.object + (f", {self.key}" if self.object and self.key else self.key)
        text = f"{place}: " if place else ""
        text += f"{self.severity}: "
        text += f"{about}: {self.message}" if about else self.message
        return text + (f"\n    {self.context}" if self.context else "")


def nearest(word: str, known: Iterable[str]) -> str:
    """`, did you mean "x"?` for the known name most like `word`, or nothing.

    Only so many names of about the same length are compared closely: a hostile file has ten thousand wrong names.
    """
    size = len(word)
    start = {*word[:2]}
    similar = (name for name in islice(known, MOST_NAMES) if isinstance(name, str) and abs(len(name) - size) < 4 and start & {*name[:2]})
    found = difflib.get_close_matches(word, list(islice(similar, MOST_COMPARED)), n=1, cutoff=0.7)
    return f', did you mean "{found[0]}"?' if found else ""


def fold(problems: Iterable[Problem]) -> tuple[Problem, ...]:
    """One problem for each that differs only by its branch, with all its branches, at the place of the first."""
    folded: dict[tuple[str, ...], Problem] = {}
    for problem in problems:
        key = (problem.severity, problem.name, problem.message, problem.project, problem.path, problem.object, problem.key)
        first = folded.get(key)
        if first is None:
            folded[key] = problem
        else:
            new = tuple(branch for branch in problem.branches if branch not in first.branches)
            if new:
                folded[key] = replace(first, branches=first.branches + new)
    return tuple(folded.values())
