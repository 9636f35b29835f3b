"""One turn of the scheduler: what happened goes in, the pipelines' rules decide, and what they decided is collected to be kept.

Nothing here touches the outside: facts are read before, and the `Turn` is kept after.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import datetime

from headgate.gating import Action, Happening, JobKey, Key, PipelineState, Reported, Resumed, Tenancy
from headgate.gating import Item as RuledItem
from headgate.gating.turning import Turning
from headgate.records import REPORTED, Build, Buildset, StoredReport
from services.decided import Decided
from services.happened import by_job, happened, prepared, results_of
from tasks.store import Turn


class Turns:
    """All tenants' pipelines between turns, and the turn that is being made."""

    def __init__(self, web_url: str) -> None:
        self.turning = Turning(self._do)
        self.reasons: dict[Key, str] = {}
        """Why changes are taken out by hand, for the next turn."""
        self._web_url = web_url
        self._rounds: dict[tuple[str, JobKey], int] = {}
        self._running: set[str] = set()
        self._decided = self._begin(datetime.min)
        self._before: dict[tuple[str, str], PipelineState] = {}
        self._resuming: dict[str, str] = {}

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
        self._decided = self._begin(now)
        turn, left = self._decided.turn, self._decided.left
        self._before = {(tenant, name): state for tenant, states in self.tenancies.items() for name, state in states.items()}
        semaphores = {tenant: tenancy.semaphores for tenant, tenancy in self.turning.tenancies.items()}
        self.turning.settle(now)
        for (tenant, name), state in self._states():
            if state is not self._before.get((tenant, name)):
                turn.states[(tenant, name)] = state
                for item in state.items.values():
                    self._compare(tenant, name, item)
        for each in left:
            self._let_go(*each)
        for tenant, tenancy in self.turning.tenancies.items():
            if tenancy.semaphores != semaphores.get(tenant, {}):
                turn.semaphores[tenant] = tenancy.semaphores
        self._running |= {buildset.id for buildset in turn.buildsets}
        self._running -= turn.ended.keys()
        self._complete()
        self.reasons, self._resuming = {}, {}
        return turn

    def _begin(self, now: datetime) -> Decided:
        self._now = now
        return Decided(self.turning, now, self._running, self._rounds, self.reasons)

    def _do(self, tenant: str, pipeline: str, action: Action, happenings: list[Happening]) -> Happening | None:
        return self._decided.do(tenant, pipeline, action, happenings)

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
            self._decided.turn.resumed[item.id] = item.buildset.id
        elif known is None:
            self._decided.turn.entered.append(self._decided.record(tenant, pipeline, item))
        elif known.buildset.id != item.buildset.id:
            self._decided.turn.ended[known.buildset.id] = ""
        self._decided.turn.items[item.id] = item
        self._decided.turn.builds += results_of(item, known, self._now)

    def _let_go(self, tenant: str, pipeline: str, item: RuledItem, reason: str) -> None:
        """What is to be kept of an item that left in this turn. One that came and went and was not spoken of has never been there."""
        turn, known = self._decided.turn, self._known(tenant, pipeline, item)
        if known is None and not any(report.item == item.id for report in turn.reports):
            turn.buildsets = [each for each in turn.buildsets if each.item != item.id]
            return
        if known is None:
            turn.entered.append(self._decided.record(tenant, pipeline, item))
        elif known.buildset.id != item.buildset.id:
            # what was reported stays so, also when the jobs that follow a report were stopped
            turn.ended[known.buildset.id] = known.buildset.result if known.reporter_jobs else ""
        turn.builds += results_of(item, known, self._now)
        turn.left[item.id] = reason
        turn.ended[item.buildset.id] = item.buildset.result if reason == REPORTED else ""

    def _complete(self) -> None:
        """Whatever is kept of a buildset needs the buildset, also of one that was never to be prepared; and its item."""
        turn, refused = self._decided.turn, self._decided.refused
        there = {buildset.id for buildset in turn.buildsets}
        items = {item.id for item in turn.entered} | {item for state in self._before.values() for item in state.items}
        for report in turn.reports:
            if report.buildset is not None and report.buildset not in there and report.change is not None:
                there.add(report.buildset)
                turn.buildsets.append(
                    Buildset(report.buildset, report.item, self._now, prepared=self._now, ended=self._now, changes=(report.change,))
                )
            if report.item not in items and report.item in refused:
                items.add(report.item)
                turn.entered.append(refused[report.item])
        for build in turn.builds:
            if build.buildset not in there:
                there.add(build.buildset)
                item = next((each for each in turn.items.values() if each.buildset.id == build.buildset), None)
                item = item or next(each[2] for each in self._decided.left if each[2].buildset.id == build.buildset)
                turn.buildsets.append(Buildset(build.buildset, item.id, self._now, prepared=self._now))
