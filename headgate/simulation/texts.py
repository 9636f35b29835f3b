"""Three-way merges of files and of trees, as git's: what only one side changed is taken, what both changed differently conflicts."""

from __future__ import annotations

from collections.abc import Mapping
from difflib import SequenceMatcher

FileTree = Mapping[str, str]
"""Text by path."""


class Conflict(Exception):
    """The sides cannot be merged: the path."""


def merge_trees(base: FileTree, ours: FileTree, theirs: FileTree) -> dict[str, str]:
    """Both sides' changes to `base`. Raises `Conflict`."""
    merged: dict[str, str] = {}
    for path in dict.fromkeys((*ours, *theirs)):
        old, mine, other = base.get(path), ours.get(path), theirs.get(path)
        if mine == other or other == old:
            text = mine
        elif mine == old:
            text = other
        elif old is None or mine is None or other is None:
            raise Conflict(path)
        else:
            text = merge_texts(old, mine, other, path)
        if text is not None:
            merged[path] = text
    return merged


def merge_texts(base: str, ours: str, theirs: str, path: str = "") -> str:
    """One file changed on both sides, line by line; changes that touch each other conflict. Raises `Conflict`."""
    old, mine, other = base.splitlines(True), ours.splitlines(True), theirs.splitlines(True)
    changes = sorted({*_changes(old, mine), *_changes(old, other)})
    merged: list[str] = []
    position = 0
    for number, (start, end, lines) in enumerate(changes):
        if number and start <= changes[number - 1][1]:
            raise Conflict(path)
        merged += [*old[position:start], *lines]
        position = end
    return "".join((*merged, *old[position:]))


def _changes(old: list[str], new: list[str]) -> list[tuple[int, int, tuple[str, ...]]]:
    matcher = SequenceMatcher(None, old, new, autojunk=False)
    return [(start, end, tuple(new[first:last])) for tag, start, end, first, last in matcher.get_opcodes() if tag != "equal"]
