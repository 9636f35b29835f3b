"""What people and flows ask of the pipelines: enqueue, dequeue, promote, resume."""

from __future__ import annotations

from headgate.gating import AskedDequeue, AskedEnqueue, AskedPromote
from headgate.records import Command, CommandKind
from services.knowing import Known
from services.turns import Turns
from tasks.readings import TooManyLinks
from tasks.store import Store, Turn


class Commands:
    """Gives each to its pipeline, and says afterwards what became of it."""

    def __init__(self, store: Store, turns: Turns, known: Known) -> None:
        self._store = store
        self._turns = turns
        self._known = known

    async def obey(self, command: Command) -> str:
        """Give a command to its pipeline; why not, if that cannot be."""
        facts = self._turns.turning.facts.get(command.tenant)
        if facts is None:
            return f"there is no tenant {command.tenant}"
        if command.pipeline not in facts.layout.pipelines:
            return f"tenant {command.tenant} has no pipeline {command.pipeline}"
        if command.kind == CommandKind.RESUME:
            return await self._resume(command)
        self._known.keep_refs(command.refs)
        for key in command.changes:
            try:
                await self._known.read(key)
            except KeyError:
                return f"there is no connection {key[0]}"
            except TooManyLinks as problem:
                return str(problem)
            except LookupError:
                return f"there is no change {key[1]},{key[2]} at {key[0]}"
        if command.kind == CommandKind.PROMOTE:
            self._turns.turning.ask(command.tenant, command.pipeline, AskedPromote(command.changes))
            return ""
        for key in command.changes:
            if command.kind == CommandKind.DEQUEUE:
                self._turns.reasons[key] = command.reason or "dequeued by hand"
                self._turns.turning.ask(command.tenant, command.pipeline, AskedDequeue(key))
            else:
                self._turns.turning.ask(command.tenant, command.pipeline, AskedEnqueue(key))
        return ""

    async def _resume(self, command: Command) -> str:
        item = await self._store.item_state(command.item)
        if item is None:
            return f"there is no item {command.item}"
        for key in item.changes:
            await self._known.read(key)
        facts = self._turns.turning.facts[command.tenant]
        pipeline = facts.layout.pipelines[command.pipeline]
        if pipeline.manager == "dependent" and all(facts.known(key).change.merged for key in item.changes):
            return "it has merged"
        if pipeline.manager == "independent" and not item.base:
            self._turns.resume(command.tenant, command.pipeline, item)
        else:
            for key in item.changes:
                self._turns.turning.ask(command.tenant, command.pipeline, AskedEnqueue(key, item.event, again=True))
        return ""

    @staticmethod
    def outcome(command: Command, turn: Turn) -> str:
        """What became of a command, for who gave it."""
        if command.kind == CommandKind.RESUME:
            return "resumed" if command.item in turn.resumed else "it was enqueued anew" if turn.entered else "it is there again by itself"
        if command.kind == CommandKind.DEQUEUE:
            return "dequeued" if turn.left else "it was not there"
        return "done" if turn.states else "nothing changed"
