"""Values for mutations: right ones, wrong ones, and names that do or do not exist."""

from __future__ import annotations

import random
from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import yaml

from headgate.configuration import definitions

ODD: tuple[Any, ...] = (
    None,
    5,
    0,
    -1,
    True,
    False,
    "x",
    "",
    [],
    {},
    ["a"],
    [1],
    {"a": "b"},
    3.5,
    ["a", None],
    [{}],
    "^(?!x)",
    "[",
    "1",
    "no",
)
REGEXES = (
    "^README",
    "README.*",
    {"regex": "^README", "negate": True},
    r".*\.txt",
    "(?!x).*",
    "[",
    "master",
    "stable",
    "^(mas",
    "",
    "docs/",
)
OVERRIDABLE = frozenset(key.replace("_", "-") for key in definitions.OVERRIDABLE)
NODESETS: tuple[Any, ...] = (
    {"nodes": [{"name": "a", "label": "l"}]},
    {"nodes": []},
    {"nodes": {"name": ["a", "b"], "label": "x"}, "groups": [{"name": "g", "nodes": ["a"]}]},
    {"nodes": [{"name": "a", "label": "l"}, {"name": "a", "label": "l"}]},
    {"nodes": [{"name": "a", "label": "l"}], "groups": [{"name": "g", "nodes": ["b"]}]},
    {"nodes": [{"name": "localhost", "label": "l"}]},
    {"alternatives": ["nope", {"nodes": []}]},
    {"alternatives": [{"nodes": [{"name": "a", "label": "l"}]}, {"alternatives": []}]},
    {"nodes": [{"name": f"n{number}", "label": "l"} for number in range(7)]},
    {"name": "inner", "nodes": [{"name": "a", "label": "l"}]},
)
VARIABLES: tuple[Any, ...] = (
    *({"a": 1, "b": {"c": [1, 2]}}, {"b": {"d": 2}}, {"zuul": 1}, {"1x": 2}, {"ansible_host": 1}, {}, None, []),
    *({"a_b": None}, {"x-y": 1}, {"h": {"a": 1}}, {"g": {"x": {"y": 1}}}, {"g": {"zuul": 1}}, {5: 1}, {"_x": 1}, {"nodepool": {}}),
)
PLAYBOOKS: tuple[Any, ...] = (
    *("playbooks/x.yaml", ["a.yaml", "b.yaml"], {"name": "c.yaml", "semaphores": "sem"}, [{"name": "d.yaml", "semaphores": ["s2", "s1"]}]),
    *({"name": "e.yaml", "cleanup": True}, [], None, 5, [{"name": "d.yaml", "semaphores": ["sem", "sem"]}, "a.yaml"], [["a"]], {"name": 5}),
)
CONTROLS = (
    *("requires", "provides", "tags", "files", "irrelevant-files", "required-projects", "include-projects", "exclude-projects", "vars"),
    *("extra-vars", "host-vars", "group-vars", "include-vars", "dependencies", "failure-output", "type", "pre-run", "run", "post-run"),
    *("voting", "timeout"),
)


@dataclass(slots=True)
class Names:
    """The names that one configuration defines, by kind."""

    by_kind: dict[str, list[str]] = field(default_factory=lambda: defaultdict(list))

    def one(self, rng: random.Random, kind: str, *others: Any) -> Any:
        return rng.choice([*self.by_kind[kind], *others, "nope"])


def made(value: Any) -> yaml.Node:
    """A plain value as a node."""
    node = yaml.compose(yaml.safe_dump(value), Loader=yaml.CSafeLoader)
    assert node is not None
    return node


