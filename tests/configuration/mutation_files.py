"""Mutations outside of stanzas: the tenant file, files as text, files in other places."""

from __future__ import annotations

import random
import shutil
from typing import Any

import yaml

from tests.configuration.mutation_base import Configuration
from tests.configuration.mutation_nodes import composed, get, put, stanzas, text_node
from tests.configuration.mutation_values import made


class FileMutations(Configuration):
    """Each method changes something and says what."""

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
