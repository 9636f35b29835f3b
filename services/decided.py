"""What the rules' actions come to in one turn: each is written down in the `Turn` that is kept afterwards.

Nothing here touches the outside.
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
    Prepare,
    Prepared,
    Report,
    Reported,
    RequestNodes,
    StartBuild,
    Superceded,
    job_key,
)
from headgate.gating import Item as RuledItem
from headgate.gating.announcing import ENQUEUED, MERGED, ZUUL
from headgate.gating.reporting import RESULTS
from headgate.gating.turning import Turning
from headgate.jobs import JobGraph
from headgate.records import REPORTED, Build, Buildset, Item, StoredReport
from tasks.store import Turn, new_id

LEAVING_EVENTS = {"change-abandoned": "abandoned", "change-merged": "merged"}


class Decided:
    """One turn's decisions. `running` are the buildsets that have a flow run, `rounds` how often a job ran before that starts again,
    `reasons` why changes are taken out by hand."""

    def __init__(
        self, turning: Turning, now: datetime, running: set[str], rounds: dict[tuple[str, JobKey], int], reasons: Mapping[Key, str]
    ) -> None:
        self.turn = Turn()
        self.left: list[tuple[str, str, RuledItem, str]] = []
        """Tenant, pipeline, item and why, of every item that left."""
        self.refused: dict[str, Item] = {}
        """Items that could not come in and were spoken of."""
        self._turning = turning
        self._now = now
        self._running = running
        self._rounds = rounds
        self._reasons = reasons

    def do(self, tenant: str, pipeline: str, action: Action, happenings: list[Happening]) -> Happening | None:
        """Write one action down; what the rules hear of it at once."""
        match action:
            case Prepare():
                self._prepare(tenant, pipeline, action)
            case RequestNodes():
                # a build asks for its nodes itself, when it runs
                self._turning.ask(tenant, pipeline, NodesReady(action.buildset, job_key(action.job)))
            case StartBuild():
                self._start(tenant, pipeline, action)
            case CancelBuild(build):
                self.turn.cancelled.append(build)
            case Report():
                return self._say(tenant, pipeline, action)
            case Announce():
                self._announce(tenant, action)
            case Left(item):
                self.left.append((tenant, pipeline, item, self._why(item, happenings)))
        return None

    def record(self, tenant: str, pipeline: str, item: RuledItem) -> Item:
        """The item as it is kept when it comes in."""
        facts = self._turning.facts[tenant]
        key = item.event_change if item.event_change in item.changes else item.changes[0]
        assert key is not None
        changes = tuple(facts.known(each).change for each in item.changes)
        enqueued = item.enqueued or self._now
        change, project = facts.known(key).change, facts.project(key)
        return Item(
            item.id, tenant, pipeline, project, change, enqueued, item.event, changes=changes, ahead_only=not item.live
        )  # fmt: skip

    def _announce(self, tenant: str, announced: Announce) -> None:
        """Let pipelines hear of what others did, about the changes that this concerns: at once of those that are known, of a project's
        open changes when these have been read."""
        facts = self._turning.facts[tenant]
        known = facts.known(announced.change)
        if announced.type == MERGED:
            project, (connection, number, _) = facts.project(announced.change), announced.change
            self.turn.announced.append(Event(f"{ZUUL}:{MERGED}:{connection}:{number}", ZUUL, MERGED, self._now, project, change=number))
        if announced.type == ENQUEUED:
            concerned = dict.fromkeys((*known.needed_by, *facts.depending_on(announced.change, (facts.project(announced.change),))))
            for key in concerned:
                change = facts.known(key).change
                about = (change.project, change.branch, change.ref, change.number, change.patchset)
                name = f"{ZUUL}:{announced.type}:{announced.change}:{key}"
                self._turning.hear(Event(name, ZUUL, announced.type, self._now, *about, pipeline=announced.pipeline), key)

    def _prepare(self, tenant: str, pipeline: str, wanted: Prepare) -> None:
        facts = self._turning.facts[tenant]
        changes = [facts.known(key).change for key in (*wanted.ahead, *wanted.changes)]
        part = any(facts.change_takes_part(key, pipeline) for key in wanted.changes)
        part = part or any(change.is_ref and not change.branch for change in changes)  # which branches have a tag is in the repository
        if wanted.live and not part and not any(self._may_configure(tenant, change) for change in changes):
            # nothing under test can make it take part: no need to merge anything to know that no job runs
            self._turning.ask(tenant, pipeline, Prepared(wanted.buildset, JobGraph(), False))
            return
        ahead = tuple(changes[: len(wanted.ahead)])
        own = tuple(changes[len(wanted.ahead) :])
        self.turn.buildsets.append(Buildset(wanted.buildset, wanted.item, self._now, ahead=ahead, changes=own))

    def _may_configure(self, tenant: str, change: Change) -> bool:
        """May the change touch its project's configuration, for all that is known?"""
        facts = self._turning.facts[tenant]
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
            self._turning.ask(tenant, pipeline, BuildEnded(start.buildset, job_key(job), start.build, SUCCESS, seconds=0))
        self.turn.builds.append(build)

    def _say(self, tenant: str, pipeline: str, report: Report) -> Reported | None:
        facts = self._turning.facts[tenant]
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
        self.turn.reports += rows
        if rows and report.kind == "failure":
            self._refuse(tenant, pipeline, report)
        if report.answer and not rows:
            return Reported(report.buildset, True, all(facts.known(key).change.merged for key in report.messages))
        return None

    def _refuse(self, tenant: str, pipeline: str, report: Report) -> None:
        """Should it be about a change that could not come in, that is remembered with what was said."""
        facts = self._turning.facts[tenant]
        key, message = next(iter(report.messages.items()))
        change = facts.known(key).change
        why = " ".join(message.split()) or "refused"
        self.refused[report.item] = Item(
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
                    return self._reasons.get(change, "dequeued by hand")
                case AskedPromote():
                    return "moved by a promotion"
                case Superceded(change) if change in item.changes:
                    return "superceded by another pipeline"
        return "it has no place there any more"


def _votes(reporters: Iterable[Reporter]) -> tuple[Reporter, ...]:
    return tuple(replace(reporter, submit=False) for reporter in reporters)


def _submits(reporters: Iterable[Reporter]) -> tuple[Reporter, ...]:
    return tuple(replace(reporter, labels={}, comment=False) for reporter in reporters if reporter.submit)