def job_attribute(rng: random.Random, names: Names) -> tuple[str, yaml.Node]:
    """A job attribute and a value that may be right or wrong."""
    one = names.one

    def job() -> Any:
        return one(rng, "job", "noop")

    def project() -> Any:
        return one(rng, "project", "org/nope", "review.example.com/org/project", "^org/.*")

    def secret() -> Any:
        return one(rng, "secret")

    def some(*values: Any) -> Any:
        return rng.choice(values)

    choices: dict[str, Callable[[], Any]] = {
        "parent": lambda: some(job(), None, "base", job()),
        **dict.fromkeys(("final", "abstract", "protected", "intermediate", "post-review"), lambda: some(True, False)),
        **dict.fromkeys(("match-on-config-updates", "hold-following-changes"), lambda: some(True, False)),
        **dict.fromkeys(("requires", "provides"), lambda: some("a", ["a", "b"], [], None)),
        "tags": lambda: some("t1", ["t2", "t1"], 1, ["t", "t"]),
        "voting": lambda: some(True, False, "no"),
        "semaphore": lambda: some("sem", {"name": "s2", "resources-first": True}, one(rng, "semaphore")),
        "semaphores": lambda: some(
            ["sem", "b"], {"name": "s1"}, ["s2", {"name": "sem", "resources-first": True}], [one(rng, "semaphore"), "sem"], []
        ),
        "branches": lambda: some(
            *("master", "stable", ["master", "stable"], {"regex": "master", "negate": True}, [], "mas", "^stable$", "^(?!stable).*$"),
        ),
        **dict.fromkeys(("files", "irrelevant-files"), lambda: some(some(*REGEXES), [some(*REGEXES), some(*REGEXES)], [])),
        "secrets": lambda: some(
            *(secret(), [secret()], {"name": "sec", "secret": secret()}, [{"name": "zuul", "secret": secret()}]),
            *(
                [{"name": "sec", "secret": secret(), "pass-to-parent": True}],
                [secret(), secret()],
                [{"name": "a-b", "secret": secret()}],
            ),
        ),
        "nodeset": lambda: some(one(rng, "nodeset"), some(*NODESETS), {"alternatives": names.by_kind["nodeset"][:2]}),
        **dict.fromkeys(("timeout", "pre-timeout", "post-timeout"), lambda: some(1, 7, 3600, 5000, 20000, "5", -1, 0)),
        "attempts": lambda: some(1, 2, True, 0),
        **dict.fromkeys(("pre-run", "run", "post-run", "cleanup-run"), lambda: some(*PLAYBOOKS)),
        "ansible-version": lambda: some(9, 11, "11", 2.9, 8, "9"),
        "ansible-split-streams": lambda: True,
        "roles": lambda: some(
            *([{"zuul": project()}], [{"zuul": project(), "name": "foo"}, {"galaxy": "x"}], {"zuul": project()}, {"galaxy": "y"}),
            *([{"zuul": project()}, {"zuul": project()}], [], [{"galaxy": "x", "name": "y"}]),
        ),
        "required-projects": lambda: some(
            *(project(), [project(), project()], [{"name": project(), "override-checkout": some("stable", "master", "nope")}], []),
            *([project(), {"name": project(), "override-branch": "stable"}], {"name": project()}),
        ),
        **dict.fromkeys(
            ("include-projects", "exclude-projects"),
            lambda: some(
                *(project(), [{"type": "change"}], [{"name": project()}], [{"type": "name", "name": project()}], [{"type": "item"}]),
                *([project(), project()], [], [{"type": "name"}]),
            ),
        ),
        **dict.fromkeys(("vars", "extra-vars", "host-vars", "group-vars"), lambda: some(*VARIABLES)),
        "include-vars": lambda: some(
            *("README", ["v.yaml"], {"name": "x", "project": project()}, {"name": "x", "zuul-project": True}, []),
            *({"name": "x", "use-ref": True}, {"name": "x", "required": False}, {"name": "x", "project": project(), "use-ref": True}),
        ),
        "dependencies": lambda: some(
            *(job(), [job(), job()], {"name": job(), "soft": True}, [{"name": job(), "soft": True}, job()], []),
            [{"name": job()}],
        ),
        "allowed-projects": lambda: some(project(), [project(), project()], []),
        "override-checkout": lambda: some("stable", "master", "nope"),
        "override-branch": lambda: "stable",
        "description": lambda: some("x", None),
        "variant-description": lambda: "x",
        "workspace-scheme": lambda: some("flat", "unique", "bad"),
        "workspace-checkout": lambda: some("auto", True, False, "x"),
        "deduplicate": lambda: some(True, False, "auto", 1, 0),
        "failure-output": lambda: some("x", ["a", "["], ["b", "a"], "(?!x)", []),
        "image-build-name": lambda: one(rng, "image", "img"),
        "type": lambda: some("initializer", "reporter", "regular", "x"),
        "preserve-home-paths": lambda: some("x", [".ssh/config"], ["a/../b"], ["./.ssh/config"], ["/x"]),
        "secret-exposure": lambda: some("redact", "fail", "ignore"),
        "attribute-control": lambda: {name: {"final": some(True, True, False)} for name in rng.sample(CONTROLS, 2)},
        **dict.fromkeys(("failure-message", "success-message", "failure-url", "success-url"), lambda: "x"),
        "bogus": lambda: 1,
        "name": lambda: some(job(), "^x.*", ""),
    }
    key = rng.choice(list(choices))
    node = made(choices[key]())
    if key in OVERRIDABLE and rng.random() < 0.3:
        if isinstance(node, yaml.ScalarNode):
            node.style = None
        node.tag = rng.choice(["!override", "!inherit"])
    return key, node


