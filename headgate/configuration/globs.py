"""Shell globs where a regular expression belongs: `doc/*` means the directory, but matches `doc` with any number of slashes."""

from __future__ import annotations

import re

_REPEATED = re.compile(r"(?:^|(?<!\\)[\w/-]|\*)\*")
"""A star after a plain character repeats that one character, which is hardly ever meant; after a dot, `]` or `)` it may well be."""
_PARTS = re.compile(r"\\.\*?|\.\*|[\])]\*|\*\*/|\*+|\.|.", re.DOTALL)
_SUFFIX = re.compile(r"\.\w+")


def looks_like_glob(pattern: str) -> bool:
    """Is this regular expression probably meant as a glob?"""
    return _REPEATED.search(pattern) is not None


def as_regex(glob: str) -> str:
    """The regular expression that matches what the glob means. What is a regular expression in it already stays."""
    said = {"**/": "(.*/)?", ".": r"\."}
    parts = [said.get(part) or (".*" if part.strip("*") == "" else part) for part in _PARTS.findall(glob)]
    return "".join(parts) + ("$" if _SUFFIX.fullmatch(glob[glob.rfind(".") :]) else "")
