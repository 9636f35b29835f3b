"""One turn of the scheduler: what happened goes in, the pipelines' rules decide, and what they decided is collected to be kept.

Nothing here touches the outside: facts are read before, and the `Turn` is kept after.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace
from datetime import datetime

from headgate.builds import NOOP, SUCCESS
from headgate.changes import Change, Event
from headgate.configuration import Reporter
from headgate.configuration.files import rank
from headgate.gating import (
    Action,
    Announce,
    AskedDequeue,
    AskedPromote,
    BuildEnded,
    CancelBuild,
    Happening,
    Heard,
    JobKey,
    Key,
    Left,
    NodesReady,
    PipelineState,
    Prepare,
    Prepared,
    Report,
    Reported,
    RequestNodes,
    Resumed,
    StartBuild,
    Superceded,
    Tenancy,
    job_key,
)
from headgate.gating import Item as RuledItem
from headgate.gating.announcing import ENQUEUED, ZUUL
from headgate.gating.reporting import RESULTS
from headgate.gating.turning import Turning
from headgate.jobs import JobGraph
from headgate.records import REPORTED, Build, Buildset, Item, StoredReport
from services.happened import by_job, happened, prepared, results_of
from tasks.store import Turn, new_id

LEAVING_EVENTS = {"change-abandoned": "abandoned", "change-merged": "merged"}


class Turns:
    """All tenants' pipelines between turns, and the turn that is being made."""

    def __init__(self, web_url: str) -> None:
        self.turning = Turning(self._do)
        self._web_url = web_url
        self._turn = Turn()
        self._now = datetime.min
        self._before: dict[tuple[str, str], PipelineState] = {}
        self._left: list[tuple[str, str, RuledItem, str]] = []
        self._refused: dict[str, Item] = {}
        self._resuming: dict[str, str] = {}
        self._rounds: dict[tuple[str, JobKey], int] = {}
        self._running: set[str] = set()
        self.reasons: dict[Key, str] = {}
        """Why changes are taken out by hand, for the next turn."""

    @property
    def tenancies(self) -> Mapping[str, Mapping[str, PipelineState]]:
        return {tenant: tenancy.pipelines for tenant, tenancy in self.turning.tenancies.items()}

    def items(self) -> Iterable[tuple[str, str, RuledItem]]:
        """(tenant, pipeline, item) of every item there is."""
        for tenant, pipelines in self.tenancies.items():
            for pipeline, state in pipelines.items():
                for item in state.items.values():
                    yield tenant, pipeline, item

    def changes(self) -> set[Key]:
        """Every patchset that is in a pipeline."""
        return {key for _, _, item in self.items() for key in item.changes}

    def load(self, tenancies: Mapping[str, Tenancy], running: Iterable[str]) -> None:
        """Begin with what was kept. `running` are the buildsets that have a flow run."""
        self.turning.tenancies = dict(tenancies)
        self._running = set(running)

    # --- what became of what was asked for ------------------------------------------------------------------------------------------

    def take_prepared(self, buildset: Buildset) -> None:
        place = self._place_of(buildset.id)
        if place is not None:
            self.turning.ask(*place[:2], prepared(buildset))

    def take_builds(self, buildset_id: str, builds: Iterable[Build]) -> None:
        """What the store says of a buildset's builds: ended, paused, or running again."""
        place = self._place_of(buildset_id)
        if place is None:
            return
        tenant, pipeline, item = place
        known = by_job(item.buildset.graph, builds)
        for key, ruled in item.buildset.builds.items():
            build = known.get(key)
            if build is not None and build.result == "SKIPPED":
                self._rounds[(buildset_id, key)] = build.round
            for happening in happened(item, key, ruled, build, self._web_url) if build is not None else ():
                self.turning.ask(tenant, pipeline, happening)

    def take_answers(self, buildset_id: str, reports: Iterable[StoredReport]) -> None:
        """Everything that a queue waits for was said."""
        place = self._place_of(buildset_id)
        if place is None or not place[2].reporting:
            return
        tenant, pipeline, item = place
        facts = self.turning.facts[tenant]
        merged = all(facts.known(key).change.merged for key in item.changes)
        self.turning.ask(tenant, pipeline, Reported(buildset_id, not any(report.refused for report in reports), merged))

    def _place_of(self, buildset_id: str) -> tuple[str, str, RuledItem] | None:
        return next((place for place in self.items() if place[2].buildset.id == buildset_id), None)

    # --- the turn -------------------------------------------------------------------------------------------------------------------

    def resume(self, tenant: str, pipeline: str, item: RuledItem) -> None:
        """Bring an item back in the next turn, as it was when its run was cancelled."""
        self._resuming[item.id] = item.buildset.id
        self.turning.ask(tenant, pipeline, Resumed(item))

    def make(self, now: datetime) -> Turn:
        """Turn until all is quiet. The pipelines hold the new state from now on: keep the turn, or read them again."""
        turn = self._turn = Turn()
        self._now, self._left, self._refused = now, [], {}
        self._before = {(tenant, name): state for tenant, states in self.tenancies.items() for name, state in states.items()}
        semaphores = {tenant: tenancy.semaphores for tenant, tenancy in self.turning.tenancies.items()}
        self.turning.settle(now)
        for (tenant, name), state in self._states():
            if state is not self._before.get((tenant, name)):
                turn.states[(tenant, name)] = state
                for item in state.items.values():
                    self._compare(tenant, name, item)
        for each in self._left:
            self._let_go(*each)
        for tenant, tenancy in self.turning.tenancies.items():
            if tenancy.semaphores != semaphores.get(tenant, {}):
                turn.semaphores[tenant] = tenancy.semaphores
        self._running |= {buildset.id for buildset in turn.buildsets}
        self._running -= turn.ended.keys()
        self._complete()
        self.reasons, self._resuming = {}, {}
        return turn

    def _states(self) -> list[tuple[tuple[str, str], PipelineState]]:
        return [((tenant, name), state) for tenant, states in self.tenancies.items() for name, state in states.items()]

    def _known(self, tenant: str, pipeline: str, item: RuledItem) -> RuledItem | None:
        """The item before this turn."""
        before = self._before.get((tenant, pipeline))
        return before.items.get(item.id) if before is not None else None

    def _compare(self, tenant: str, pipeline: str, item: RuledItem) -> None:
        """What is new of an item that is there after the turn."""
        known = self._known(tenant, pipeline, item)
        if item is known:
            return
        if known is None and item.id in self._resuming:
            self._turn.resumed[item.id] = item.buildset.id
        elif known is None:
            self._turn.entered.append(self._record(tenant, pipeline, item))
        elif known.buildset.id != item.buildset.id:
            self._turn.ended[known.buildset.id] = ""
        self._turn.items[item.id] = item
        self._turn.builds += results_of(item, known, self._now)

    def _let_go(self, tenant: str, pipeline: str, item: RuledItem, reason: str) -> None:
        """What is to be kept of an item that left in this turn. One that came and went and was not spoken of has never been there."""
        turn, known = self._turn, self._known(tenant, pipeline, item)
        if known is None and not any(report.item == item.id for report in turn.reports):
            turn.buildsets = [each for each in turn.buildsets if each.item != item.id]
            return
        if known is None:
            turn.entered.append(self._record(tenant, pipeline, item))
        elif known.buildset.id != item.buildset.id:
            turn.ended[known.buildset.id] = ""
        turn.builds += results_of(item, known, self._now)
        turn.left[item.id] = reason
        turn.ended[item.buildset.id] = item.buildset.result if reason == REPORTED else ""

    def _complete(self) -> None:
        """Whatever is kept of a buildset needs the buildset, also of one that was never to be prepared; and its item."""
        turn = self._turn
        there = {buildset.id for buildset in turn.buildsets}
        items = {item.id for item in turn.entered} | {item for state in self._before.values() for item in state.items}
        for report in turn.reports:
            if report.buildset is not None and report.buildset not in there and report.change is not None:
                there.add(report.buildset)
                turn.buildsets.append(
                    Buildset(report.buildset, report.item, self._now, prepared=self._now, ended=self._now, changes=(report.change,))
                )
            if report.item not in items and report.item in self._refused:
                items.add(report.item)
                turn.entered.append(self._refused[report.item])
        for build in turn.builds:
            if build.buildset not in there:
                there.add(build.buildset)
                item = next((each for each in turn.items.values() if each.buildset.id == build.buildset), None)
                item = item or next(each[2] for each in self._left if each[2].buildset.id == build.buildset)
                turn.buildsets.append(Buildset(build.buildset, item.id, self._now, prepared=self._now))

    def _record(self, tenant: str, pipeline: str, item: RuledItem) -> Item:
        facts = self.turning.facts[tenant]
        key = item.event_change if item.event_change in item.changes else item.changes[0]
        assert key is not None
        changes = tuple(facts.known(each).change for each in item.changes)
        enqueued = item.enqueued or self._now
        change, project = facts.known(key).change, facts.project(key)
        return Item(
            item.id, tenant, pipeline, project, change, enqueued, item.event, changes=changes, ahead_only=not item.live
        )  # fmt: skip

    # --- actions --------------------------------------------------------------------------------------------------------------------

    def _do(self, tenant: str, pipeline: str, action: Action, happenings: list[Happening]) -> Happening | None:
        match action:
            case Prepare():
                self._prepare(tenant, pipeline, action)
            case RequestNodes():
                # a build asks for its nodes itself, when it runs
                self.turning.ask(tenant, pipeline, NodesReady(action.buildset, job_key(action.job)))
            case StartBuild():
                self._start(tenant, pipeline, action)
            case CancelBuild(build):
                self._turn.cancelled.append(build)
            case Report():
                return self._say(tenant, pipeline, action)
            case Announce():
                self._announce(tenant, action)
            case Left(item):
                self._left.append((tenant, pipeline, item, self._why(item, happenings)))
        return None

    def _announce(self, tenant: str, announced: Announce) -> None:
        """Let pipelines hear of what others did, about the changes that this concerns and that are known."""
        facts = self.turning.facts[tenant]
        known = facts.known(announced.change)
        if announced.type == ENQUEUED:
            concerned = dict.fromkeys((*known.needed_by, *facts.depending_on(announced.change, (facts.project(announced.change),))))
            for key in concerned:
                change = facts.known(key).change
                about = (change.project, change.branch, change.ref, change.number, change.patchset)
                name = f"{ZUUL}:{announced.type}:{announced.change}:{key}"
                self.turning.hear(Event(name, ZUUL, announced.type, self._now, *about, pipeline=announced.pipeline), key)

    def _prepare(self, tenant: str, pipeline: str, wanted: Prepare) -> None:
        facts = self.turning.facts[tenant]
        changes = [facts.known(key).change for key in (*wanted.ahead, *wanted.changes)]
        part = any(facts.change_takes_part(key, pipeline) for key in wanted.changes)
        if wanted.live and not part and not any(self._may_configure(tenant, change) for change in changes):
            # nothing under test can make it take part: no need to merge anything to know that no job runs
            self.turning.ask(tenant, pipeline, Prepared(wanted.buildset, JobGraph(), False))
            return
        ahead = tuple(changes[: len(wanted.ahead)])
        own = tuple(changes[len(wanted.ahead) :])
        self._turn.buildsets.append(Buildset(wanted.buildset, wanted.item, self._now, ahead=ahead, changes=own))

    def _may_configure(self, tenant: str, change: Change) -> bool:
        """May the change touch its project's configuration, for all that is known?"""
        facts = self.turning.facts[tenant]
        known = facts.layout.projects.by_canonical.get(facts.project(change.key))
        if known is None or change.is_ref:
            return False
        return not change.files or any(rank(known.settings, path) is not None for path in change.files)

    def _start(self, tenant: str, pipeline: str, start: StartBuild) -> None:
        job = start.job
        build = Build(
            start.build, start.buildset, job.name, 1, job.voting, self._now,
            position=job.changes[0], round=self._rounds.pop((start.buildset, job_key(job)), 0) + 1,
        )  # fmt: skip
        if job.name == NOOP:
            build = replace(build, ended=self._now, result=SUCCESS)
            self.turning.ask(tenant, pipeline, BuildEnded(start.buildset, job_key(job), start.build, SUCCESS, seconds=0))
        self._turn.builds.append(build)

    def _say(self, tenant: str, pipeline: str, report: Report) -> Reported | None:
        facts = self.turning.facts[tenant]
        by_flow = report.kind != "dequeue" and report.buildset in self._running
        rows = []
        for phase in (_votes, _submits) if report.two_phases else (tuple,):
            for key, message in report.messages.items():
                change = facts.known(key).change
                if change.is_ref:  # nobody reviews it: its result is in the pages and in Prefect
                    continue
                if told := phase(reporter for reporter in report.reporters if reporter.connection == change.connection):
                    labels = {label: value for reporter in told for label, value in reporter.labels.items()}
                    rows.append(
                        StoredReport(
                            new_id(), report.item, report.buildset, RESULTS.get(report.kind, report.kind), message, labels, self._now,
                            change=change, reporters=told, answer=report.answer, by_flow=by_flow,
                        )
                    )  # fmt: skip
        self._turn.reports += rows
        if rows and report.kind == "failure":
            self._refuse(tenant, pipeline, report)
        if report.answer and not rows:
            return Reported(report.buildset, True, all(facts.known(key).change.merged for key in report.messages))
        return None

    def _refuse(self, tenant: str, pipeline: str, report: Report) -> None:
        """Should it be about a change that could not come in, that is remembered with what was said."""
        facts = self.turning.facts[tenant]
        key, message = next(iter(report.messages.items()))
        change = facts.known(key).change
        why = " ".join(message.split()) or "refused"
        self._refused[report.item] = Item(
            report.item, tenant, pipeline, facts.project(key), change, self._now, dequeued=self._now, reason=why, changes=(change,)
        )  # fmt: skip

    def _why(self, item: RuledItem, happenings: Iterable[Happening]) -> str:
        """Why an item has left, in words for people."""
        if item.buildset.result not in ("", "DEQUEUED"):
            return REPORTED
        places = {key[:2] for key in item.changes}
        for happening in happenings:
            match happening:
                case Heard(event, change) if change[:2] in places and event.type == "patchset-created":
                    return f"replaced by patchset {change[2]}"
                case Heard(event, change) if change[:2] in places and event.type in LEAVING_EVENTS:
                    return LEAVING_EVENTS[event.type]
                case AskedDequeue(change) if change in item.changes:
                    return self.reasons.get(change, "dequeued by hand")
                case AskedPromote():
                    return "moved by a promotion"
                case Superceded(change) if change in item.changes:
                    return "superceded by another pipeline"
        return "it has no place there any more"


def _votes(reporters: Iterable[Reporter]) -> tuple[Reporter, ...]:
    return tuple(replace(reporter, submit=False) for reporter in reporters)


def _submits(reporters: Iterable[Reporter]) -> tuple[Reporter, ...]:
    return tuple(replace(reporter, labels={}, comment=False) for reporter in reporters if reporter.submit)
