"""A configuration of a seed: pipelines with any attributes, queues of any kind, jobs that hang together in any way; always a valid one."""

from __future__ import annotations

import json
import random
from pathlib import Path
from typing import Any

Stanza = dict[str, Any]
PROJECTS = ("org/a", "org/b", "org/c", "org/d")
TRIGGERS: dict[str, list[Stanza]] = {
    "check": [{"event": "patchset-created"}, {"event": "comment-added", "comment": "recheck"}],
    "gate": [{"event": "comment-added", "approval": [{"Approved": 1}]}],
    "second": [{"event": "comment-added", "approval": [{"Code-Review": 2}]}, {"event": "comment-added", "comment": "second"}],
    "deploy": [{"event": "change-merged"}],
    "latest": [{"event": "comment-added", "comment": "publish"}, {"event": "change-merged"}],
}
JOBS = ("unit", "lint", "docs", "image", "deploy-image", "pair", "alone", "opinion")
NODES = {"nodes": [{"name": "node", "label": "label1"}]}


class Designer:
    """Chooses by one dice, so that a seed is one configuration."""

    def __init__(self, seed: int) -> None:
        self.dice = random.Random(seed)

    def perhaps(self, chance: float, key: str, *values: Any) -> Stanza:
        return {key: self.dice.choice(values)} if self.dice.random() < chance else {}

    def pipelines(self) -> list[Stanza]:
        managers = {
            "check": "independent",
            "gate": "dependent",
            "second": self.dice.choice(("dependent", "independent", "serial")),
            "deploy": self.dice.choice(("serial", "independent", "supercedent")),
            "latest": self.dice.choice(("supercedent", "supercedent", "serial")),
        }
        names = ["check", "gate", *(name for name in ("second", "deploy", "latest") if self.dice.random() < 0.6)]
        made = [self.pipeline(name, managers[name]) for name in names]
        if self.dice.random() < 0.25:
            made.append(self.following())
        return [{"pipeline": each} for each in made]

    def pipeline(self, name: str, manager: str) -> Stanza:
        merges = manager == "dependent"
        vote = 2 if merges else 1
        votes = {"Verified": vote} if name in ("check", "gate") else self.dice.choice(({}, {"Verified": 1}))
        bad = {"Verified": -vote} if votes else {}
        made: Stanza = {
            "name": name,
            "manager": manager,
            "trigger": {"gerrit": TRIGGERS[name]},
            "success": {"gerrit": {**votes, "submit": True} if merges else votes},
            "failure": {"gerrit": bad},
            **self.perhaps(0.4, "start", {"gerrit": {"Verified": 0} if votes else {}}),
            **self.perhaps(0.3, "enqueue", {"gerrit": {}}),
            **self.perhaps(0.3, "dequeue", {"gerrit": {}}),
            **self.perhaps(0.2, "no-jobs", {"gerrit": {}}),
            **self.perhaps(0.2, "merge-conflict", {"gerrit": {}}, {"gerrit": {"Verified": -1}}),
            **self.perhaps(0.2, "config-error", {"gerrit": {}}),
            **self.perhaps(0.15, "dequeue-on-new-patchset", False),
            **self.requirements(),
        }
        if name == "gate":
            made |= self.perhaps(0.6, "supercedes", ["check"])
        if manager == "independent":
            made |= self.perhaps(0.15, "ignore-dependencies", True)
        if merges:
            made |= self.windows()
        if self.dice.random() < 0.15:
            made |= {"disable-after-consecutive-failures": self.dice.choice((1, 2)), "disabled": {"gerrit": {}}}
        return made

    def windows(self) -> Stanza:
        return {
            **self.perhaps(0.7, "window", 0, 1, 2, 3, 4),
            **self.perhaps(0.7, "window-floor", 1, 2),
            **self.perhaps(0.4, "window-ceiling", 3, 5),
            **self.perhaps(0.4, "window-increase-type", "linear", "exponential"),
            **self.perhaps(0.4, "window-increase-factor", 1, 2, 3),
            **self.perhaps(0.4, "window-decrease-type", "linear", "exponential"),
            **self.perhaps(0.4, "window-decrease-factor", 1, 2, 3),
        }

    def requirements(self) -> Stanza:
        return {
            **self.perhaps(
                0.25,
                "require",
                {"gerrit": {"open": True, "current-patchset": True}},
                {"gerrit": {"current-patchset": True}},
                {"gerrit": {"approval": [{"Code-Review": [1, 2]}]}},
                {"gerrit": {"approval": [{"username": "reviewer_john", "Code-Review": 2}]}},
                {"gerrit": {"approval": [{"email": ".*@example.com", "newer-than": "48h", "Code-Review": [-1, 1, 2]}]}},
                {"gerrit": {"status": "NEW"}},
            ),
            **self.perhaps(
                0.2,
                "reject",
                {"gerrit": {"approval": [{"Verified": [-1, -2]}]}},
                {"gerrit": {"approval": [{"Code-Review": [-1, -2]}, {"username": "jenkins", "Verified": -2}]}},
                {"gerrit": {"status": ["MERGED", "ABANDONED"]}},
            ),
        }

    def following(self) -> Stanza:
        """A pipeline that others set going."""
        trigger = self.dice.choice(
            (
                {"event": "parent-change-enqueued", "pipeline": "check"},
                {"event": "parent-change-enqueued", "pipeline": "gate"},
                {"event": "project-change-merged"},
            )
        )
        return {
            "name": "following",
            "manager": "independent",
            "trigger": {"zuul": [trigger]},
            "success": {"gerrit": {}},
            "failure": {"gerrit": {}},
            **self.perhaps(0.3, "require", {"gerrit": {"open": True}}),
        }

    def queues(self) -> list[Stanza]:
        kinds = self.perhaps(0.3, "type", "per-branch", "all-branches")
        return [
            {"queue": {"name": "together", **self.perhaps(0.6, "allow-circular-dependencies", True), **kinds}},
            {
                "queue": {
                    "name": "topics",
                    "allow-circular-dependencies": True,
                    **self.perhaps(0.7, "dependencies-by-topic", True),
                    **self.perhaps(0.2, "type", "per-branch"),
                }
            },
        ]

    def jobs(self) -> list[Stanza]:
        special: dict[str, Stanza] = {
            "opinion": {"voting": False},
            "docs": self.dice.choice(({"files": ["docs/.*"]}, {"irrelevant-files": ["docs/.*"]})),
            "image": {"provides": ["image"]},
            "deploy-image": {"requires": ["image"]},
            "pair": {"semaphores": self.dice.choice((["two"], ["one", "two"], [{"name": "two", "resources-first": True}]))},
            "alone": {"semaphores": self.dice.choice(("one", [{"name": "one", "resources-first": True}]))},
        }
        base = {"name": "base", "parent": None, "run": "playbooks/run.yaml", **self.perhaps(0.6, "nodeset", NODES)}
        named = [
            {
                "name": name,
                **self.perhaps(0.15, "parent", "template"),
                **special.get(name, {}),
                **self.perhaps(0.1, "voting", False),
                **self.perhaps(0.1, "hold-following-changes", True),
                **self.perhaps(0.15, "deduplicate", True, False),
                **self.perhaps(0.15, "required-projects", ["org/a"], ["org/a", "org/b"], ["org/c", "org/d"]),
                **self.perhaps(0.1, "nodeset", {"nodes": []}, NODES),
                **self.perhaps(0.08, "attempts", 1, 2),
                **self.perhaps(0.08, "failure-message", "It failed"),
            }
            for name in JOBS
        ]
        others = (
            {"name": "template", "abstract": True},
            {"name": "announce", "type": "reporter"},
            {"name": "first", "type": "initializer"},
        )
        return [{"job": each} for each in (base, *others, *named)]

    def project(self, name: str, pipelines: list[str]) -> Stanza:
        made: Stanza = {"name": name, **self.perhaps(0.7, "queue", "together", "together", "topics")}
        for pipeline in pipelines:
            if self.dice.random() < 0.85:
                made[pipeline] = {**self.perhaps(0.2, "fail-fast", True), "jobs": self.graph()}
        return {"project": made}

    def graph(self) -> list[Any]:
        if self.dice.random() < 0.07:
            return self.dice.choice(([], ["noop"]))
        names = self.dice.sample(JOBS, self.dice.randint(1, 4))
        made: list[Any] = []
        for number, name in enumerate(names):
            settings: Stanza = {}
            if number and self.dice.random() < 0.35:
                need = self.dice.choice(names[:number])
                settings["dependencies"] = [{"name": need, "soft": True} if self.dice.random() < 0.4 else need]
            settings |= self.perhaps(0.08, "voting", False, True)
            settings |= self.perhaps(0.08, "files", ["docs/.*", "code"])
            settings |= self.perhaps(0.05, "branches", ["master"], ["stable"])
            made.append({name: settings} if settings else name)
        return [*made, *(name for name in ("announce", "first") if self.dice.random() < 0.07)]

    def configuration(self) -> list[Stanza]:
        pipelines = self.pipelines()
        names = [each["pipeline"]["name"] for each in pipelines]
        return [
            *pipelines,
            *self.queues(),
            {"semaphore": {"name": "one"}},
            {"semaphore": {"name": "two", "max": 2}},
            *self.jobs(),
            *(self.project(name, names) for name in PROJECTS),
        ]


def write(seed: int, directory: Path) -> Path:
    """Write the configuration of a seed below `directory`, as scenarios name it."""
    made = directory / f"random-{seed}"
    designer = Designer(seed)
    tenant: Stanza = {
        "name": "tenant",
        **designer.perhaps(0.1, "max-dependencies", 1, 2),
        **designer.perhaps(0.1, "max-changes-per-pipeline", 2, 4),
        "source": {"gerrit": {"config-projects": ["common-config"], "untrusted-projects": list(PROJECTS)}},
    }
    common = made / "git" / "common-config"
    (common / "playbooks").mkdir(parents=True, exist_ok=True)
    (made / "main.yaml").write_text(json.dumps([{"tenant": tenant}]))
    (common / "zuul.yaml").write_text(json.dumps(designer.configuration(), indent=1))
    (common / "playbooks" / "run.yaml").write_text("- hosts: all\n  tasks: []\n")
    for project in PROJECTS:
        repository = made / "git" / project.replace("/", "_")
        repository.mkdir(exist_ok=True)
        (repository / "README").write_text("read me\n")
    return made
