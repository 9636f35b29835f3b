"""The loop around the passes, as Zuul's scheduler turns it: by tenant and pipeline, only where something happened, until all is quiet."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from datetime import datetime

from headgate.changes import Event
from headgate.gating.facts import Facts
from headgate.gating.happenings import (
    Action,
    AskedDequeue,
    AskedEnqueue,
    AskedPromote,
    Happening,
    Heard,
    Left,
    Notify,
    Resumed,
    SemaphoreFreed,
    Superceded,
)
from headgate.gating.passes import pass_
from headgate.gating.reconfiguration import reconfigure
from headgate.gating.state import Key, Tenancy
from headgate.timers import concerns
from headgate.triggers import fires

FIRST = (AskedEnqueue, AskedDequeue, AskedPromote, Resumed, SemaphoreFreed)
LAST = (Heard, Superceded)

Do = Callable[[str, str, Action, list[Happening]], Happening | None]
"""Does an action of a tenant's pipeline, decided in a pass that took in these happenings; what it returns the same pipeline has to know
before any other is looked at."""


After = Callable[[str, list[tuple[Event, Key]], datetime], None]
"""Called with a tenant and the events its pipelines were just given, before these look at anything."""


def in_order(happenings: Iterable[Happening]) -> list[Happening]:
    """What people asked, then results, then events."""
    return sorted(happenings, key=lambda each: 0 if isinstance(each, FIRST) else 2 if isinstance(each, LAST) else 1)


class Turning:
    """All tenants, and what waits to be taken in by each of their pipelines. `tenancies` and `facts` may be replaced between turns."""

    def __init__(self, do: Do, heard: After | None = None) -> None:
        self.tenancies: dict[str, Tenancy] = {}
        self.facts: dict[str, Facts] = {}
        self._do = do
        self._heard = heard
        self._inboxes: dict[str, dict[str, list[Happening]]] = {}
        self._freed: set[str] = set()
        self._events: list[tuple[Event, Key]] = []
        self._reconfigured: set[str] = set()

    def know(self, tenant: str, facts: Facts) -> None:
        """The tenant's facts from now on. Should its layout be another one, what is in flight is fitted into it in the next turn."""
        if tenant in self.facts and self.facts[tenant].layout is not facts.layout:
            self._reconfigured.add(tenant)
        self.facts[tenant] = facts

    def hear(self, event: Event, key: Key) -> None:
        """An event about a change that the facts know."""
        self._events.append((event, key))

    def ask(self, tenant: str, pipeline: str, happening: Happening) -> None:
        self._inboxes.setdefault(tenant, {}).setdefault(pipeline, []).append(happening)

    def settle(self, now: datetime) -> None:
        """Make passes until there is nothing left to take in."""
        for tenant in self._reconfigured:
            self.reconfigure(tenant, now)
        self._reconfigured.clear()
        busy = True
        while busy:
            busy = False
            events, self._events = self._events, []  # more may be announced meanwhile
            for tenant in self.facts:
                busy = self._turn(tenant, events, now) or busy
            busy = busy or bool(self._events)

    def reconfigure(self, tenant: str, now: datetime) -> None:
        """Fit what is in flight into the layout that the facts have now, and let every pipeline look at its items again."""
        before = self.tenancies.get(tenant, Tenancy())
        self.tenancies[tenant], actions = reconfigure(before, self.facts[tenant], now)
        places = {item: name for name, state in before.pipelines.items() for item in state.items}
        for action in actions:
            if isinstance(action, Notify):
                self._notify(tenant, action)
            else:
                self._do(tenant, places.get(action.item.id, "") if isinstance(action, Left) else "", action, [])
        self._wake(tenant)

    def _wake(self, tenant: str) -> None:
        for pipeline in self.facts[tenant].layout.pipelines:
            self.ask(tenant, pipeline, SemaphoreFreed())

    def _turn(self, tenant: str, events: list[tuple[Event, Key]], now: datetime) -> bool:
        if tenant in self._freed:
            self._freed.discard(tenant)
            self._wake(tenant)
        for event, key in events:
            self._forward(tenant, event, key, now)
        if self._heard is not None:
            self._heard(tenant, events, now)
        busy = bool(events)
        for pipeline in self.facts[tenant].layout.pipelines:
            happenings = self._inboxes.get(tenant, {}).pop(pipeline, [])
            while happenings:
                busy = True
                happenings = self._pass(tenant, pipeline, in_order(happenings), now)
        return busy

    def _forward(self, tenant: str, event: Event, key: Key, now: datetime) -> None:
        """Give an event to the pipelines that it triggers, or that have the change or something it needs."""
        facts = self.facts[tenant]
        if not concerns(event, tenant) or facts.project(key) not in facts.layout.projects.by_canonical:
            return
        known = facts.known(key)
        about = {change[:2] for change in (key, *known.needs)}
        there = _changes_in(self.tenancies[tenant])
        for name, pipeline in facts.layout.pipelines.items():
            if about & there.get(name, set()) or fires(pipeline, event, known.change, now):
                self.ask(tenant, name, Heard(event, key))

    def _pass(self, tenant: str, pipeline: str, happenings: list[Happening], now: datetime) -> list[Happening]:
        self.tenancies[tenant], actions = pass_(self.tenancies[tenant], pipeline, happenings, self.facts[tenant], now)
        at_once: list[Happening] = []
        for action in actions:
            if isinstance(action, Notify):
                self._notify(tenant, action)
            elif (answer := self._do(tenant, pipeline, action, happenings)) is not None:
                at_once.append(answer)
        return at_once

    def _notify(self, tenant: str, notify: Notify) -> None:
        if isinstance(notify.happening, SemaphoreFreed):
            self._freed.add(tenant)
        else:
            self.ask(tenant, notify.pipeline, notify.happening)


def _changes_in(tenancy: Tenancy) -> Mapping[str, set[tuple[str, int]]]:
    return {name: {change[:2] for item in state.items.values() for change in item.changes} for name, state in tenancy.pipelines.items()}
