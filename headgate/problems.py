"""What goes wrong for a reason a person can mend."""

from __future__ import annotations


class Problem(Exception):
    """One sentence (or a few) for a person: where, what was found, what to do. Shown without a traceback."""


class DatabaseProblem(Problem):
    """The database cannot be used as it is; one sentence with the way out."""
