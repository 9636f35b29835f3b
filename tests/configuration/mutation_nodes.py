"""YAML nodes of configurations, and what a corpus says where."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator

import yaml


class Pool:
    """Values seen in a corpus below a kind and a key, as nodes."""

    def __init__(self) -> None:
        self.keys: dict[tuple[str, str], list[str]] = defaultdict(list)
        self.values: dict[tuple[str, str], list[yaml.Node]] = defaultdict(list)
        self.stanzas: list[yaml.Node] = []

    def learn(self, text: str) -> None:
        """Take in a file; one that is not YAML teaches nothing."""
        root = composed(text)
        for node, kind, conf in stanzas(root):
            if len(self.stanzas) < 4000:
                self.stanzas.append(node)
            self._learn(conf, kind, kind)

    def _learn(self, node: yaml.Node, kind: str, key: str, depth: int = 0) -> None:
        if depth > 8:
            return
        if isinstance(node, yaml.MappingNode):
            for name, child in node.value:
                if isinstance(name.value, str):
                    if name.value not in self.keys[kind, key]:
                        self.keys[kind, key].append(name.value)
                    if len(self.values[kind, name.value]) < 60:
                        self.values[kind, name.value].append(child)
                    self._learn(child, kind, name.value, depth + 1)
        elif isinstance(node, yaml.SequenceNode):
            for child in node.value:
                self._learn(child, kind, key, depth + 1)


def composed(text: str) -> yaml.Node | None:
    try:
        return yaml.compose(text, Loader=yaml.CSafeLoader)
    except yaml.YAMLError:
        return None


def text_node(value: str) -> yaml.ScalarNode:
    return yaml.ScalarNode("tag:yaml.org,2002:str", value)


def stanzas(root: yaml.Node | None, *kinds: str) -> Iterator[tuple[yaml.Node, str, yaml.MappingNode]]:
    for item in root.value if isinstance(root, yaml.SequenceNode) else ():
        if isinstance(item, yaml.MappingNode) and item.value:
            key, conf = item.value[0]
            if isinstance(conf, yaml.MappingNode) and (not kinds or key.value in kinds):
                yield item, key.value, conf


def get(mapping: yaml.MappingNode, name: str) -> yaml.Node | None:
    return next((child for key, child in mapping.value if key.value == name), None)


def put(mapping: yaml.MappingNode, name: str, node: yaml.Node) -> None:
    mapping.value = [(key, child) for key, child in mapping.value if key.value != name] + [(text_node(name), node)]


def everything(node: yaml.Node, kind: str = "", key: str = "") -> Iterator[tuple[yaml.Node, str, str]]:
    """All nodes below one, each once, with the kind of stanza and the key it stands under."""
    seen: set[int] = set()
    waiting = [(node, kind, key)]
    while waiting:
        each, kind, key = waiting.pop()
        if id(each) in seen:
            continue
        seen.add(id(each))
        yield each, kind, key
        if isinstance(each, yaml.SequenceNode):
            waiting += [(child, kind, key) for child in each.value]
        elif isinstance(each, yaml.MappingNode):
            waiting += [(child, kind or str(name.value), str(name.value)) for name, child in each.value]
