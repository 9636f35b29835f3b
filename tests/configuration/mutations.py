"""Seeded mutations of whole configurations: what people get wrong, and what they may say in places nobody thought of.

`Pool` learns from a corpus which values stand where (below which kind and key); `mutate` changes one copy of a configuration in
the layout of Zuul's test fixtures in a few places, with values of that pool, of `ODD`, and names that do or do not exist.
"""

from __future__ import annotations

import copy
import random
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import yaml

from tests.configuration.mutation_files import FileMutations
from tests.configuration.mutation_nodes import Pool, everything, get, put, text_node
from tests.configuration.mutation_stanzas import StanzaMutations
from tests.configuration.mutation_values import VARIABLES, job_attribute, made


class Mutator(FileMutations, StanzaMutations):
    """Changes one configuration (a directory) in place."""

    def run(self, times: int) -> None:
        """Mutate, and write back what was read as nodes."""
        for _ in range(times):
            operations: list[tuple[int, Callable[[], str]]] = [
                *((25, self.set_job_attribute), (20, self.set_variant), (10, self.set_project_attribute), (12, self.set_seen)),
                *((8, self.retype), (6, self.drop), (4, self.rename), (5, self.duplicate), (4, self.delete), (6, self.insert)),
                *(
                    (3, self.move),
                    (3, self.shuffle),
                    (3, self.tag),
                    (5, self.tenant_file),
                    (3, self.text),
                    (3, self.files),
                    (3, self.pipeline),
                ),
            ]
            (operation,) = self.rng.choices([each for _, each in operations], [weight for weight, _ in operations])
            self.log.append(operation())
        for path, root in self.roots.items():
            if path.exists():
                try:
                    text = yaml.serialize(root, Dumper=yaml.SafeDumper, allow_unicode=True, width=200)
                except (yaml.YAMLError, RecursionError, TypeError):
                    continue
                path.write_text(text)
        for late in self.late:
            late()

    def set_job_attribute(self) -> str:
        found = self._some("job")
        if found is None:
            return "none"
        key, node = job_attribute(self.rng, self.names)
        put(found[3], key, node)
        return f"{found[0]} job attribute {key}"

    def set_variant(self) -> str:
        found = self._some("project", "project-template")
        lists = [
            jobs
            for _, use in (found[3].value if found else ())
            if isinstance(use, yaml.MappingNode) and isinstance(jobs := get(use, "jobs"), yaml.SequenceNode)
        ]
        if found is None or not lists:
            return "none"
        jobs = self.rng.choice(lists)
        key, node = job_attribute(self.rng, self.names)
        settings = yaml.MappingNode("tag:yaml.org,2002:map", [(text_node(key), node)])
        position = self.rng.randrange(len(jobs.value) + 1)
        entry = jobs.value[position] if position < len(jobs.value) and self.rng.random() < 0.7 else None
        if entry is None:
            name = text_node(str(self.names.one(self.rng, "job", "noop")))
            jobs.value.insert(position, yaml.MappingNode("tag:yaml.org,2002:map", [(name, settings)]))
        elif isinstance(entry, yaml.ScalarNode):
            jobs.value[position] = yaml.MappingNode("tag:yaml.org,2002:map", [(entry, settings)])
        elif isinstance(entry, yaml.MappingNode) and entry.value and isinstance(entry.value[0][1], yaml.MappingNode):
            put(entry.value[0][1], key, node)
        return f"{found[0]} variant {key}"

    def set_project_attribute(self) -> str:
        found = self._some("project", "project-template")
        if found is None:
            return "none"
        rng, one = self.rng, self.names.one
        parameters = [{"name": "x", "type": "string"}, {"name": "y", "type": "selection", "values": ["a"], "default": "b"}, {"name": "z"}]
        key, value = rng.choice(
            [
                *(("queue", one(rng, "queue", "q")), ("vars", rng.choice(VARIABLES)), ("vars", {"pv": 1, "a": {"z": 1}})),
                *(("templates", [one(rng, "project-template")]), ("templates", self.names.by_kind["project-template"][:3])),
                *(("merge-mode", rng.choice(["rebase", "x", "cherry-pick", "squash-merge", "merge"])), ("default-branch", "stable")),
                *(("branches", rng.choice(["stable", "master", ["master", {"regex": "stable"}], []])), ("description", "x")),
                *(("name", rng.choice(["^org/.*", "^.*[", one(rng, "project"), "^.*", "review.example.com/org/project", "^(?!x)"])),),
                *((one(rng, "pipeline"), None), (one(rng, "pipeline"), {"jobs": ["noop"], "fail-fast": rng.choice([True, False])})),
                *(("gate", {"jobs": [{"noop": {"voting": False}}, "noop"]}), ("check", {"parameters": [rng.choice(parameters)]})),
                *((one(rng, "pipeline"), {"jobs": [one(rng, "job"), one(rng, "job")], "debug": True}), ("nopipeline", {"jobs": []})),
                (one(rng, "pipeline"), {"queue": "x"}),
            ]
        )
        put(found[3], str(key), made(value))
        return f"{found[0]} project {key}={value}"

    def set_seen(self) -> str:
        """Give some mapping a key, with a value, that the corpus has at such a place."""
        found = self._some()
        if found is None:
            return "none"
        path, _, kind, conf = found
        places = [(node, key) for node, _, key in everything(conf, kind, kind) if isinstance(node, yaml.MappingNode)]
        node, key = self.rng.choice(places)
        keys = self.pool.keys.get((kind, key)) or []
        if not keys:
            return "none"
        name = self.rng.choice(keys)
        assert isinstance(node, yaml.MappingNode)
        put(node, name, copy.deepcopy(self.rng.choice(self.pool.values[kind, name])))
        return f"{path} {kind} {key}.{name} as seen elsewhere"

    def pipeline(self) -> str:
        found = self._some("pipeline")
        if found is None:
            return "none"
        rng = self.rng
        connection = rng.choice(["gerrit", "github", "smtp", "nope", "timer", "zuul", "gitlab", "pagure", "git", "mqtt"])
        key = rng.choice(
            [
                "trigger",
                "success",
                "failure",
                "start",
                "require",
                "reject",
                "merge-conflict",
                "config-error",
                "dequeue",
                "disabled",
                "enqueue",
            ]
        )
        seen = [
            (copy.deepcopy(name), copy.deepcopy(node))
            for each in self.pool.values["pipeline", key]
            if isinstance(each, yaml.MappingNode)
            for name, node in each.value
        ]
        plain: dict[str, Any] = {
            "manager": rng.choice(["independent", "dependent", "serial", "supercedent", "x"]),
            "post-review": rng.choice([True, False]),
            "precedence": rng.choice(["low", "high", "x"]),
            "supercedes": rng.choice(["check", ["nope"], [one := self.names.one(rng, "pipeline"), one]]),
            "window": rng.choice([0, 5, -1, "5"]),
            "allow-other-connections": False,
            "allow-parameters": True,
            "trigger": {connection: rng.choice([[{"event": "patchset-created"}], {"event": "x"}, [], None, [{"time": "0 0 * * *"}]])},
            "success": {connection: rng.choice([{"Verified": 1}, {}, None, {"comment": True}, {"nope": 1}])},
            "require": {connection: rng.choice([{"open": True}, {"approval": [{"username": "x"}]}, {"approval": {"older-than": "x"}}])},
        }
        if seen and rng.random() < 0.5:
            put(found[3], key, yaml.MappingNode("tag:yaml.org,2002:map", [rng.choice(seen)]))
            return f"{found[0]} pipeline {key} as seen elsewhere"
        name = rng.choice(list(plain))
        put(found[3], name, made(plain[name]))
        return f"{found[0]} pipeline {name}={plain[name]}"


def mutate(directory: Path, rng: random.Random, pool: Pool, times: int) -> list[str]:
    """Change a configuration (`main.yaml` and `git/`) in place; what was done, for the reader of a difference."""
    git = directory / "git"
    projects = [each for each in sorted(git.iterdir()) if each.is_dir() and "@" not in each.name] if git.is_dir() else []
    if rng.random() < 0.5:
        for project in rng.sample(projects, min(len(projects), rng.choice([1, 2, 3]))):
            target = project.with_name(f"{project.name}@stable")
            if not target.exists():
                shutil.copytree(project, target, symlinks=True)
    mutator = Mutator(directory, rng, pool)
    mutator.run(times)
    return [re.sub(re.escape(str(directory)) + "/?", "", line) for line in mutator.log]
