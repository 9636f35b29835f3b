"""Nodes that are processes of this machine, for providers that start them: their facts in files, their lock, their end.

`ID.json` (written first, removed last) says whose the node is, and once it is up, what it is. Beside it `ID/` has what belongs to the node,
with `process.json` saying which process it is. Nodes outlive Headgate, and whoever comes next finds them by these files.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Awaitable, Callable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter

from headgate.nodes import Capacity, Size
from providers.base import AtCapacity, DestroyFailed, LaunchFailed, Node, NodeSpec
from providers.local import locked, read_facts, remove_tree, write_atomically
from providers.locks import Process, exclusive

_LOG_BYTES = 100_000
_node: TypeAdapter[Node] = TypeAdapter(Node)


class LocalNodes:
    """The nodes of the provider `name`. `processes` are the files below `ID/` that say which processes are the node's, the node itself
    first; `logs` are those that say what happened; `give_back` takes away what the node has outside of its directory."""

    def __init__(
        self,
        name: str,
        directory: Path,
        processes: tuple[str, ...] = ("process.json",),
        logs: tuple[str, ...] = ("log",),
        give_back: Callable[[Path], None] = lambda _: None,
    ) -> None:
        self.name = name
        self.directory = directory
        self._processes = processes
        self._logs = logs
        self._give_back = give_back

    def facts(self, node_id: str) -> Path:
        return self.directory / f"{node_id}.json"

    def place(self, node_id: str) -> Path:
        """The node's own directory."""
        return self.directory / node_id

    def _lock(self, node_id: str) -> Path:
        return self.directory / f"{node_id}.lock"

    def process(self, node_id: str) -> Process | None:
        return Process.read(self.place(node_id) / self._processes[0])

    def running(self, node_id: str) -> Node | None:
        found = read_facts(self.facts(node_id)).get("node")
        process = self.process(node_id)
        return _node.validate_python(found) if found and process is not None and process.alive else None

    async def launch(self, spec: NodeSpec, seconds: float, bring_up: Callable[[int], Awaitable[Node]]) -> Node:
        """The node that runs, or what `bring_up` makes; it is given the lock's file descriptor, for processes that must keep it. After a
        failure nothing of the node is left, or `owned` lists it. Raises as `Provider.launch`."""
        async with exclusive(self._lock(spec.id)) as lock:
            if (running := self.running(spec.id)) is not None:
                return running
            try:
                async with asyncio.timeout(seconds):
                    await asyncio.to_thread(self._clear, spec.id)  # of whoever was killed while he launched it
                    node = await bring_up(lock)
                    self._arrived(node)
                    return node
            except BaseException as problem:
                console = self.console(spec.id)
                with suppress(DestroyFailed):  # then `owned` lists it
                    await asyncio.shield(asyncio.to_thread(self._remove, spec.id))
                    self._lock(spec.id).unlink(missing_ok=True)
                if isinstance(problem, AtCapacity | asyncio.CancelledError):
                    raise
                if isinstance(problem, LaunchFailed | DestroyFailed | TimeoutError | OSError):
                    raise LaunchFailed(f"node {spec.id}: {problem or 'not ready in time'}", console) from problem
                raise

    def intend(self, spec: NodeSpec, labels: Mapping[str, Size], limits: Capacity, more: Callable[[], Mapping[str, Any]] = dict) -> Any:
        """Write down whose the node is, before anything of it exists, with what `more` finds while no other node comes or goes; its facts.
        Raises `AtCapacity`."""
        facts = self.facts(spec.id)
        with locked(self.directory):
            if not facts.exists():
                self._check_room(spec, labels, limits)
                found = {"owner": spec.owner, "label": spec.label, "request": spec.request, "tags": dict(spec.tags)}
                write_atomically(facts, found | dict(more()))
        return read_facts(facts)

    def _check_room(self, spec: NodeSpec, labels: Mapping[str, Size], limits: Capacity) -> None:
        sizes = [labels.get(name, Size()) for name in [*(found.get("label", "") for found in self.all_facts().values()), spec.label]]
        used = {"nodes": len(sizes), "cores": sum(size.cores for size in sizes), "ram": sum(size.ram for size in sizes)}
        for name, limit in {"nodes": limits.nodes, "cores": limits.cores, "ram": limits.ram}.items():
            if limit is not None and used[name] > limit:
                raise AtCapacity(f"provider {self.name} has no room for another {spec.label} ({name}: {used[name]} with it, of {limit})")

    def _arrived(self, node: Node) -> None:
        facts = read_facts(self.facts(node.id))
        if not facts or facts.get("destroyed"):
            raise LaunchFailed("it was destroyed while it started")
        write_atomically(self.facts(node.id), facts | {"node": _node.dump_python(node, mode="json")})

    def console(self, node_id: str) -> str:
        said = []
        for name in self._logs:
            with suppress(FileNotFoundError), (self.place(node_id) / name).open("rb") as log:
                log.seek(max(0, os.fstat(log.fileno()).st_size - _LOG_BYTES))
                said.append(log.read().decode(errors="replace"))
        return "".join(said)

    async def destroy(self, node_id: str) -> None:
        facts = read_facts(self.facts(node_id))
        if not facts:
            return
        write_atomically(self.facts(node_id), facts | {"destroyed": True})
        await asyncio.to_thread(self._kill, node_id)  # a launch that is waiting for it ends at once
        async with exclusive(self._lock(node_id)):
            await asyncio.to_thread(self._remove, node_id)
            self._lock(node_id).unlink(missing_ok=True)

    def _kill(self, node_id: str) -> Process | None:
        """A process of the node that does not end, if there is one."""
        for name in self._processes:
            process = Process.read(self.place(node_id) / name)
            if process is not None and not process.kill():
                return process
        return None

    def _clear(self, node_id: str) -> None:
        """End its processes and remove its directory. Only while its lock is held."""
        place = self.place(node_id)
        if (process := self._kill(node_id)) is not None:
            raise DestroyFailed(f"process {process.pid} of node {node_id} does not end")
        try:
            if place.exists():
                remove_tree(place)
        except OSError as problem:
            raise DestroyFailed(f"{problem.filename or place} cannot be removed: {problem.strerror}") from problem

    def _remove(self, node_id: str) -> None:
        """Everything of the node, its facts last. Only while its lock is held."""
        self._clear(node_id)
        try:
            self._give_back(self.facts(node_id))
        except OSError as problem:
            raise DestroyFailed(f"what node {node_id} has of this machine cannot be given back: {problem}") from problem
        self.facts(node_id).unlink(missing_ok=True)

    def all_facts(self) -> dict[str, dict[str, Any]]:
        return {marker.stem: read_facts(marker) for marker in self.directory.glob("*.json")}

    def owned(self, owner: str) -> tuple[str, ...]:
        return tuple(sorted(name for name, found in self.all_facts().items() if found.get("owner") == owner))
