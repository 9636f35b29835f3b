"""Attributes and values of made-up configurations, most of them allowed."""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from headgate.configuration import definitions

OVERRIDABLE = frozenset(key.replace("_", "-") for key in definitions.OVERRIDABLE)
Makers = dict[str, Callable[[], Any]]


@dataclass(slots=True)
class Tagged:
    """A value under a YAML tag."""

    tag: str
    value: Any


@dataclass(slots=True)
class Known:
    """The names that a configuration is made of, whether or not it defines them all."""

    rng: random.Random
    projects: list[str]
    jobs: list[str]
    nodesets: list[str]
    secrets: dict[str, list[str]]
    semaphores: list[str]
    templates: list[str]
    queues: list[str]
    pipelines: list[str]
    shared: list[dict[str, Any]] = field(default_factory=list)
    """Mappings of variables that several jobs may hold: written once under an anchor."""

    def variables(self) -> dict[str, Any]:
        """New ones, or some that were said before."""
        if self.shared and self.rng.random() < 0.08:
            return self.rng.choice(self.shared)
        found = variables(self.rng)
        if self.rng.random() < 0.1:
            self.shared.append(found)
        return found


def some_of(rng: random.Random, makers: Makers, chance: float) -> dict[str, Any]:
    """Each attribute with the same chance, in any order; now and then under `!override` or `!inherit`."""
    found = {}
    names = [name for name in makers if rng.random() < chance]
    rng.shuffle(names)
    for name in names:
        value = makers[name]()
        if name in OVERRIDABLE and rng.random() < 0.35 and isinstance(value, (str, list, dict)):
            value = Tagged(rng.choice(["!override", "!inherit"]), value)
        found[name] = value
    return found


def nodeset(rng: random.Random, names: Known) -> dict[str, Any]:
    """A nodeset without its name."""
    count = rng.choice([0, 1, 1, 2, 3, 6])
    nodes: Any = [{"name": f"node{number}", "label": f"label{rng.randint(1, 3)}"} for number in range(count)]
    if rng.random() < 0.15:
        nodes = {"name": ["node0", "node1"], "label": "label1"}
    elif rng.random() < 0.2 and nodes:
        nodes[0]["name"] = ["node0", "also0"]
    if rng.random() < 0.2:
        plain = [{"nodes": [{"name": f"node{number}", "label": f"label{number + 1}"}]} for number in range(2)]
        return {
            "alternatives": rng.choice([[rng.choice(names.nodesets), rng.choice(names.nodesets)], plain, [names.nodesets[0], plain[0]]])
        }
    made: dict[str, Any] = {"nodes": nodes}
    if rng.random() < 0.3:
        made["groups"] = [{"name": "group", "nodes": rng.choice(["node0", ["node0", "node1"]])}]
    return made


def regex(rng: random.Random, *texts: str) -> Any:
    """A pattern in one of the ways to write it."""
    text = rng.choice(texts)
    return rng.choice([text, text, text, {"regex": text}, {"regex": text, "negate": True}])


def one_or_many(rng: random.Random, make: Callable[[], Any]) -> Any:
    return rng.choice([make(), [make()], [make(), make()]])


def variables(rng: random.Random) -> dict[str, Any]:
    """Nested mappings, lists and plain values that overlap with those of other calls."""
    leaf = [1, "two", True, None, [1, 2], {"deep": {"er": 1}}, {"deep": {"est": 2}}, [], {}, 1.5]
    return {name: rng.choice([*leaf, {"x": rng.choice(leaf), "y": rng.choice(leaf)}]) for name in rng.sample(["a", "b", "c", "d"], 2)}


