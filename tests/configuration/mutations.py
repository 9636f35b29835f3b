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

from tests.configuration.mutation_nodes import Pool, composed, everything, get, put, stanzas, text_node
from tests.configuration.mutation_values import ODD, VARIABLES, Names, job_attribute, made, odd_stanzas


class Mutator:
    """Changes one configuration (a directory) in place."""

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

    def _some(self, *kinds: str) -> tuple[Path, yaml.Node, str, yaml.MappingNode] | None:
        found = [(path, *each) for path, root in self.roots.items() for each in stanzas(root, *kinds)]
        return self.rng.choice(found) if found else None

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

    def _place(self) -> tuple[Path, yaml.Node, str, str] | None:
        found = [(path, *each) for path, root in self.roots.items() for each in everything(root) if each[0].tag != "!encrypted/pkcs1-oaep"]
        return self.rng.choice(found) if found else None

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

    def tenant_file(self) -> str:
        """Change the tenant file: how a project is listed, or an attribute of the tenant."""
        main = self.directory / "main.yaml"
        root = composed(main.read_text())
        tenants = [conf for _, _, conf in stanzas(root, "tenant")]
        if not tenants or root is None:
            return "none"
        rng = self.rng
        tenant = rng.choice(tenants)
        if rng.random() < 0.4:
            key, value = rng.choice(
                [
                    *(
                        ("max-nodes-per-job", 1),
                        ("max-job-timeout", 60),
                        ("default-parent", self.names.one(rng, "job")),
                        ("max-job-timeout", -1),
                    ),
                    *(
                        ("allowed-triggers", ["gerrit"]),
                        ("allowed-triggers", "timer"),
                        ("allowed-reporters", ["smtp"]),
                        ("use-nodepool", False),
                    ),
                    *(
                        ("allowed-labels", ["label1", "^u.*"]),
                        ("disallowed-labels", [".*"]),
                        ("default-ansible-version", "9"),
                        ("bogus", 1),
                    ),
                    *(("allowed-labels", []), ("semaphores", ["nope"]), ("max-oidc-ttl", 10), ("exclude-unprotected-branches", True)),
                ]
            )
            put(tenant, key, made(value))
        else:
            key, value = self._project_setting(tenant)
        main.write_text(yaml.serialize(root, Dumper=yaml.SafeDumper))
        return f"{main} {key}={value}"

    def _project_setting(self, tenant: yaml.MappingNode) -> tuple[str, Any]:
        rng = self.rng
        lists = [
            (kind.value, projects)
            for _, source in (getattr(get(tenant, "source"), "value", None) or ())
            for kind, projects in (source.value if isinstance(source, yaml.MappingNode) else ())
            if isinstance(projects, yaml.SequenceNode) and projects.value
        ]
        if not lists:
            return "none", None
        kind, projects = rng.choice(lists)
        position = rng.randrange(len(projects.value))
        kinds = ["job", "project", "project-template", "nodeset", "secret", "semaphore", "pipeline", "queue", "image"]
        key, value = rng.choice(
            [
                *(
                    ("include", rng.sample(kinds, 3)),
                    ("exclude", rng.sample(kinds, 2)),
                    ("include", []),
                    ("shadow", self.names.one(rng, "project")),
                ),
                *(("exclude-branches", ["stable"]), ("include-branches", ["stable"]), ("always-dynamic-branches", ["stable"])),
                *(("implied-branch-matchers", rng.choice([True, False])), ("load-branch", "stable"), ("extra-config-paths", "extra.yaml")),
                *(("extra-config-paths", ["extra.yaml", "zuul-extra.d/"]), ("include-provider-config", True), ("allow-base-jobs", False)),
                *(
                    ("configure-projects", [".*"]),
                    ("allow-reporter-jobs", True),
                    ("include-branches", ["^mas"]),
                    ("shadow", self.names.by_kind["project"]),
                ),
            ]
        )
        entry = projects.value[position]
        if isinstance(entry, yaml.ScalarNode):
            projects.value[position] = yaml.MappingNode(
                "tag:yaml.org,2002:map", [(entry, yaml.MappingNode("tag:yaml.org,2002:map", [(text_node(key), made(value))]))]
            )
        elif isinstance(entry, yaml.MappingNode) and isinstance(entry.value[0][1], yaml.MappingNode):
            put(entry.value[0][1], key, made(value))
        return f"{kind} {key}", value

    def text(self) -> str:
        """Damage a file as text, after the others are written."""
        if not self.roots:
            return "none"
        path, rng = self.rng.choice(list(self.roots)), random.Random(self.rng.random())

        def damage() -> None:
            text = path.read_text() if path.exists() else ""
            at = rng.randrange(len(text) + 1)
            piece = rng.choice(
                ["", "\n", " ", ":", "- ", "{", "}", "[", "]", "\t", "&a ", "*a", "<<: ", "'", "#", "~", "é", "---\n", "\x00", "? "]
            )
            path.write_text(text[:at] + piece + text[at + rng.choice([0, 0, 1, 3, 10, 40]) :])

        self.late.append(damage)
        return f"{path} damaged text"

    def files(self) -> str:
        """Other files: a second place, a directory, an ignored directory, an empty file, another branch."""
        if not self.roots:
            return "none"
        rng = random.Random(self.rng.random())
        path = self.rng.choice(list(self.roots))
        git = self.directory / "git"
        project = git / path.relative_to(git).parts[0]
        what = rng.choice(["empty", "dot", "directory", "ignore", "gone", "null", "extra", "yml", "branch", "nested"])

        def change() -> None:
            text = path.read_text() if path.exists() else ""
            if what in ("empty", "null"):
                path.write_text("" if what == "empty" else "# nothing\n")
            elif what == "gone":
                path.unlink(missing_ok=True)
            elif what == "branch":
                if "@" not in project.name and not (target := git / f"{project.name}@other").exists():
                    shutil.copytree(project, target)
            else:
                place = {
                    "dot": ".zuul.yaml",
                    "directory": "zuul.d/a.yaml",
                    "extra": "extra.yaml",
                    "yml": "zuul.d/b.yml",
                    "nested": "zuul.d/x/y/c.yaml",
                }
                other = project / place.get(what, "zuul.d/x/.zuul.ignore")
                other.parent.mkdir(parents=True, exist_ok=True)
                other.write_text(text if rng.random() < 0.6 else "- job: {name: elsewhere, run: x.yaml}\n")

        self.late.append(change)
        return f"{project} files: {what}"


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
