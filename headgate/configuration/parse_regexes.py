"""Patterns of a configuration, checked."""

from __future__ import annotations

from typing import Any

from headgate.configuration.document_values import kind_of
from headgate.configuration.regex import BadRegex, Regex
from headgate.configuration.stanza import Complaints, Wrong


def regexes(values: list[Any], path: tuple[Any, ...], complaints: Complaints) -> tuple[Regex, ...]:
    """Checked patterns, with a warning for each that is not RE2. Raises `Wrong`."""
    made = []
    for value in values:
        regex = checked_regex(value, path)
        if regex.complaint:
            complaints.warn(
                "Regex Deprecation", f'"{regex.pattern}" is not RE2 syntax ({regex.complaint}): negate: true replaces a look-ahead', path
            )
        made.append(regex)
    return tuple(made)


def checked_regex(value: Any, path: tuple[Any, ...]) -> Regex:
    """A pattern that compiles. Raises `Wrong`."""
    try:
        return Regex.make(value)
    except BadRegex as bad:
        raise Wrong(str(bad), path) from bad
    except (TypeError, KeyError) as bad:
        raise Wrong(f"must be a regular expression, found {kind_of(value)}", path) from bad
