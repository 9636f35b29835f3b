"""Driver `local`: a node is a directory on this machine.

Isolation: `process`. The directory is the home of a build that runs in its own bubblewrap sandbox with Ansible's `local`
connection: the build sees its home and a read-only system, no other build's files or processes, but it shares this machine's
kernel, network, processor, memory and disk, and runs as the user that Headgate runs as. Use it for linters, documentation and
unit tests; use a provider of machines for what must become root or must be kept apart by more than a sandbox.
"""

from __future__ import annotations

import asyncio
import fcntl
import json
import os
import shutil
import stat
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from types import MappingProxyType
from typing import Any, Literal

from pydantic import Field, field_validator

from headgate.nodes import Capacity, Size
from providers.base import AtCapacity, DestroyFailed, Isolation, LaunchFailed, Node, NodeSpec, ProviderSettings, Settings


class LocalLabel(Settings):
    """A label; a plain string in the configuration is one by that name."""

    name: str = Field(min_length=1)


class LocalSettings(ProviderSettings):
    """`directory` is where the homes are made, instead of beside Headgate's other state."""

    driver: Literal["local"]
    labels: tuple[LocalLabel, ...] = Field(min_length=1)
    max_servers: int | None = Field(default=None, ge=0)
    directory: Path | None = None
    python_path: str = "/usr/bin/python3"

    @field_validator("labels", mode="before")
    @classmethod
    def _names_are_labels(cls, value: Any) -> Any:
        return [{"name": entry} if isinstance(entry, str) else entry for entry in value] if isinstance(value, list) else value


class LocalProvider:
    """Beside each home `ID/` lies its marker `ID.json`, written before the home is made and removed after it is gone.

    A launch is a few calls to the file system and takes no thread: a thread would go on after the launch is cancelled."""

    isolation: Isolation = "process"
    zones: tuple[str, ...] = ("",)
    separate_networks = False
    images: Mapping[str, str] = MappingProxyType({})

    def __init__(self, settings: LocalSettings, directory: Path) -> None:
        self.settings = settings
        self.name = settings.name
        self.labels = {label.name: Size() for label in settings.labels}
        self._directory = settings.directory or directory

    async def capacity(self) -> Capacity:
        return Capacity(nodes=self.settings.max_servers)

    async def launch(self, spec: NodeSpec) -> Node:
        if spec.label not in self.labels:
            raise LaunchFailed(f"provider {self.name} has no label {spec.label}")
        home = self._directory / spec.id
        try:
            with locked(self._directory):
                markers = {marker.stem for marker in self._directory.glob("*.json")}
                limit = self.settings.max_servers
                if spec.id not in markers and limit is not None and len(markers) >= limit:
                    raise AtCapacity(f"provider {self.name} has {len(markers)} of {limit} nodes")
                write_atomically(self._directory / f"{spec.id}.json", {"owner": spec.owner, "label": spec.label, "tags": dict(spec.tags)})
                home.mkdir(mode=0o700, exist_ok=True)
        except OSError as problem:
            raise LaunchFailed(f"provider {self.name} cannot make {home}: {problem.strerror}") from problem
        return Node(
            id=spec.id,
            label=spec.label,
            provider=self.name,
            external_id=str(home),
            connection="local",
            host="localhost",
            port=0,
            username="",
            home=str(home),
            python_path=self.settings.python_path,
            attributes=dict(self.settings.node_attributes),
        )

    async def destroy(self, node_id: str) -> None:
        await asyncio.to_thread(self._destroy, node_id)

    def _destroy(self, node_id: str) -> None:
        marker = self._directory / f"{node_id}.json"
        if not marker.exists():
            return
        try:
            remove_tree(self._directory / node_id)
        except OSError as problem:
            raise DestroyFailed(f"{problem.filename or self._directory / node_id} cannot be removed: {problem.strerror}") from problem
        marker.unlink(missing_ok=True)

    async def owned(self, owner: str) -> tuple[str, ...]:
        facts = ((marker.stem, read_facts(marker)) for marker in self._directory.glob("*.json"))
        return tuple(sorted(name for name, found in facts if found.get("owner") == owner))

    async def close(self) -> None:
        return


@contextmanager
def locked(directory: Path) -> Iterator[None]:
    """Only one thread of one process on this machine is inside for `directory`, which is made if need be."""
    directory.mkdir(parents=True, exist_ok=True)
    with (directory / ".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def write_atomically(path: Path, facts: dict[str, Any]) -> None:
    """The file is there whole or not at all."""
    temporary = path.with_name(f".{path.name}.new")
    temporary.write_text(json.dumps(facts))
    temporary.replace(path)


def read_facts(path: Path) -> dict[str, Any]:
    """What `write_atomically` wrote; nothing when the file is gone meanwhile."""
    try:
        found: dict[str, Any] = json.loads(path.read_text())
    except FileNotFoundError:
        return {}
    return found


def remove_tree(path: Path) -> None:
    """Remove a directory and all below it, also what was made read-only in it. Links are removed, not followed."""

    def gone_is_fine(_function: Callable[..., Any], _name: str, problem: Any) -> None:
        if not isinstance(problem[1], FileNotFoundError):
            raise problem[1]

    try:
        shutil.rmtree(path, onerror=gone_is_fine)
    except PermissionError:
        path.chmod(stat.S_IRWXU)
        for place, directories, _ in os.walk(path):
            for name in directories:
                if not (directory := Path(place, name)).is_symlink():
                    directory.chmod(stat.S_IRWXU)
        shutil.rmtree(path, onerror=gone_is_fine)
