"""From a YAML text to plain values, with bounds that hostile text cannot exceed. Only the C parser is used."""

from __future__ import annotations

import base64
import binascii
import operator
from typing import Any, ClassVar

import yaml

from headgate.configuration.document_values import BadDocument, Encrypted, Override

MOST_CHARACTERS = 1_500_000
MOST_DEPTH = 60
MOST_VALUES = 500_000

_STR = "tag:yaml.org,2002:str"
_MAP = "tag:yaml.org,2002:map"
_SEQ = "tag:yaml.org,2002:seq"
_MERGE = "tag:yaml.org,2002:merge"
UNSAFE = "!unsafe"


_RESOLVER = yaml.resolver.Resolver()


_SIMPLE = frozenset(f"tag:yaml.org,2002:{name}" for name in ("bool", "int", "float", "null"))
_KNOWN: dict[tuple[str, str] | None, Any] = {}
_MOST_KNOWN = 20_000


class _Loader(yaml.CSafeLoader):
    """PyYAML's, but remembering what kind a plain scalar is: most of them come again and again."""

    _kinds: ClassVar[dict[str, str]] = {}

    def resolve(self, kind: type[yaml.Node], value: Any, implicit: Any) -> Any:
        if kind is not yaml.ScalarNode:
            return _MAP if kind is yaml.MappingNode else _SEQ
        if not implicit[0]:
            return _STR
        found = self._kinds.get(value)
        if found is None:
            found = super().resolve(kind, value, implicit)  # type: ignore[no-untyped-call]  # PyYAML's
            if len(self._kinds) < _MOST_KNOWN:
                self._kinds[value] = found
        return found

    # No resolver here depends on the path, and these two are called for every value: functions of C that do nothing are the cheapest.
    descend_resolver = operator.is_  # type: ignore[assignment]  # its result is not looked at
    ascend_resolver = int  # type: ignore[assignment]  # likewise


class ValueBuilder:
    """Builds plain values from composed nodes. One for each document."""

    def __init__(self) -> None:
        self.scalars = yaml.constructor.SafeConstructor()
        self.built: dict[int, Any] = {}
        self.sizes: dict[int, int] = {}
        self.total = 0

    def value(self, node: yaml.Node, depth: int = 0) -> Any:
        tag = node.tag
        if tag == _STR and isinstance(node, yaml.ScalarNode):
            return node.value
        if isinstance(node, yaml.ScalarNode):
            return self._scalar(node)
        identity = id(node)
        if identity in self.built:
            self._count(self.sizes.get(identity, 0), node)
            return self.built[identity]
        if identity in self.sizes:
            raise _bad("found an alias to a value that contains itself", node)
        if depth > MOST_DEPTH:
            raise _bad(f"nested deeper than {MOST_DEPTH} levels", node)
        self.sizes[identity] = 0
        before = self.total
        self._count(1, node)
        built = self._collection(node, tag, depth)
        self.sizes[identity] = self.total - before
        self.built[identity] = built
        return built

    def _count(self, more: int, node: yaml.Node) -> None:
        self.total += more
        if self.total > MOST_VALUES:
            raise _bad(f"aliases expand to more than {MOST_VALUES} values", node)

    def _collection(self, node: yaml.Node, tag: str, depth: int) -> Any:
        if isinstance(node, yaml.MappingNode) and tag == _MAP:
            return self._mapping(node, depth)
        if isinstance(node, yaml.SequenceNode) and tag == _SEQ:
            self._count(len(node.value), node)
            value = self.value
            return [
                child.value if child.tag == _STR and isinstance(child, yaml.ScalarNode) else value(child, depth + 1) for child in node.value
            ]
        if tag in ("!override", "!inherit"):
            inner: Any
            if isinstance(node, yaml.MappingNode):
                inner = self._mapping(node, depth)
            else:
                inner = [self.value(child, depth + 1) for child in node.value]
            return Override(inner, tag == "!override")
        if tag == "!encrypted/pkcs1-oaep" and isinstance(node, yaml.SequenceNode):
            return Encrypted(tuple(_decoded(child) for child in node.value))
        return self._standard(node)

    def _mapping(self, node: yaml.MappingNode, depth: int) -> dict[Any, Any]:
        for key, _ in node.value:
            if key.tag == _MERGE:
                _refuse_twice(node)
                self._flatten(node)
                break
        self._count(len(node.value), node)
        built = {}
        strings = True
        scalar = yaml.ScalarNode
        for key, child in node.value:
            if key.tag == _STR and type(key) is scalar:
                name = key.value
            else:
                name = self.value(key, depth + 1)
                strings = False
            try:
                if child.tag == _STR and type(child) is scalar:
                    built[name] = child.value
                else:
                    built[name] = self.value(child, depth + 1)
            except TypeError:
                raise _bad("a key must be a single value; quote a value that starts with a brace", key) from None
        if not strings or len(built) != len(node.value):
            _refuse_twice(node)
        return built

    def _flatten(self, node: yaml.MappingNode) -> None:
        """Resolve merge keys in place."""
        try:
            self.scalars.flatten_mapping(node)
        except yaml.MarkedYAMLError as wrong:
            raise _from_yaml(wrong) from wrong
        kept: dict[str, tuple[yaml.Node, yaml.Node]] = {}
        for position, (key, child) in enumerate(node.value):
            kept[key.value if isinstance(key.value, str) else f"\0{position}"] = (key, child)
        node.value = list(kept.values())

    def _scalar(self, node: yaml.ScalarNode) -> Any:
        if node.tag in ("!override", "!inherit"):
            return self._override_scalar(node)
        if node.tag == "!encrypted/pkcs1-oaep":
            return Encrypted((_decoded(node),))
        return self._standard(node)

    def _override_scalar(self, node: yaml.ScalarNode) -> Override:
        resolved = _RESOLVER.resolve(yaml.ScalarNode, node.value, (True, False))  # type: ignore[no-untyped-call]  # PyYAML's
        if resolved != _STR:
            raise _bad(f"{node.tag} may be given to a string, list or mapping only, found {node.value!r}", node)
        return Override(node.value, node.tag == "!override")

    def _standard(self, node: yaml.Node) -> Any:
        key = (node.tag, node.value) if isinstance(node, yaml.ScalarNode) and node.tag in _SIMPLE else None
        if key in _KNOWN:
            return _KNOWN[key]
        value = self._constructed(node)
        if key is not None and len(_KNOWN) < _MOST_KNOWN:
            _KNOWN[key] = value
        return value

    def _constructed(self, node: yaml.Node) -> Any:
        try:
            return self.scalars.construct_object(node, deep=True)
        except yaml.MarkedYAMLError as wrong:
            if node.tag == UNSAFE:
                # Zuul's loader (14.3, `zuul.lib.yamlutil`) knows the tag in what it writes for Ansible only
                raise _bad(
                    f"{UNSAFE} is Ansible's: it stands in playbooks and vars files, a value here is written without it", node
                ) from wrong
            raise _from_yaml(wrong) from wrong
        except (ValueError, TypeError, OverflowError, RecursionError, AttributeError, KeyError, IndexError) as wrong:
            raise _bad(f"{getattr(node, 'value', '')!s:.60} is not a value of YAML type {node.tag}: {wrong}", node) from wrong