def job_attributes(names: Known, project: str) -> Makers:
    rng, choice = names.rng, names.rng.choice
    files = ("^src/.*", "docs/", "README", r".*\.yaml$", "^zuul.yaml$", "/COMMIT_MSG", "^playbooks/", "src")

    def job() -> str:
        return choice(names.jobs)

    def other() -> str:
        return choice([*names.projects, "review.example.com/org/project1"])

    def secret() -> str:
        return choice(names.secrets[project] if rng.random() < 0.85 else [each for some in names.secrets.values() for each in some])

    def playbook() -> Any:
        name = f"playbooks/{choice('xyz')}.yaml"
        return choice([name, name, {"name": name}, {"name": name, "semaphores": one_or_many(rng, lambda: choice(names.semaphores))}])

    def required() -> Any:
        return choice([other(), other(), {"name": other(), "override-checkout": choice(["stable", "devel", "master"])}, {"name": other()}])

    def included() -> Any:
        return choice([other(), {"type": "name", "name": other()}, {"type": "change"}, {"type": "item"}])

    def use_of_secret() -> Any:
        pair = {"name": choice(["alias", "another"]), "secret": secret()}
        return choice([secret(), pair, {**pair, "pass-to-parent": choice([True, True, False])}])

    def semaphore() -> Any:
        name = choice([*names.semaphores, "global-sem"])
        first = name != "sem1"  # of two uses with different settings, which comes first is chance in Zuul
        return {"name": name, "resources-first": True} if first else choice([name, {"name": name, "resources-first": False}])

    def file_of_vars() -> Any:
        name = choice(["vars/a.yaml", "vars/b.yaml"])
        with_ref = {"name": name, "zuul-project": True, "use-ref": choice([True, False])}
        return choice([name, {"name": name, "project": other()}, with_ref, {"name": name, "required": False}])

    def role() -> Any:
        return choice([{"zuul": other()}, {"zuul": other()}, {"zuul": other(), "name": "renamed"}, {"galaxy": "some.role"}])

    def dependency() -> Any:
        name = job()
        soft = name.endswith(("a", "c"))  # of one that is listed both hard and soft, which holds is chance in Zuul
        return {"name": name, "soft": True} if soft else choice([name, {"name": name, "soft": False}])

    controls = ("requires", "tags", "files", "required-projects", "vars", "host-vars", "dependencies", "pre-run", "run", "voting", "type")
    return {
        "final": lambda: choice([True, False, False, False]),
        "abstract": lambda: choice([True, False, False, False]),
        "protected": lambda: choice([True, False, False]),
        "intermediate": lambda: choice([True, False, False, False]),
        "post-review": lambda: True,
        "voting": lambda: choice([True, False]),
        "attempts": lambda: choice([1, 2, 5]),
        "timeout": lambda: choice([100, 5000, 10800, 10801]),
        "pre-timeout": lambda: choice([50, 200]),
        "post-timeout": lambda: choice([60, 70, 20000]),
        "description": lambda: "described",
        "branches": lambda: one_or_many(rng, lambda: regex(rng, "master", "stable", "devel", "^stable$", "^(?!stable).*$", "sta", "v1.*")),
        "files": lambda: one_or_many(rng, lambda: regex(rng, *files)),
        "irrelevant-files": lambda: one_or_many(rng, lambda: regex(rng, *files)),
        "match-on-config-updates": lambda: choice([True, False]),
        "tags": lambda: one_or_many(rng, lambda: choice(["t1", "t2", "t3"])),
        "provides": lambda: one_or_many(rng, lambda: choice(["p1", "p2"])),
        "requires": lambda: one_or_many(rng, lambda: choice(["p1", "p2"])),
        "vars": names.variables,
        "extra-vars": names.variables,
        "host-vars": lambda: {"node0": names.variables(), choice(["node1", "node0", "x-y"]): variables(rng)},
        "group-vars": lambda: {choice(["group", "all"]): variables(rng)},
        "include-vars": lambda: one_or_many(rng, file_of_vars),
        "required-projects": lambda: one_or_many(rng, required),
        "include-projects": lambda: one_or_many(rng, included),
        "exclude-projects": lambda: one_or_many(rng, included),
        "nodeset": lambda: choice([choice(names.nodesets), choice(names.nodesets), nodeset(rng, names)]),
        "dependencies": lambda: one_or_many(rng, dependency),
        "semaphores": lambda: one_or_many(rng, semaphore),
        "semaphore": semaphore,
        "secrets": lambda: one_or_many(rng, use_of_secret),
        "roles": lambda: [role() for _ in range(rng.randint(1, 2))],
        "pre-run": lambda: one_or_many(rng, playbook),
        "run": lambda: one_or_many(rng, playbook),
        "post-run": lambda: one_or_many(rng, lambda: choice([playbook(), {"name": "playbooks/last.yaml", "cleanup": True}])),
        "cleanup-run": lambda: one_or_many(rng, playbook),
        "allowed-projects": lambda: one_or_many(rng, other),
        "override-checkout": lambda: choice(["stable", "devel", "master"]),
        "ansible-version": lambda: choice([9, "11", 11]),
        "attribute-control": lambda: {name: {"final": True} for name in rng.sample(controls, 1)},
        "type": lambda: choice(["regular", "initializer", "initializer", "reporter"]),
        "deduplicate": lambda: choice([True, False, "auto"]),
        "failure-output": lambda: one_or_many(rng, lambda: choice(["error: .*", "^fatal"])),
        "secret-exposure": lambda: choice(["redact", "redact", "fail"]),
        "workspace-scheme": lambda: choice(["flat", "unique", "golang"]),
        "hold-following-changes": lambda: choice([True, False]),
        "workspace-checkout": lambda: choice([True, False, "auto"]),
        "ansible-split-streams": lambda: choice([True, False]),
        "preserve-home-paths": lambda: choice([".cache", [".cache"], [".cache", "./.local/x"]]),
        "image-build-name": lambda: choice(["image1", "image1", "image3"]),
        "override-branch": lambda: choice(["stable", "devel"]),
        "success-message": lambda: "well done",
        "failure-message": lambda: "alas",
        "variant-description": lambda: "one of several",
    }


