"""Playing a scenario: each step changes the simulated world, then passes are made until nothing happens any more."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from typing import Any

from headgate.changes import Approval, Event
from headgate.gating import AskedDequeue, AskedEnqueue, AskedPromote, Happening, Key
from headgate.refs import NOWHERE, change_of_ref
from headgate.simulation.executor import Executor
from headgate.simulation.gerrit import CONNECTION, HOSTNAME, REVIEWER, Gerrit, Review
from headgate.simulation.knowledge import Reading
from headgate.simulation.repositories import Repositories
from headgate.simulation.scenario import BadScenario, Scenario, Step
from headgate.simulation.scheduler import Scheduler
from headgate.simulation.setting import Setting
from headgate.simulation.telling import snapshot, summary
from headgate.timers import event_of, firings, timers_of

BEGIN = datetime(2026, 1, 1, tzinfo=UTC)


@dataclass(slots=True)
class Play:
    """A scenario being played."""

    gerrit: Gerrit
    scheduler: Scheduler
    executor: Executor
    numbers: dict[str, int]
    now: datetime = BEGIN
    events: int = 0
    trace: list[dict[str, Any]] = field(default_factory=list)

    def review(self, step: Step) -> Review:
        return self.gerrit.reviews[step.get("id")]

    def tell(self, kind: str, review: Review, **values: Any) -> None:
        """Gerrit emits an event about a change."""
        self.events += 1
        event = Event(
            f"event-{self.events}",
            CONNECTION,
            kind,
            self.now,
            review.project,
            review.branch,
            change=review.number,
            patchset=len(review.patchsets),
            **values,
        )
        self.scheduler.hear(event, review.key)

    def tell_ref(self, event: Event, containing: tuple[str, ...] = ()) -> None:
        """Something happened to a branch or tag; `containing` are the branches that have the tag."""
        change = replace(change_of_ref(event), connection=CONNECTION)
        self.gerrit.refs[change.number] = f"{event.project} {event.ref}"
        self.scheduler.turning.hear(event, self.scheduler.reading.keep_ref(change, containing))

    def settle(self) -> None:
        self.scheduler.settle(self.now)

    def step(self, step: Step) -> None:
        """Play one step. Raises `BadScenario` for a change or pipeline that is not there."""
        STEPS[step.op](self, step)
        if step.settle:
            self.settle()


def begin(setting: Setting, names: Iterable[str] = ()) -> Play:
    """A world in which nothing has happened. `names` are the changes to come, in order, so that one may depend on a later one."""
    numbers = {name: number for number, name in enumerate(names, 1)}
    gerrit, executor = Gerrit(Repositories.of(setting.trees)), Executor()
    return Play(gerrit, Scheduler(setting, gerrit, executor, Reading(gerrit, numbers)), executor, numbers)


def run(scenario: Scenario, setting: Setting) -> dict[str, Any]:
    """Play a whole scenario: what the snapshots showed, every build that ran, and what became of each change. Raises `BadScenario`."""
    play = begin(setting, [step.get("id") for step in scenario.steps if step.op == "change"])
    for step in scenario.steps:
        play.step(step)
    finish(play)
    return {"trace": play.trace, **summary(play.gerrit, play.executor)}


def finish(play: Play) -> None:
    """Let go of whatever is held until nothing runs."""
    play.settle()
    play.scheduler.hold_nodes(False)
    play.settle()
    while play.executor.running:
        _release(play, None, None)


def _change(play: Play, step: Step) -> None:
    parent = play.gerrit.reviews[step.get("parent")] if step.get("parent") is not None else None
    name = step.get("id")
    review = Review(
        name,
        play.numbers.setdefault(name, len(play.numbers) + 1),
        step.get("project"),
        step.get("branch") or "master",
        step.get("subject") or name,
        step.get("topic") or "",
        tuple(step.get("depends_on") or ()),
        (parent, len(parent.patchsets)) if parent is not None else None,
    )
    play.gerrit.create(review, step.get("files"))


def _approve(play: Play, step: Step) -> None:
    review = play.review(step)
    approval = play.gerrit.vote(review, step.get("label"), int(step.get("value")), REVIEWER, play.now)
    if step.get("event"):
        play.tell("comment-added", review, username="author_phil", email="author@example.com", approvals=(approval,))


def _event(play: Play, step: Step) -> None:
    play.tell("patchset-created", play.review(step))


def _patchset(play: Play, step: Step) -> None:
    play.gerrit.add_patchset(play.review(step), step.get("files"))
    play.tell("patchset-created", play.review(step))


def _comment(play: Play, step: Step) -> None:
    review = play.review(step)
    text = f"Patch Set {len(review.patchsets)}:\n\n{step.get('text')}"
    play.tell("comment-added", review, comment=text, approvals=(Approval("Code-Review", 0),))


def _abandon(play: Play, step: Step) -> None:
    play.review(step).status = "ABANDONED"
    play.tell("change-abandoned", play.review(step))


def _submit(play: Play, step: Step) -> None:
    play.gerrit.submit(play.review(step))
    play.tell("change-merged", play.review(step), username="jenkins")


def _fail(play: Play, step: Step) -> None:
    play.executor.failing.add((step.get("job"), play.review(step).number))


def _hold(play: Play, step: Step) -> None:
    play.executor.hold = bool(step.get("on"))


def _hold_nodes(play: Play, step: Step) -> None:
    play.scheduler.hold_nodes(bool(step.get("on")))


def _release_step(play: Play, step: Step) -> None:
    _release(play, step.get("regex"), play.numbers[step.get("id")] if step.get("id") is not None else None)


def _release(play: Play, regex: str | None, change: int | None) -> None:
    for build in play.executor.to_release(regex, change):
        if build in play.executor.running:
            play.scheduler.finish(build, play.now)
            play.settle()


def _conflict(play: Play, step: Step) -> None:
    play.review(step).refused = True


def _ask(play: Play, step: Step, made: Callable[[Key], Happening]) -> None:
    for name in step.ids:
        play.scheduler.ask(_tenant(play, step), step.get("pipeline"), made(play.gerrit.reviews[name].key))


def _dequeue(play: Play, step: Step) -> None:
    _ask(play, step, AskedDequeue)


def _enqueue(play: Play, step: Step) -> None:
    for name in step.ids:
        play.scheduler.refresh(play.gerrit.reviews[name].key)
    _ask(play, step, AskedEnqueue)


def _promote(play: Play, step: Step) -> None:
    keys = tuple(play.gerrit.reviews[name].key for name in step.ids)
    play.scheduler.ask(_tenant(play, step), step.get("pipeline"), AskedPromote(keys))


def _tenant(play: Play, step: Step) -> str:
    pipeline = step.get("pipeline")
    found = [name for name, knowledge in play.scheduler.knowledge.items() if pipeline in knowledge.layout.pipelines]
    tenant = step.get("tenant") or (found[0] if found else None)
    if tenant not in found:
        raise BadScenario(f'{step.op}: no tenant{f" {tenant}" if tenant else ""} has a pipeline "{pipeline}"')
    return str(tenant)


def _time(play: Play, step: Step) -> None:
    before = play.now
    play.now += timedelta(seconds=step.get("seconds"))
    timers = [timer for each in play.scheduler.knowledge.values() for timer in timers_of(each.layout)] if step.get("timers") else []
    for firing in firings(dict.fromkeys(timers, before), play.now):
        place = (firing.timer.project, firing.timer.branch)
        head = play.gerrit.repositories.name(play.gerrit.repositories.head(place))
        play.tell_ref(event_of(firing, firing.timer.project.partition("/")[2], head))


def _ref(play: Play, step: Step) -> None:
    """A tag, or a branch that was pushed to, by somebody; or it was deleted."""
    project, ref, repositories = step.get("project"), step.get("ref"), play.gerrit.repositories
    if not ref.startswith(("refs/heads/", "refs/tags/")):
        raise BadScenario(f'ref: "{ref}" begins with neither refs/heads/ nor refs/tags/')
    branch = ref.removeprefix("refs/heads/") if ref.startswith("refs/heads/") else ""
    place = (f"{HOSTNAME}/{project}", branch or step.get("branch") or "master")
    if branch and step.get("deleted"):
        repositories.heads.pop(place, None)
    elif branch:
        repositories.heads.setdefault(place, repositories.head(place))
    new = NOWHERE if step.get("deleted") else repositories.name(repositories.head(place))
    play.events += 1
    moved = Event(f"event-{play.events}", CONNECTION, "ref-updated", play.now, project, branch, ref, new_commit=new)
    play.tell_ref(moved, () if branch else (place[1],))


def _snapshot(play: Play, step: Step) -> None:
    play.trace.append(snapshot(step.get("label"), play.scheduler, play.executor))


STEPS: dict[str, Callable[[Play, Step], None]] = {
    "change": _change,
    "approve": _approve,
    "event": _event,
    "patchset": _patchset,
    "comment": _comment,
    "abandon": _abandon,
    "submit": _submit,
    "fail": _fail,
    "hold": _hold,
    "release": _release_step,
    "conflict": _conflict,
    "hold_nodes": _hold_nodes,
    "dequeue": _dequeue,
    "enqueue": _enqueue,
    "promote": _promote,
    "ref": _ref,
    "time": _time,
    "snapshot": _snapshot,
}
