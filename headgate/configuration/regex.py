"""Regular expressions of a configuration: RE2, matched from the start of the text, not necessarily to its end.

A pattern that only a Perl-style engine understands (look-ahead, back-reference) still works, with a warning, as Zuul does it; such
a match is bounded in time because proposed configuration is hostile.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import re2
import regex  # type: ignore[import-untyped]  # it ships no types

from headgate.configuration.globs import as_regex, looks_like_glob

LONGEST_PATTERN = 10_000
SECONDS_PER_MATCH = 0.5


class BadRegex(Exception):
    """The pattern is no regular expression: one sentence."""


class RegexTooSlow(Exception):
    """A Perl-style pattern needed more time than a configuration may take."""


@dataclass(frozen=True, slots=True)
class _Compiled:
    engine: Any
    re2_complaint: str = ""

    @property
    def is_re2(self) -> bool:
        return not self.re2_complaint


@lru_cache(maxsize=65536)
def _compiled(pattern: str) -> _Compiled:
    if len(pattern) > LONGEST_PATTERN:
        raise BadRegex(f"a regular expression of {len(pattern)} characters is too long, at most {LONGEST_PATTERN} are allowed")
    options = re2.Options()
    options.log_errors = False
    try:
        return _Compiled(re2.compile(pattern, options=options))
    except re2.error as refused:
        complaint = refused.args[0] if refused.args else "not RE2 syntax"
        if isinstance(complaint, bytes):
            complaint = complaint.decode("utf8", "replace")
    try:
        re.compile(pattern)  # decides what is allowed; the other engine accepts more, and can be stopped
        return _Compiled(regex.compile(pattern), str(complaint))
    except (re.error, regex.error, OverflowError, RecursionError) as wrong:
        cure = f', did you mean "{as_regex(pattern)}"?' if looks_like_glob(pattern) else ""
        raise BadRegex(f'"{pattern}" is not a regular expression: {wrong}{cure}') from wrong


@dataclass(frozen=True, slots=True)
class Regex:
    """A pattern, perhaps negated. Construct through `make`, which checks it."""

    pattern: str
    negate: bool = False

    @classmethod
    def make(cls, value: str | dict[str, Any]) -> Regex:
        """From a string or `{regex: x, negate: y}`. Raises `BadRegex`."""
        made = cls(value) if isinstance(value, str) else cls(value["regex"], bool(value.get("negate", False)))
        _compiled(made.pattern)
        return made

    @property
    def complaint(self) -> str:
        """Why RE2 refused it, or "" for a pattern it accepts."""
        return _compiled(self.pattern).re2_complaint

    def match(self, text: str) -> bool:
        """Does it match from the start of `text`? Raises `RegexTooSlow` (only Perl-style patterns can)."""
        return self._run("match", text) != self.negate

    def search(self, text: str) -> bool:
        return self._run("search", text) != self.negate

    def fullmatch(self, text: str) -> bool:
        return self._run("fullmatch", text) != self.negate

    def _run(self, how: str, text: str) -> bool:
        compiled = _compiled(self.pattern)
        if compiled.is_re2:
            return getattr(compiled.engine, how)(text) is not None
        try:
            return getattr(compiled.engine, how)(text, timeout=SECONDS_PER_MATCH) is not None
        except TimeoutError as slow:
            raise RegexTooSlow(
                f'the regular expression "{self.pattern}" took longer than {SECONDS_PER_MATCH} s, write it in RE2 syntax'
            ) from slow

    def __str__(self) -> str:
        return f"not {self.pattern}" if self.negate else self.pattern
