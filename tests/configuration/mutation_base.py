"""A configuration in the layout of Zuul's test fixtures, read as YAML nodes to be changed in place."""

from __future__ import annotations

import random
from collections.abc import Callable
from pathlib import Path

import yaml

from tests.configuration.mutation_nodes import Pool, composed, everything, get, stanzas
from tests.configuration.mutation_values import Names


class Configuration:
    """One directory. `late` is done after the nodes are written back."""

    def __init__(self, directory: Path, rng: random.Random, pool: Pool) -> None:
        self.directory = directory
        self.rng = rng
        self.pool = pool
        self.names = Names()
        self.roots: dict[Path, yaml.Node] = {}
        self.log: list[str] = []
        self.late: list[Callable[[], None]] = []
        self._read()

    def _read(self) -> None:
        git = self.directory / "git"
        for path in sorted(git.rglob("*.yaml")):
            inside = path.relative_to(git).parts[1:]
            if not (inside and (inside[0] in ("zuul.yaml", ".zuul.yaml", "zuul.d", ".zuul.d") or self.rng.random() < 0.02)):
                continue
            root = composed(path.read_text(errors="replace"))
            if isinstance(root, yaml.SequenceNode):
                self.roots[path] = root
            for _, kind, conf in stanzas(root):
                name = get(conf, "name")
                if name is not None and isinstance(name.value, str) and name.value not in self.names.by_kind[kind]:
                    self.names.by_kind[kind].append(name.value)
        for path in sorted(git.iterdir()) if git.is_dir() else ():
            if "@" not in path.name:
                self.names.by_kind["project"].append(path.name.replace("_", "/"))

    def _some(self, *kinds: str) -> tuple[Path, yaml.Node, str, yaml.MappingNode] | None:
        found = [(path, *each) for path, root in self.roots.items() for each in stanzas(root, *kinds)]
        return self.rng.choice(found) if found else None

    def _place(self) -> tuple[Path, yaml.Node, str, str] | None:
        found = [(path, *each) for path, root in self.roots.items() for each in everything(root) if each[0].tag != "!encrypted/pkcs1-oaep"]
        return self.rng.choice(found) if found else None
