"""What a scheduler does about the passes' actions, in a simulation: everything is answered from memory, and at once unless held."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime

from headgate.changes import Event
from headgate.configuration import Layout
from headgate.gating import (
    Action,
    Announce,
    BuildEnded,
    CancelBuild,
    Happening,
    Key,
    NodesReady,
    Prepare,
    Report,
    Reported,
    RequestNodes,
    Return,
    StartBuild,
    Tenancy,
    job_key,
)
from headgate.gating.announcing import MERGED, ZUUL
from headgate.gating.knowledge import Knowledge
from headgate.gating.turning import Turning
from headgate.refs import is_ref
from headgate.simulation.executor import Executor, Running
from headgate.simulation.gerrit import CI_ACCOUNT, CONNECTION, Gerrit
from headgate.simulation.knowledge import Reading
from headgate.simulation.loading import Loader
from headgate.simulation.merger import Merger, messages_of, touches_configuration
from headgate.simulation.setting import Setting


@dataclass(slots=True)
class Scheduler:
    """All tenants, and what waits to be taken in by each of their pipelines."""

    setting: Setting
    gerrit: Gerrit
    executor: Executor
    reading: Reading
    knowledge: dict[str, Knowledge] = field(init=False)
    loader: Loader = field(init=False)
    turning: Turning = field(init=False)
    now: datetime = datetime.min
    merger: Merger = field(init=False)
    nodes_held: bool = False
    waiting: list[tuple[str, str, NodesReady]] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.knowledge = {name: self._knowledge(layout) for name, layout in self.setting.layouts.items()}
        self.turning = Turning(self._do, self._heard)
        for name, knowledge in self.knowledge.items():
            self.turning.know(name, knowledge)
            self.turning.tenancies[name] = Tenancy()
        self.merger = Merger(self.gerrit.repositories, self.reading)
        self.loader = Loader.of(self.setting.trees)

    def _knowledge(self, layout: Layout) -> Knowledge:
        return Knowledge(layout, self.reading, f"{self.setting.web_root}t/{layout.tenant.name}/")

    @property
    def tenancies(self) -> dict[str, Tenancy]:
        return self.turning.tenancies

    def hear(self, event: Event, key: Key) -> None:
        self.refresh(key)
        self.turning.hear(event, key)

    def refresh(self, key: Key) -> None:
        """Read a change anew, and follow all links."""
        self.reading.read(key)
        for knowledge in self.knowledge.values():
            knowledge.forget_links()

    def ask(self, tenant: str, pipeline: str, happening: Happening) -> None:
        self.turning.ask(tenant, pipeline, happening)

    def hold_nodes(self, on: bool) -> None:
        self.nodes_held = on
        if not on:
            for tenant, pipeline, ready in self.waiting:
                self.ask(tenant, pipeline, ready)
            self.waiting.clear()

    def settle(self, now: datetime) -> None:
        """Make passes until there is nothing left to take in."""
        self.now = now
        self.turning.settle(now)

    def _heard(self, tenant: str, events: list[tuple[Event, Key]], now: datetime) -> None:
        """Read the configuration of every branch on which a change to it was merged, and go on under the tenant's new layout."""
        for event, key in events:
            former = self.knowledge[tenant]
            if event.type == "change-merged" and touches_configuration(key, former):
                place = (former.project(key), former.known(key).change.branch)
                self.loader.read_again(place, self.gerrit.repositories.head(place).tree)
                self._load(tenant, now)
            elif event.type == "ref-updated" and event.branch and former.project(key) in former.layout.projects.by_canonical:
                place = (former.project(key), event.branch)
                if self.loader.move(place, self.gerrit.repositories.heads.get(place)):
                    self._load(tenant, now)

    def _load(self, tenant: str, now: datetime) -> None:
        self.knowledge[tenant] = self._knowledge(self.loader.layout(self.knowledge[tenant].layout))
        self.turning.facts[tenant] = self.knowledge[tenant]
        self.turning.reconfigure(tenant, now)

    def _do(self, tenant: str, pipeline: str, action: Action, _: list[Happening]) -> Happening | None:
        match action:
            case Prepare():
                self.ask(tenant, pipeline, self.merger.prepare(action, pipeline, self.knowledge[tenant]))
            case RequestNodes():
                self._give_nodes(tenant, pipeline, NodesReady(action.buildset, job_key(action.job)))
            case StartBuild():
                self._start(tenant, pipeline, action, self.now)
            case CancelBuild(build):
                if build in self.executor.running:
                    self.executor.end(build, "ABORTED")
            case Return():
                self.waiting = [each for each in self.waiting if (each[2].buildset, each[2].job) != (action.buildset, action.job)]
            case Announce():
                self._announce(action, self.now)
            case Report():
                return self._report(action, self.now)
        return None

    def _announce(self, announced: Announce, now: datetime) -> None:
        """Emit the pipelines' own events about the changes concerned."""
        known = self.reading.known(announced.change)
        if announced.type == MERGED:
            # all projects': the Gerrit of Zuul's own tests, which this one is compared with, does not look at the project it is asked for
            concerned = [each.key for each in self.gerrit.by_number.values() if each.status == "NEW"]
        else:
            concerned = list(dict.fromkeys((*known.needed_by, *self.reading.depending_on(announced.change))))
        for key in concerned:
            change = self.reading.known(key).change
            about = (change.project, change.branch, change.ref, change.number, change.patchset)
            name = f"{announced.type} {announced.change} {key}"
            self.turning.hear(Event(name, ZUUL, announced.type, now, *about, pipeline=announced.pipeline), key)

    def _give_nodes(self, tenant: str, pipeline: str, ready: NodesReady) -> None:
        if self.nodes_held:
            self.waiting.append((tenant, pipeline, ready))
        else:
            self.ask(tenant, pipeline, ready)

    def _start(self, tenant: str, pipeline: str, start: StartBuild, now: datetime) -> None:
        hold = self.executor.hold and start.job.name != "noop"
        item = next(each for state in self.tenancies[tenant].pipelines.values() for each in state.items.values() if each.id == start.item)
        branch = self.reading.known(item.changes[start.job.changes[0]]).change.branch
        self.executor.begin(Running(start, tenant, pipeline, now, branch, hold))
        if not hold:
            self.finish(start.build, now)

    def _fails(self, running: Running) -> bool:
        """Is a change, for which the job is to fail, in what the build has checked out?"""
        knowledge = self.knowledge[running.tenant]
        there = {knowledge.project(key) for key in running.tested} | {each.name for each in running.start.job.required_projects}
        world = self.merger.worlds[running.start.buildset]
        for job, number in self.executor.failing:
            review = self.gerrit.by_number[number]
            if job != running.job or review.canonical not in there:
                continue
            place = (review.canonical, running.branch)
            if place not in world:
                place = (review.canonical, knowledge.layout.default_branch(review.canonical))
            if f"{review.subject}-1" in messages_of(world, place):
                return True
        return False

    def finish(self, build: str, now: datetime) -> None:
        """End a running build as it must."""
        result: str | None = "SUCCESS"
        if self._fails(self.executor.running[build]):
            # what fails before the run playbooks says nothing about the change: the job is tried again
            result = None if self.executor.running[build].start.job.pre_run else "FAILURE"
        running = self.executor.end(build, result)
        seconds = (now - running.started).total_seconds()
        ended = BuildEnded(running.start.buildset, job_key(running.start.job), build, result, seconds=seconds)
        self.ask(running.tenant, running.pipeline, ended)

    def _report(self, report: Report, now: datetime) -> Reported | None:
        for phase in ("votes", "submits") if report.two_phases else ("both",):
            for reporter in report.reporters:
                if reporter.connection != CONNECTION:
                    continue
                for key, message in report.messages.items():
                    if is_ref(key):
                        continue  # nobody reviews a branch or tag
                    review = self.gerrit.by_number[key[1]]
                    if phase != "submits":
                        for label, value in reporter.labels.items():
                            self.gerrit.vote(review, label, int(value), CI_ACCOUNT, now)
                        if message and reporter.comment:
                            review.messages.append(message)
                            review.reports += 1
                    if phase != "votes" and reporter.submit:
                        self.gerrit.submit(review)
        if not report.answer:
            return None
        for key in report.messages:
            self.reading.read(key)
        merged = all(self.reading.known(key).change.merged for key in report.messages)
        return Reported(report.buildset, True, merged)
