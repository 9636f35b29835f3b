"""Whole configurations made up by seed: dense enough that variants, parents, templates, patterns and overrides really meet.

Where `mutations` damages configurations that somebody wrote, most of what is said here is allowed, so that graphs come out of it.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import yaml

from tests.configuration import world_providers, world_tenants
from tests.configuration import world_values as values

BRANCHES = ("master", "stable", "devel")
PIPELINES = ("check", "gate", "post", "tag", "periodic")


class Dumper(yaml.SafeDumper):
    """Writes `Tagged` values. What is used twice is written under an anchor."""


def _tagged(dumper: Dumper, tagged: values.Tagged) -> yaml.Node:
    node = dumper.represent_data(tagged.value)
    node.tag = tagged.tag
    if isinstance(node, yaml.ScalarNode):
        node.style = None
    return node


Dumper.add_representer(values.Tagged, _tagged)


class World:
    """One configuration. `write` puts it in a directory in the layout of Zuul's test fixtures."""

    def __init__(self, rng: random.Random) -> None:
        self.rng = rng
        self.config = ["common-config", *(["global-config"] if rng.random() < 0.3 else [])]
        self.untrusted = [f"org/project{number}" for number in range(1, rng.choice([3, 4, 5]))]
        self.branches = {name: ["master", *(each for each in BRANCHES[1:] if rng.random() < 0.4)] for name in self.config + self.untrusted}
        self.jobs = {name: [f"{name[-8:].replace('/', '-')}-{letter}" for letter in "abcd"] for name in self.config + self.untrusted}
        self.jobs["common-config"] = ["base", "abstract-base", *self.jobs["common-config"]]
        shared = [f"ns{number}" for number in range(3)]
        self.names = values.Known(
            rng=rng,
            projects=[*self.config, *self.untrusted],
            jobs=[job for jobs in self.jobs.values() for job in jobs],
            nodesets=shared,
            secrets={name: [f"secret-{name[-8:].replace('/', '-')}-{n}".replace("-", "_") for n in (1, 2)] for name in self.jobs},
            semaphores=["sem1", "sem2", "sem3"],
            templates=["t1", "t2", "t3"],
            queues=["integrated", "other"],
            pipelines=list(PIPELINES),
        )

    def write(self, root: Path) -> None:
        """The whole configuration."""
        (root / "main.yaml").write_text(_text(self.tenants()))
        for name in (*self.config, *self.untrusted):
            same = self.rng.random() < 0.3
            text = None
            for branch in self.branches[name]:
                directory = root / "git" / (name.replace("/", "_") + ("" if branch == "master" else f"@{branch}"))
                text = text if same and text is not None else self.files(name, branch)
                write_files(directory, text)

    def tenants(self) -> list[Any]:
        rng = self.rng
        tenants: list[Any] = []
        for name in ["tenant-one", *(["tenant-two"] if rng.random() < 0.25 else [])]:
            untrusted = self.untrusted if name == "tenant-one" else self.untrusted[: rng.randint(1, len(self.untrusted))]
            tenant: dict[str, Any] = {
                "name": name,
                "source": world_tenants.source(rng, self.names, self.config, untrusted),
            }
            tenant |= values.some_of(rng, world_tenants.tenant_attributes(self.names), 0.04)
            tenants.append({"tenant": tenant})
        semaphores = [{"global-semaphore": {"name": "global-sem", "max": 3}}] if rng.random() < 0.2 else []
        if semaphores:
            tenants[0]["tenant"]["semaphores"] = ["global-sem"]
        return semaphores + tenants

    def files(self, project: str, branch: str) -> dict[str, str]:
        """The files of one branch."""
        rng = self.rng
        stanzas = self.stanzas(project, branch)
        place = rng.choice(["zuul.yaml", "zuul.yaml", ".zuul.yaml", "zuul.d", ".zuul.d", "both"])
        if place.endswith(".yaml"):
            return {place: _text(stanzas)}
        cut = rng.randint(0, len(stanzas))
        if place == "both":
            other = rng.choice([".zuul.yaml", "zuul.d/x.yaml", "extra.yaml", "extra.yaml", "extra.d/x.yaml", "other.yaml"])
            return {"zuul.yaml": _text(stanzas[:cut]), other: _text(stanzas[cut:])}
        if rng.random() < 0.1:
            ignored = {f"{place}/old/.zuul.ignore": ""} if rng.random() < 0.5 else {}
            return {f"{place}/old/a.yaml": _text(stanzas[:cut]), f"{place}/b.yaml": _text(stanzas[cut:]), **ignored}
        return {f"{place}/a.yaml": _text(stanzas[:cut]), f"{place}/b.yaml": _text(stanzas[cut:])}

    def stanzas(self, project: str, branch: str) -> list[Any]:
        rng, names = self.rng, self.names
        trusted = project in self.config
        found: list[Any] = []
        if trusted and project == "common-config":
            found += values.pipelines(rng)
            found += [
                {
                    "job": {
                        "name": "base",
                        "parent": None,
                        "pre-run": "base/pre.yaml",
                        "run": "base/run.yaml",
                        **values.some_of(rng, values.job_attributes(names, project), 0.01),
                    }
                },
                {"job": {"name": "abstract-base", "abstract": True, **values.some_of(rng, values.job_attributes(names, project), 0.05)}},
            ]
            if rng.random() < 0.5:
                found += world_providers.provider_objects(names)
        if branch == "master":
            found += self.everything(project)
        makers: list[tuple[float, Callable[[], Any]]] = [
            (6, lambda: self.job(project)),
            (2, lambda: self.job(project)),
            (3, lambda: self.project(project)),
            (1.2, lambda: self.template(project)),
            (1, lambda: {"nodeset": {"name": rng.choice([*names.nodesets, "ns3"]), **values.nodeset(rng, names)}}),
            (1, lambda: {"secret": {"name": rng.choice(names.secrets[project]), "data": {"a": rng.choice("xy")}}}),
            (0.5, lambda: {"semaphore": {"name": rng.choice(names.semaphores), "max": rng.choice([1, 2])}}),
            (0.5, lambda: {"queue": values.queue(rng, names)}),
            (0.3, lambda: {"pragma": values.pragma(rng)}),
            (0.3, lambda: world_providers.provider_object(names)),
        ]
        found += [{"secret": {"name": each, "data": {"a": "x"}}} for each in names.secrets[project] if rng.random() < 0.8]
        weights = [weight for weight, _ in makers]
        for maker in rng.choices([each for _, each in makers], weights, k=rng.randint(4, 14)):
            found.append(maker())
        if rng.random() < 0.15:
            rng.shuffle(found)
        return found

    def everything(self, project: str) -> list[Any]:
        """One plain definition of what others refer to, most of the time."""
        rng, names = self.rng, self.names
        found: list[Any] = []
        for name in self.jobs[project]:
            if rng.random() < 0.9 and name not in ("base", "abstract-base"):
                before = [each for each in names.jobs[: names.jobs.index(name)] if each not in ("base", "abstract-base")]
                parent = {"parent": rng.choice(before)} if before and rng.random() < 0.5 else {}
                run = {"run": f"playbooks/{name}.yaml"} if rng.random() < 0.8 else {}
                found.append({"job": {"name": name, **parent, **run, **values.some_of(rng, values.job_attributes(names, project), 0.02)}})
        if project == "common-config":
            found += [{"nodeset": {"name": name, "nodes": [{"name": "node0", "label": "label1"}]}} for name in names.nodesets]
            found += [{"project-template": {"name": name, "check": self.uses(project)}} for name in names.templates]
        return found

    def job(self, project: str) -> Any:
        rng, names = self.rng, self.names
        own = self.jobs[project]
        name = rng.choice(own) if rng.random() < 0.93 else rng.choice(names.jobs)
        job: dict[str, Any] = {"name": name}
        if rng.random() < 0.6:
            before = names.jobs[: names.jobs.index(name)] or ["base"]
            job["parent"] = rng.choice(before) if rng.random() < 0.9 else rng.choice([*names.jobs, None])
        if rng.random() < 0.6:
            job["run"] = f"playbooks/{name}.yaml"
        job |= values.some_of(rng, values.job_attributes(names, project), 0.07)
        return {"job": job}

    def uses(self, project: str) -> dict[str, Any]:
        """What a project or template says for one pipeline."""
        rng, names = self.rng, self.names
        jobs: list[Any] = []
        for _ in range(rng.randint(0, 4)):
            name = rng.choice(names.jobs) if rng.random() < 0.96 else rng.choice(["noop", "nope"])
            attributes = values.some_of(rng, values.job_attributes(names, project), 0.04) if rng.random() < 0.4 else {}
            jobs.append({name: attributes} if attributes else name)
        use: dict[str, Any] = {"jobs": jobs}
        if rng.random() < 0.1:
            use["fail-fast"] = rng.choice([True, False])
        if rng.random() < 0.05:
            use["debug"] = True
        return use

    def project(self, project: str) -> Any:
        rng, names = self.rng, self.names
        stanza: dict[str, Any] = {}
        if project in self.config:
            options = [*names.projects, "^.*$", "^org/.*", "^org/project[12]", "review.example.com/org/project1"]
            if rng.random() < 0.9:
                stanza["name"] = rng.choice(options)
        elif rng.random() < 0.2:
            stanza["name"] = rng.choice([project, "^.*$", rng.choice(names.projects)])
        stanza |= values.some_of(rng, values.project_attributes(names), 0.15)
        for pipeline in rng.sample(PIPELINES, rng.randint(1, 3)):
            stanza[pipeline] = self.uses(project)
        return {"project": stanza}

    def template(self, project: str) -> Any:
        rng, names = self.rng, self.names
        template: dict[str, Any] = {"name": rng.choice(names.templates)}
        template |= values.some_of(rng, values.template_attributes(names), 0.15)
        for pipeline in rng.sample(PIPELINES, rng.randint(1, 2)):
            template[pipeline] = self.uses(project)
        return {"project-template": template}


def _text(stanzas: list[Any]) -> str:
    return yaml.dump(stanzas, Dumper=Dumper, sort_keys=False, width=160)


def write_files(directory: Path, files: dict[str, str]) -> None:
    """Files of one branch, by path."""
    directory.mkdir(parents=True, exist_ok=True)
    for path, text in files.items():
        (directory / path).parent.mkdir(parents=True, exist_ok=True)
        (directory / path).write_text(text)