def odd_stanzas(rng: random.Random, names: Names) -> list[Any]:
    """Stanzas to add anywhere."""
    one = names.one
    return [
        {"pragma": {"implied-branch-matchers": rng.choice([True, False])}},
        {"pragma": {"implied-branches": ["stable", "mas"]}},
        {
            "pragma": {
                "implied-branch-matchers": True,
                "implied-branches": rng.choice(["stable", {"regex": "x", "negate": True}, "(?!z).", 5]),
            }
        },
        {"queue": {"name": "q", "type": rng.choice(["branch-assigned", "per-branch", "bad"])}},
        {"queue": {"name": "q", "per-branch": True, "allow-circular-dependencies": True}},
        {"semaphore": {"name": one(rng, "semaphore", "sem"), "max": rng.choice([2, 0, -1, "2"])}},
        {"nodeset": {"name": one(rng, "nodeset", "nsx"), **rng.choice(NODESETS)}},
        {"nodeset": {"name": "nsx", "alternatives": rng.choice([["nsx"], [one(rng, "nodeset")], ["nsy", "nsx"]])}},
        {"nodeset": {"name": "nsy", "alternatives": ["nsx"]}},
        *({"secret": {"name": "sx", "data": {"a": 1}}}, {"secret": {"name": "sy"}}, {"secret": {"name": "so", "oidc": {"ttl": 99999}}}),
        *({"secret": {"name": "so", "oidc": {"iss": "x"}, "data": {}}}, {"secret": {"name": one(rng, "secret"), "data": {}}}),
        {"job": {"name": "base"}},
        {"job": {"name": one(rng, "job"), "parent": one(rng, "job")}},
        {"job": {"name": one(rng, "job"), "run": "again.yaml", "nodeset": rng.choice(NODESETS)}},
        {"job": {"name": "newjob", "parent": None, "run": "x"}},
        {"job": {"name": "noop", "run": "x"}},
        *({"pipeline": {"name": "pp", "manager": "independent"}}, {"pipeline": {"name": one(rng, "pipeline"), "manager": "serial"}}),
        *({"bogus": {}}, "string", {"a": {}, "b": {}}, {}, {"job": None}, None, 5, {"job": []}, {5: {}}, {"job": {}}, {"project": {}}),
        {"image": {"name": "img", "type": rng.choice(["zuul", "cloud", "x"])}},
        {"flavor": {"name": "f"}},
        {"label": {"name": "lx", "image": "img", "flavor": "f"}},
        {"section": {"name": "sec", "connection": rng.choice(["aws", "openstack", "static", "nope"])}},
        {
            "provider": {
                "name": "prov",
                "section": "sec",
                "labels": [{"name": "lx"}],
                "images": [{"name": "img"}],
                "flavors": [{"name": "f"}],
            }
        },
        {"project": {"name": "^.*", "vars": {"rx": 1}, "check": {"jobs": ["noop"]}}},
        {"project": {"name": one(rng, "project"), one(rng, "pipeline"): {"jobs": [one(rng, "job")]}}},
        {"project": {"queue": "q", "templates": [one(rng, "project-template")]}},
        {"project-template": {"name": "tx", "check": {"jobs": [one(rng, "job")]}, "queue": "qq"}},
        {
            "project-template": {
                "name": one(rng, "project-template"),
                "vars": {"tv": 1},
                one(rng, "pipeline"): {"jobs": [one(rng, "job")]},
            }
        },
    ]