def _refuse_twice(node: yaml.MappingNode) -> None:
    """Raises `BadDocument` for a key that is written twice."""
    seen = set()
    for key, _ in node.value:
        if key.value == "<<" or not isinstance(key.value, str):
            continue
        if key.value in seen:
            mark = key.start_mark
            raise BadDocument(
                f'the key "{key.value}" appears twice in one mapping', mark.line + 1, mark.column + 1, node.start_mark.line + 1
            )
        seen.add(key.value)


def _decoded(node: yaml.Node) -> bytes:
    try:
        return base64.b64decode(node.value)
    except (binascii.Error, TypeError, ValueError) as wrong:
        raise _bad("an encrypted value must be base64 text or a list of such", node) from wrong


def _bad(message: str, node: yaml.Node) -> BadDocument:
    return BadDocument(message, node.start_mark.line + 1, node.start_mark.column + 1)


def _from_yaml(wrong: yaml.MarkedYAMLError) -> BadDocument:
    mark = wrong.problem_mark or wrong.context_mark
    sentence = " ".join(str(part).strip() for part in (wrong.context, wrong.problem) if part)
    return BadDocument(f"not YAML: {sentence}", mark.line + 1 if mark else 0, mark.column + 1 if mark else 0)


LONGEST_LINE = 2000
"""In block style depth costs characters of a line or whole lines, so only a longer line, or many brackets, can be deep."""


def compose(text: str) -> yaml.Node | None:
    """The root node of the only document. Raises `BadDocument`."""
    if len(text) > MOST_CHARACTERS:
        raise BadDocument(f"the file has {len(text)} characters, at most {MOST_CHARACTERS} are read")
    try:
        if text.count("[") + text.count("{") > MOST_DEPTH or max(map(len, text.split("\n"))) > LONGEST_LINE:
            _refuse_depth(text)  # the C composer recurses without a bound of its own
        return yaml.compose(text, Loader=_Loader)
    except yaml.MarkedYAMLError as wrong:
        raise _from_yaml(wrong) from wrong
    except yaml.YAMLError as wrong:
        raise BadDocument(f"not YAML: {' '.join(str(wrong).split())}") from wrong
    except UnicodeEncodeError as wrong:
        line = text.count("\n", 0, wrong.start) + 1
        column = wrong.start - text.rfind("\n", 0, wrong.start)
        raise BadDocument("the file is not UTF-8, nothing of it is read", line, column) from wrong
    except (ValueError, RecursionError) as wrong:
        raise BadDocument(f"not YAML: {wrong}") from wrong


def _refuse_depth(text: str) -> None:
    depth = 0
    for event in yaml.parse(text, Loader=yaml.CSafeLoader):
        if isinstance(event, yaml.CollectionStartEvent):
            depth += 1
            if depth > MOST_DEPTH:
                mark = event.start_mark
                place = (mark.line + 1, mark.column + 1) if mark else (0, 0)
                raise BadDocument(f"nested deeper than {MOST_DEPTH} levels", *place)
        elif isinstance(event, yaml.CollectionEndEvent):
            depth -= 1
