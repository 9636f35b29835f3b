"""YAML text to stanzas of plain values, as Zuul reads it, with bounds that hostile text cannot exceed.

Only the C parser is used, once for each text. Marks are not kept: the place of a key is found again (`locate`) in the rare case
that there is something to say about it.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from typing import Any, NamedTuple

import yaml

from headgate.configuration.document_building import ValueBuilder, compose
from headgate.configuration.document_values import BadDocument, Encrypted, Override, Stanza, kind_of
from headgate.configuration.problems import nearest

__all__ = ["BadDocument", "Encrypted", "Override", "Place", "Stanza", "kind_of", "load", "locate", "read"]


def load(text: str) -> Any:
    """The plain value of a YAML text. Raises `BadDocument`."""
    root = compose(text)
    return None if root is None else ValueBuilder().value(root)


def read(text: str, kinds: frozenset[str]) -> tuple[list[Stanza], BadDocument | None]:
    """The stanzas of a configuration file, and what stopped the reading, if anything did.

    A text that is not YAML gives no stanza; a list with a wrong item gives those before it, as Zuul does it.
    """
    stanzas: list[Stanza] = []
    try:
        root = compose(text)
        if root is None:
            return [], None
        builder = ValueBuilder()
        value = builder.value(root)
    except BadDocument as bad:
        return [], bad
    if value is None:
        return [], None
    if not isinstance(value, list):
        return [], BadDocument(f'a configuration file is a list of items such as "- job:", found {kind_of(value)}', 1)
    for index, item in enumerate(value):
        mark = root.value[index].start_mark
        bad_item = _wrong_item(item, kinds)
        if bad_item:
            if index + 1 < len(value):
                bad_item += "; nothing after it in this file is read"
            return stanzas, BadDocument(bad_item, mark.line + 1, mark.column + 1)
        ((kind, conf),) = item.items()
        stanzas.append(Stanza(kind, conf, mark.line + 1, index))
    return stanzas, None


def _wrong_item(item: Any, kinds: frozenset[str]) -> str:
    if not isinstance(item, dict):
        return f'every item is a mapping with one key such as "- job:", found {kind_of(item)}'
    if len(item) != 1:
        names = ", ".join(str(key) for key in list(item)[:5]) or "none"
        return f"every item has exactly one key, found {len(item)} ({names}); indent what belongs to the first"
    ((kind, conf),) = item.items()
    if not isinstance(conf, dict):
        return f'"{kind}" must hold a mapping, found {kind_of(conf)}'
    if kind not in kinds:
        return f'"{kind}" is not a kind of configuration; allowed are {", ".join(sorted(kinds))}{nearest(str(kind), kinds)}'
    return ""


@lru_cache(maxsize=4)
def _for_places(text: str) -> tuple[yaml.Node | None, list[str]]:
    """The nodes and lines of a text; a file with one problem often has more."""
    try:
        return compose(text), text.splitlines()
    except BadDocument:
        return None, []


class Place(NamedTuple):
    """Line and column (from 1) and that line's text."""

    line: int
    column: int
    context: str


def locate(text: str, index: int, path: Sequence[Any]) -> Place | None:
    """Where the value at `path` inside stanza `index` (below its kind) stands in the text; the longest part of the path that exists."""
    root, lines = _for_places(text)
    if not isinstance(root, yaml.SequenceNode) or index >= len(root.value):
        return None
    if not isinstance(root.value[index], yaml.MappingNode) or not root.value[index].value:
        return None
    node = root.value[index]
    mark = node.start_mark
    node = node.value[0][1]
    for step in path:
        if isinstance(node, yaml.MappingNode):
            found = [(key, child) for key, child in node.value if key.value == str(step)]
            if not found:
                break
            mark, node = found[0][0].start_mark, found[0][1]
        elif isinstance(node, yaml.SequenceNode) and isinstance(step, int) and step < len(node.value):
            node = node.value[step]
            mark = node.start_mark
        else:
            break
    return Place(mark.line + 1, mark.column + 1, lines[mark.line].strip()[:160] if mark.line < len(lines) else "")
