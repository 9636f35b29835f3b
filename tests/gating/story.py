"""Verbs that make a test of the gate a story: changes are made, approved, tested, and what came of it is asked."""

from __future__ import annotations

from typing import Any

from headgate.configuration import SourceFile, load_layout, parse_tenants
from headgate.gating import BuildFailing, Item, PipelineState, Tenancy, job_key
from headgate.simulation.run import Play, begin, finish
from headgate.simulation.scenario import Step
from headgate.simulation.setting import Setting
from headgate.simulation.telling import names, snapshot

HOST = "review.example.com"
PIPELINES = """
- pipeline:
    name: check
    manager: independent
    trigger: {gerrit: [{event: patchset-created}, {event: comment-added, comment: recheck}]}
    success: {gerrit: {Verified: 1}}
    failure: {gerrit: {Verified: -1}}
- pipeline:
    name: gate
    manager: dependent
    supercedes: check
    trigger: {gerrit: {event: comment-added, approval: [{Approved: 1}]}}
    start: {gerrit: {Verified: 0}}
    success: {gerrit: {Verified: 2, submit: true}}
    failure: {gerrit: {Verified: -2}}
- pipeline:
    name: deploy
    manager: serial
    trigger: {gerrit: {event: change-merged}}
    success: {gerrit: {}}
- pipeline:
    name: latest
    manager: supercedent
    trigger: {gerrit: {event: comment-added, comment: publish}}
    success: {gerrit: {}}
- queue: {name: shared, allow-circular-dependencies: true}
- semaphore: {name: one, max: 1}
- job: {name: base, parent: null, run: playbooks/run.yaml}
- job: {name: unit}
- job: {name: lint}
- job: {name: lonely, semaphores: one}
"""
PROJECT = """
- project:
    name: {name}
    {queue}
    check: {{jobs: [unit, lint]}}
    gate: {{jobs: [unit, lint]}}
    deploy: {{jobs: [unit]}}
    latest: {{jobs: [lonely]}}
"""


def setting_of(config: str, projects: list[str]) -> Setting:
    """A tenant `t` whose config-project says `config`; the projects are empty."""
    (tenant,) = parse_tenants(
        f"- tenant: {{name: t, source: {{gerrit: {{config-projects: [config], untrusted-projects: {projects}}}}}}}".replace("'", "")
    )
    layout = load_layout(tenant, [SourceFile(f"{HOST}/config", "master", "zuul.yaml", config)], {"gerrit": HOST}, {})
    assert not layout.errors, layout.errors[0]
    trees = {f"{HOST}/{name}": {"master": {"README": "read me\n"}} for name in projects}
    trees[f"{HOST}/config"] = {"master": {"zuul.yaml": config}}
    return Setting({"t": layout}, trees)


def a_tenant(**queues: str) -> Setting:
    """Projects by name and the queue each is in; "" for its own."""
    stanzas = (PROJECT.format(name=name, queue=f"queue: {queue}" if queue else "description: alone") for name, queue in queues.items())
    return setting_of(PIPELINES + "".join(stanzas), list(queues))


class Story:
    """One play of a tenant. Builds wait until they are let go."""

    def __init__(self, setting: Setting | None = None, to_come: tuple[str, ...] = ()) -> None:
        self.play: Play = begin(setting or a_tenant(nova="shared", neutron="shared", docs=""), to_come)
        self.play.executor.hold = True

    def do(self, op: str, **values: Any) -> None:
        self.play.step(Step(op, values))

    def change(self, name: str, project: str = "nova", **values: Any) -> None:
        self.do("change", id=name, project=project, **values)

    def ready(self, *changes: str) -> None:
        """Reviewed, but nobody has said go."""
        for name in changes:
            self.do("approve", id=name, label="Code-Review", value=2)

    def approve(self, *changes: str) -> None:
        """Reviewed and approved: into the gate."""
        for name in changes:
            self.ready(name)
            self.do("approve", id=name, label="Approved", value=1, event=True)

    def approved_changes(self, *changes: str, project: str = "nova") -> None:
        for name in changes:
            self.change(name, project)
            self.approve(name)

    def upload(self, name: str) -> None:
        self.do("event", id=name)

    def fails(self, name: str, job: str = "unit") -> None:
        self.do("fail", id=name, job=job)

    def will_fail(self, name: str, job: str = "unit", failing: bool = True) -> None:
        """It is seen that a build under way will fail; or, not `failing`, that another attempt of it began."""
        item = next(each for each, shown in zip(self.items(), self.queue(), strict=True) if shown == name)
        key = next(job_key(each) for each in item.buildset.jobs if each.name == job)
        self.play.scheduler.ask("t", "gate", BuildFailing(item.buildset.id, key, item.buildset.builds[key].id, failing))
        self.play.settle()

    def let_go(self, name: str | None = None, job: str | None = None) -> None:
        """End the builds that wait (of those whose last change is `name`)."""
        self.do("release", id=name, regex=job)

    def to_the_end(self) -> None:
        finish(self.play)

    def state(self, pipeline: str = "gate") -> PipelineState:
        return self.tenancy.pipelines.get(pipeline, PipelineState())

    @property
    def tenancy(self) -> Tenancy:
        return self.play.scheduler.tenancies["t"]

    def items(self, pipeline: str = "gate") -> list[Item]:
        state = self.state(pipeline)
        return [state.items[each] for queue in state.queues for each in queue.items]

    def queue(self, pipeline: str = "gate") -> list[str]:
        """Items in order: `A`, `(A)` if not live, `A+B` for a cycle."""
        shown = ["+".join(self.play.gerrit.by_number[key[1]].id for key in item.changes) for item in self.items(pipeline)]
        return [name if item.live else f"({name})" for name, item in zip(shown, self.items(pipeline), strict=True)]

    def window(self) -> int:
        return next(queue.window for queue in self.state().queues)

    def running(self) -> list[str]:
        """Builds under way, as `unit on A,1 B,1`."""
        shown = snapshot(None, self.play.scheduler, self.play.executor)["running"]
        return [f"{each['job']} on {' '.join(each['changes'])}" for each in shown]

    def built(self) -> list[str]:
        """Builds that ended: `unit on A,1: SUCCESS`, in order."""
        ended = self.play.executor.history
        return [f"{each.job} on {' '.join(names(self.play.gerrit, each.tested))}: {each.result}" for each in ended]

    def status(self, name: str) -> str:
        return self.play.gerrit.reviews[name].status

    def vote(self, name: str) -> int | None:
        """What the CI says of a change now."""
        votes = self.play.gerrit.reviews[name].patchsets[-1].approvals
        return next((each.value for each in votes if each.username == "jenkins"), None)

    def messages(self, name: str) -> list[str]:
        return self.play.gerrit.reviews[name].messages
