"""One pass in progress: a pipeline's state that may be changed, and the actions decided so far.

It holds the same frozen values as the state, so whatever is not touched is not copied; `done` gives the new state back.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import replace
from datetime import datetime
from typing import Any
from uuid import NAMESPACE_OID, uuid5

from headgate.configuration import Pipeline
from headgate.gating.facts import Facts
from headgate.gating.happenings import Action, Left
from headgate.gating.state import Buildset, Holder, Item, Key, PipelineState, Queue, Tenancy


class Work:
    """A pass over one pipeline. `facts` do not change while it lasts."""

    def __init__(self, tenancy: Tenancy, pipeline: Pipeline, facts: Facts, now: datetime) -> None:
        state = tenancy.pipelines.get(pipeline.name) or PipelineState()
        self.before = tenancy
        self.state = state
        self.pipeline = pipeline
        self.facts = facts
        self.now = now
        self.queues: dict[str, Queue] = {queue.id: queue for queue in state.queues}
        self.items: dict[str, Item] = dict(state.items)
        self.semaphores: dict[str, tuple[Holder, ...]] = dict(tenancy.semaphores)
        self.failures = state.failures
        self.disabled = state.disabled
        self.counter = state.counter
        self.actions: list[Action] = []
        self.holding: set[str] = set()
        self.idle: set[str] = set()
        """Items that were stopped in this pass with all that is on top of them, and not prepared since."""
        self._passing: set[str] | None = None

    def done(self) -> Tenancy:
        state = PipelineState(tuple(self.queues.values()), self.items, self.failures, self.disabled, self.counter, self.state.seed)
        if state == self.state:
            state = self.state
        if state is self.state and self.semaphores == self.before.semaphores:
            return self.before
        return Tenancy({**self.before.pipelines, self.pipeline.name: state}, self.semaphores)

    def name(self, kind: str) -> str:
        """A new name, unique in the tenant."""
        self.counter += 1
        name = f"{self.pipeline.name}-{kind}-{self.counter}"
        return uuid5(NAMESPACE_OID, f"{self.state.seed}/{name}").hex if self.state.seed else name

    def all_items(self) -> Iterator[Item]:
        """Every item, queue by queue, in order."""
        for queue in list(self.queues.values()):
            for item in queue.items:
                yield self.items[item]

    def change(self, item: str, **values: Any) -> Item:
        """Give an item new values."""
        current = self.items[item]
        if all(getattr(current, name) == value for name, value in values.items()):
            return current
        self.items[item] = replace(current, **values)
        return self.items[item]

    def change_buildset(self, item: str, **values: Any) -> Buildset:
        current = self.items[item].buildset
        if any(getattr(current, name) != value for name, value in values.items()):
            self.idle.discard(item)
            self.items[item] = replace(self.items[item], buildset=replace(current, **values))
        return self.items[item].buildset

    def change_queue(self, queue: str, **values: Any) -> Queue:
        self.queues[queue] = replace(self.queues[queue], **values)
        return self.queues[queue]

    def ahead(self, item: Item) -> Item | None:
        """The nearest item it is tested on that is still there."""
        return next((self.items[each] for each in reversed(item.base) if each in self.items), None)

    def all_ahead(self, item: Item) -> list[Item]:
        """Every item it is tested on that is still there, oldest first."""
        return [self.items[each] for each in item.base if each in self.items]

    def behind(self, item: Item) -> list[Item]:
        """Every item tested on top of it, in order."""
        items = self.queues[item.queue].items
        later = items[items.index(item.id) + 1 :] if item.id in items else ()
        return [self.items[each] for each in later if item.id in self.items[each].base]

    @property
    def passing(self) -> set[str]:
        """Items that what is on top of them need not be tested on: merged (facts do not change during a pass) or not live."""
        if self._passing is None:
            self._passing = {item.id for item in self.items.values() if self._is_passing(item)}
        return self._passing

    def _is_passing(self, item: Item) -> bool:
        return not item.live or all(self.facts.known(key).change.merged for key in item.changes)

    def find_buildset(self, buildset: str) -> Item | None:
        return next((item for item in self.items.values() if item.buildset.id == buildset), None)

    def add(self, queue: str, changes: tuple[Key, ...], live: bool, **values: Any) -> Item:
        """Append a new item, on top of the last of the queue."""
        last = self.queues[queue].items[-1:]
        base = (*self.items[last[0]].base, last[0]) if last else ()
        base = tuple(each for each in base if each in self.items)
        item = Item(self.name("item"), changes, queue, Buildset(self.name("buildset")), base, live, **values)
        self.items[item.id] = item
        if self._passing is not None and self._is_passing(item):
            self._passing.add(item.id)
        self.change_queue(queue, items=(*self.queues[queue].items, item.id))
        return item

    def take_out(self, item: Item, merged: bool = False) -> None:
        """Remove an item, and its queue if nobody defined it. Those tested on top of it stay so only if it merged."""
        queue = self.queues[item.queue]
        self.act([Left(self.items.pop(item.id, item))])
        if self._passing is not None:
            self._passing.discard(item.id)
        if merged:
            for each in queue.items:
                if each != item.id and item.id in self.items[each].base:
                    self.change(each, base=tuple(other for other in self.items[each].base if other != item.id))
        self.change_queue(queue.id, items=tuple(each for each in queue.items if each != item.id))
        self.drop_if_empty(queue.id)

    def drop_if_empty(self, queue: str) -> None:
        found = self.queues.get(queue)
        if found is not None and found.dynamic and not found.items:
            del self.queues[queue]

    def act(self, actions: Iterable[Action]) -> None:
        self.actions.extend(actions)
