"""Random scenarios for any configuration: changes linked in every way, and people, builds and nodes doing this and that to them."""

from __future__ import annotations

import random
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from headgate.configuration import FreezeFailed, Layout, Ref

Step = dict[str, Any]
COMMENTS = ("recheck", "recheck", "publish", "strict", "loose", "check", "gate", "experimental", "test me", "nothing of interest")
CONFIGURATIONS = (
    "- project: {{name: {project}, {pipeline}: {{jobs: [{job}]}}}}\n",
    "- project: {{name: {project}, {pipeline}: {{jobs: [no-such-job]}}}}\n",
    "- job: {{name: own-{name}, parent: {job}}}\n- project: {{name: {project}, {pipeline}: {{jobs: [own-{name}]}}}}\n",
    "- project: {{name: {project}, {pipeline}: {{jobs: [{job}: {{voting: false}}]}}}}\n",
    "- project: {{name: {project}, {pipeline}: {{jobs: [{job}: {{files: never/.*}}]}}}}\n",
    "- project: {{name: {project}, {pipeline}: {{fail-fast: true}}}}\n",
)
"""What a change may put in its project's configuration: good and bad."""


@dataclass(slots=True)
class Author:
    """Writes one scenario for one tenant's layout."""

    dice: random.Random
    layout: Layout
    linked: float
    configuring: float
    names: list[str] = field(default_factory=list)
    projects: dict[str, str] = field(default_factory=dict)
    branches: dict[str, str] = field(default_factory=dict)
    steps: list[Step] = field(default_factory=list)

    def say(self, op: str, **values: Any) -> None:
        self.steps.append({"op": op, **values})

    def taking_part(self) -> list[str]:
        """Canonical names of this Gerrit's untrusted projects; those for which any job would run more often."""
        known = self.layout.projects.by_canonical.values()
        names = sorted(each.canonical for each in known if not each.trusted and each.settings.connection == "gerrit")
        return [*names, *(name for name in names if self.jobs_of(name) for _ in range(4))]

    def jobs_of(self, project: str) -> list[str]:
        """The jobs that changes of a project run, in whatever pipeline."""
        found = set()
        for pipeline in self.layout.pipelines:
            try:
                graph = self.layout.freeze(Ref(project, "master", ("docs/index", "README"), "refs/changes/01/1/1"), pipeline)
            except FreezeFailed:
                continue
            found |= {job.name for job in graph.jobs if job.name != "noop"}
        return sorted(found)

    def comments(self) -> list[str]:
        """What people say, some of it what pipelines listen for."""
        patterns = [each for pipeline in self.layout.pipelines.values() for trigger in pipeline.triggers for each in trigger.comment]
        return [*COMMENTS, *(re.sub(r"\\b|\\s|\(\?i\)|[\^$*+?]", "", pattern.pattern) for pattern in patterns for _ in range(3))]

    def pipelines(self) -> list[str]:
        gates = [name for name, pipeline in self.layout.pipelines.items() if pipeline.manager == "dependent"]
        return [*gates, *gates, *self.layout.pipelines]

    def short(self, canonical: str) -> str:
        return canonical.partition("/")[2]

    def make_changes(self, count: int) -> None:
        """All changes, some on top of each other, needing each other, of one topic, or configuring their own tests."""
        available = self.taking_part()
        self.names = [f"C{number}" for number in range(count)]
        for name in self.names:
            self.projects[name] = self.dice.choice(available)
            self.branches[name] = self.dice.choice(
                ("master", "master", "master", *self.layout.projects.by_canonical[self.projects[name]].branches)
            )
        for number, name in enumerate(self.names):
            self.make_change(number, name)
        for name in self.names:
            if self.dice.random() < 0.8:
                self.say("approve", id=name, label="Code-Review", value=2)
            if self.dice.random() < 0.25:
                self.say("approve", id=name, label="Approved", value=1)
            if self.dice.random() < 0.3:
                self.say("fail", id=name, job=self.job_of(name))

    def job_of(self, name: str) -> str:
        """A job that may run for a change."""
        return self.dice.choice(self.jobs_of(self.projects[name]) or ["unit"])

    def make_change(self, number: int, name: str) -> None:
        more: Step = {}
        if self.dice.random() < self.linked and len(self.names) > 1:
            other = self.dice.choice(self.names)
            how = self.dice.choice(("parent", "depends_on", "depends_on", "topic", "topic"))
            if how == "parent" and self.names.index(other) < number:
                more["parent"] = other
                self.projects[name], self.branches[name] = self.projects[other], self.branches[other]
            elif how == "depends_on" and other != name:
                more["depends_on"] = sorted({other, *self.dice.sample(self.names, self.dice.choice((0, 0, 1)))} - {name})
            elif how == "topic":
                more["topic"] = self.dice.choice(("red", "blue"))
        if self.branches[name] != "master":
            more["branch"] = self.branches[name]
        files = self.files(name)
        if files:
            more["files"] = files
        self.say("change", id=name, project=self.short(self.projects[name]), **more)

    def files(self, name: str) -> dict[str, str]:
        chance = self.dice.random()
        if chance < self.configuring:
            text = self.dice.choice(CONFIGURATIONS)
            project = self.projects[name]
            values = {"name": name.lower(), "project": self.short(project), "job": self.job_of(name)}
            return {".zuul.yaml": text.format(pipeline=self.dice.choice(self.pipelines()), **values)}
        if chance < self.configuring + 0.15:
            return {self.dice.choice(("docs/index", "code", "code")): self.dice.choice(("one\n", "two\n"))}
        return {}

    def something(self) -> None:
        """One more step. What happens often in real life is chosen often."""
        name = self.dice.choice(self.names)
        choices: list[tuple[int, Callable[[str], None]]] = [
            (7, self.go),
            (4, lambda name: self.say("event", id=name)),
            (9, self.release),
            (4, lambda name: self.say("snapshot")),
            (2, lambda name: self.say("comment", id=name, text=self.dice.choice(self.comments()))),
            (1, self.vote),
            (1, lambda name: self.say("abandon", id=name)),
            (1, lambda name: self.say("submit", id=name)),
            (1, lambda name: self.say("conflict", id=name)),
            (2, self.patchset),
            (1, lambda name: self.say("time", seconds=self.dice.choice((60, 3600, 100000)))),
            (1, lambda name: self.say("hold_nodes", on=self.dice.random() < 0.5)),
            (1, lambda name: self.say("dequeue", pipeline=self.dice.choice(self.pipelines()), id=name)),
            (1, lambda name: self.say("enqueue", pipeline=self.dice.choice(self.pipelines()), id=name)),
            (1, self.promote),
        ]
        (chosen,) = self.dice.choices([each for _, each in choices], [weight for weight, _ in choices])
        last = self.steps[-1]
        chosen(name)
        if {last["op"], self.steps[-1]["op"]} <= {"approve", "event", "comment"} and self.dice.random() < 0.3:
            last["nosettle"] = True  # before anything else it would be a race between Zuul's threads

    def go(self, name: str) -> None:
        self.say("approve", id=name, label="Approved", value=1, event=True)

    def vote(self, name: str) -> None:
        label = self.dice.choice(("Approved", "Code-Review", "Verified"))
        value = self.dice.choice((-1, 0, 1) if label == "Approved" else (-2, -1, 0, 1, 2))
        self.say("approve", id=name, label=label, value=value, event=self.dice.random() < 0.7)

    def release(self, name: str) -> None:
        regex = self.job_of(name)
        which: tuple[Step, ...] = ({}, {"id": name}, {"id": name}, {"regex": regex}, {"regex": regex, "id": name})
        self.say("release", **self.dice.choice(which))

    def patchset(self, name: str) -> None:
        files = self.files(name) if self.dice.random() < 0.3 else {}
        self.say("patchset", id=name, **({"files": files} if files else {}))
        if self.dice.random() < 0.5:
            self.say("approve", id=name, label="Code-Review", value=2)

    def promote(self, name: str) -> None:
        gates = [name for name, pipeline in self.layout.pipelines.items() if pipeline.manager in ("dependent", "serial")]
        if gates:
            self.say(
                "promote",
                pipeline=self.dice.choice(gates),
                ids=self.dice.sample(self.names, min(len(self.names), self.dice.choice((1, 2)))),
            )


def scenario(seed: int, layouts: Mapping[str, Layout], config: str, steps: int = 25) -> Step:
    """The scenario of a seed: the same one every time."""
    dice = random.Random(seed)
    layout = dice.choice(list(layouts.values()))
    author = Author(dice, layout, linked=dice.choice((0.1, 0.4, 0.7)), configuring=dice.choice((0.0, 0.0, 0.2)))
    author.say("hold", on=True)
    author.make_changes(dice.randint(3, 6))
    for _ in range(steps):
        author.something()
    author.say("snapshot")
    return {"config": config, "steps": author.steps}