def project_attributes(names: Known) -> Makers:
    rng, choice = names.rng, names.rng.choice
    return {
        **template_attributes(names),
        "templates": lambda: rng.sample(names.templates, choice([1, 2])),
        "branches": lambda: one_or_many(rng, lambda: regex(rng, "master", "stable", "^(?!stable).*$")),
        "merge-mode": lambda: choice(["merge", "rebase", "cherry-pick", "squash-merge"]),
        "default-branch": lambda: choice(["master", "stable"]),
    }


def template_attributes(names: Known) -> Makers:
    rng = names.rng
    return {"vars": names.variables, "queue": lambda: rng.choice([*names.queues, "undefined"]), "description": lambda: "described"}


def queue(rng: random.Random, names: Known) -> dict[str, Any]:
    settings: dict[str, Any] = rng.choice(
        [{}, {"per-branch": True}, {"type": rng.choice(["branch-assigned", "per-branch"])}, {"allow-circular-dependencies": True}]
    )
    return {"name": rng.choice(names.queues), **settings}


def pragma(rng: random.Random) -> dict[str, Any]:
    return rng.choice(
        [
            {"implied-branch-matchers": rng.choice([True, False])},
            {"implied-branches": one_or_many(rng, lambda: regex(rng, "master", "stable", "^dev"))},
            {"implied-branch-matchers": True, "implied-branches": ["master", regex(rng, "stable", "x")]},
        ]
    )


def pipelines(rng: random.Random) -> list[Any]:
    """Five pipelines, one of them after review."""
    trigger = {"gerrit": [{"event": "patchset-created"}]}
    return [
        {"pipeline": {"name": "check", "manager": "independent", "trigger": trigger, "success": {"gerrit": {"Verified": 1}}}},
        {
            "pipeline": {
                "name": "gate",
                "manager": "dependent",
                "post-review": rng.random() < 0.9,
                "trigger": {"gerrit": [{"event": "comment-added", "approval": [{"Approved": 1}]}]},
            }
        },
        {"pipeline": {"name": "post", "manager": "supercedent", "post-review": True, "trigger": {"gerrit": [{"event": "ref-updated"}]}}},
        {"pipeline": {"name": "tag", "manager": "independent", "trigger": {"gerrit": [{"event": "ref-updated", "ref": "^refs/tags/.*"}]}}},
        {"pipeline": {"name": "periodic", "manager": "independent", "trigger": {"timer": [{"time": "0 0 * * *"}]}}},
    ]
