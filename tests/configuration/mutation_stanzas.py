"""Mutations of whole stanzas and of any node in one, whatever kind it is."""

from __future__ import annotations

import copy
from pathlib import Path

import yaml

from tests.configuration.mutation_base import Configuration
from tests.configuration.mutation_nodes import put, text_node
from tests.configuration.mutation_values import ODD, job_attribute, made, odd_stanzas


class StanzaMutations(Configuration):
    """Each method changes something and says what."""

    def retype(self) -> str:
        found = self._place()
        if found is None:
            return "none"
        path, node, _, key = found
        if isinstance(node, yaml.MappingNode) and node.value:
            position = self.rng.randrange(len(node.value))
            name, _ = node.value[position]
            node.value[position] = (name, made(self.rng.choice(ODD)))
            return f"{path} retype {name.value}"
        if isinstance(node, yaml.SequenceNode) and node.value:
            node.value[self.rng.randrange(len(node.value))] = made(self.rng.choice(ODD))
            return f"{path} retype item of {key}"
        if isinstance(node, yaml.ScalarNode):
            kind = self.rng.choice(list(self.names.by_kind) or ["job"])
            node.value, node.tag, node.style = str(self.names.one(self.rng, kind, "master", "stable", "")), "tag:yaml.org,2002:str", None
        return f"{path} scalar of {key} becomes {node.value!r}"

    def drop(self) -> str:
        found = self._place()
        if found is None or isinstance(found[1], yaml.ScalarNode) or not found[1].value:
            return "none"
        del found[1].value[self.rng.randrange(len(found[1].value))]
        return f"{found[0]} drop from {found[3]}"

    def rename(self) -> str:
        found = self._place()
        if found is None or not isinstance(found[1], yaml.MappingNode) or not found[1].value:
            return "none"
        position = self.rng.randrange(len(found[1].value))
        name, child = found[1].value[position]
        found[1].value[position] = (text_node(f"{name.value}"[:-1] or "x"), child)
        return f"{found[0]} typing mistake in {name.value}"

    def duplicate(self) -> str:
        """A stanza again, here or in another file, perhaps changed."""
        found = self._some()
        if found is None:
            return "none"
        again = copy.deepcopy(found[1])
        target = self.rng.choice(list(self.roots)) if self.rng.random() < 0.5 else found[0]
        if self.rng.random() < 0.5 and found[2] == "job":
            put(again.value[0][1], *job_attribute(self.rng, self.names))
        self.roots[target].value.insert(self.rng.randrange(len(self.roots[target].value) + 1), again)
        return f"{found[0]} {found[2]} again in {target}"

    def delete(self) -> str:
        found = self._some()
        if found is None:
            return "none"
        self.roots[found[0]].value.remove(found[1])
        return f"{found[0]} delete {found[2]}"

    def move(self) -> str:
        found = self._some()
        if found is None:
            return "none"
        self.roots[found[0]].value.remove(found[1])
        target = self.rng.choice(list(self.roots))
        self.roots[target].value.append(found[1])
        return f"{found[0]} move {found[2]} to {target}"

    def shuffle(self) -> str:
        path = self.rng.choice(list(self.roots) or [Path()])
        if path in self.roots:
            self.rng.shuffle(self.roots[path].value)
        return f"{path} shuffle"

    def tag(self) -> str:
        found = self._place()
        if found is None:
            return "none"
        node = found[1]
        node.tag = self.rng.choice(["!override", "!inherit", "!unsafe", "!encrypted/pkcs1-oaep", "!nope"])
        if isinstance(node, yaml.ScalarNode):
            node.style = self.rng.choice([None, "'"])
        return f"{found[0]} tag {node.tag} on {found[3]}"

    def insert(self) -> str:
        if not self.roots:
            return "none"
        rng = self.rng
        values = odd_stanzas(rng, self.names)
        node = made(rng.choice(values))
        if rng.random() < 0.25 and self.pool.stanzas:
            node = copy.deepcopy(rng.choice(self.pool.stanzas))
        path = rng.choice(list(self.roots))
        self.roots[path].value.insert(rng.randrange(len(self.roots[path].value) + 1), node)
        return f"{path} insert {yaml.serialize(node, Dumper=yaml.SafeDumper)[:150]!r}"
