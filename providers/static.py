"""Driver `static`: hosts that exist already, reached over SSH.

Isolation: `process`. Builds on one host follow each other (or run side by side, up to its `max-parallel-jobs`) as the same user:
what one leaves behind, the next finds. Headgate neither boots nor cleans these hosts.

A node is a slot of a host. Slots are files, one for each that is held, so that who holds which survives a restart. For the time
of a node the public key of its build is in the user's `authorized-keys-file`, put there with the host's own `private-key`; where
that file is set to "" (or is not what that sshd reads) builds log in with the host's own key instead.
"""

from __future__ import annotations

import asyncio
import json
import os
import shlex
from collections import Counter
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from types import MappingProxyType
from typing import Literal

import asyncssh
from pydantic import Field, model_validator

from headgate.nodes import Capacity, Size
from providers.base import AtCapacity, DestroyFailed, Isolation, LaunchFailed, Node, NodeSpec, ProviderSettings, Settings
from providers.local import locked, read_facts, write_atomically

_ON_HOST = r"""
import fcntl, json, os, sys, tempfile
action, path, key, wanted = json.loads(sys.argv[1])
path = os.path.realpath(os.path.join(os.path.expanduser("~"), path))
if action != "look":
    os.makedirs(os.path.dirname(path), mode=0o700, exist_ok=True)
    with open(path + ".headgate-lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        old = open(path).read().splitlines() if os.path.exists(path) else []
        new = [line for line in old if line.split()[-1:] != [wanted]] + ([key + " " + wanted] if action == "add" else [])
        if new != old:
            handle, fresh = tempfile.mkstemp(dir=os.path.dirname(path))
            with os.fdopen(handle, "w") as file:
                file.write("".join(line + "\n" for line in new))
            os.replace(fresh, path)
print(json.dumps({"home": os.path.expanduser("~"), "python": sys.executable}))
"""
_FIND_PYTHON = (
    "for python in /usr/bin/python3 /usr/local/bin/python3 /usr/libexec/platform-python; do [ -x $python ] && break; done; exec $python"
)


class StaticNode(Settings):
    """One host. Without `host-key` (a known_hosts key part, or several as `host-keys`) `host-key-checking` must be false:
    then the key it shows at launch is believed, and verified until the node is given back. `timeout` is seconds."""

    name: str = Field(min_length=1, pattern=r"^[^/]+$")
    labels: tuple[str, ...] = Field(min_length=1)
    username: str = "zuul"
    connection_port: int = Field(default=22, ge=1, le=65535)
    host_key: str = ""
    host_keys: tuple[str, ...] = ()
    host_key_checking: bool = True
    python_path: str = "auto"
    max_parallel_jobs: int = Field(default=1, ge=1)
    private_key: Path | None = None
    authorized_keys_file: str = ".ssh/authorized_keys"
    timeout: float = Field(default=5, gt=0)

    @property
    def known_keys(self) -> tuple[str, ...]:
        return (*((self.host_key,) if self.host_key else ()), *self.host_keys)

    @model_validator(mode="after")
    def _host_keys_are_known(self) -> StaticNode:
        if self.host_key_checking and not self.known_keys:
            raise ValueError(f"{self.name} needs its host-key (see ssh-keyscan), or host-key-checking: false on a network that you trust")
        for key in self.known_keys:
            try:
                asyncssh.import_public_key(key)
            except asyncssh.KeyImportError:
                raise ValueError(f"{self.name} has a host-key that is no OpenSSH key; 'ssh-ed25519 AAAA...' is expected") from None
        return self


class StaticSettings(ProviderSettings):
    driver: Literal["static"]
    nodes: tuple[StaticNode, ...] = Field(min_length=1)
    private_key: Path | None = Field(default=None, description="for every host that names none of its own")

    @model_validator(mode="after")
    def _every_host_can_be_used(self) -> StaticSettings:
        counts = Counter((host.name, host.connection_port) for host in self.nodes)
        if twice := [f"{name}:{port}" for (name, port), count in counts.items() if count > 1]:
            raise ValueError(f"{twice[0]} is there twice; max-parallel-jobs says how many builds one host takes")
        if without := [host.name for host in self.nodes if host.private_key is None and self.private_key is None]:
            raise ValueError(f"{without[0]} has no private-key to log in with, and the provider names none")
        return self


class StaticProvider:
    """`SLOT.json` holds who has the slot: it is written before the host is touched and removed when the host is clean."""

    isolation: Isolation = "process"
    zones: tuple[str, ...] = ("",)
    separate_networks = False
    images: Mapping[str, str] = MappingProxyType({})

    def __init__(self, settings: StaticSettings, directory: Path) -> None:
        self.settings = settings
        self.name = settings.name
        self.labels: Mapping[str, Size] = {label: Size() for host in settings.nodes for label in host.labels}
        self._directory = directory

    async def capacity(self) -> Capacity:
        slots: Counter[str] = Counter()
        for host in self.settings.nodes:
            slots.update(dict.fromkeys(host.labels, host.max_parallel_jobs))
        return Capacity(nodes=sum(host.max_parallel_jobs for host in self.settings.nodes), labels=dict(slots))

    async def launch(self, spec: NodeSpec) -> Node:
        if spec.label not in self.labels:
            raise LaunchFailed(f"provider {self.name} has no label {spec.label}")
        refused: dict[StaticNode, str] = {}
        while True:
            host, slot = self._hold(spec, refused)
            try:
                return await self._log_in(spec, host, slot)
            except (OSError, asyncssh.Error, TimeoutError) as problem:
                refused[host] = _reason(problem)
            try:
                await self.destroy(spec.id)
            except DestroyFailed:
                raise LaunchFailed(f"{_address(host)}: {refused[host]}") from None

    def _hold(self, spec: NodeSpec, refused: Mapping[StaticNode, str]) -> tuple[StaticNode, int]:
        """The slot that the node has, or the free one of the host that has most; never on a host in `refused`."""
        with locked(self._directory):
            held = self._held()
            if spec.id in held:
                host, slot = held[spec.id]
                if host is None:
                    raise LaunchFailed(f"the host of {spec.id} is no longer in the configuration of provider {self.name}")
                return host, slot
            taken = Counter(host for host, _ in held.values() if host)
            serving = [host for host in self.settings.nodes if spec.label in host.labels]
            free = [host for host in serving if host not in refused and taken[host] < host.max_parallel_jobs]
            if not free and refused:
                raise LaunchFailed("; ".join(f"{_address(host)}: {why}" for host, why in refused.items()))
            if not free:
                raise AtCapacity(f"every slot of provider {self.name} with label {spec.label} is in use")
            host = max(free, key=lambda host: host.max_parallel_jobs - taken[host])
            used = {slot for other, slot in held.values() if other == host}
            slot = next(number for number in range(host.max_parallel_jobs) if number not in used)
            facts = {"owner": spec.owner, "host": host.name, "port": host.connection_port, "slot": slot, "key": ""}
            write_atomically(self._slot_file(spec.id), facts)
            return host, slot

    def _held(self) -> dict[str, tuple[StaticNode | None, int]]:
        hosts = {(host.name, host.connection_port): host for host in self.settings.nodes}
        facts = {path.stem: read_facts(path) for path in self._directory.glob("*.json")}
        return {name: (hosts.get((found["host"], found["port"])), found["slot"]) for name, found in facts.items() if found}

    def _slot_file(self, node_id: str) -> Path:
        return self._directory / f"{node_id}.json"

    async def _log_in(self, spec: NodeSpec, host: StaticNode, slot: int) -> Node:
        keys = host.known_keys or await self._scan(host)
        async with self._connected(host, keys) as connection:
            found = await _on_host(connection, host, "look", spec.id)
            if host.authorized_keys_file:
                facts = read_facts(self._slot_file(spec.id))
                write_atomically(self._slot_file(spec.id), facts | {"key": spec.public_key})
                await _on_host(connection, host, "add", spec.id, spec.public_key)
        return Node(
            id=spec.id,
            label=spec.label,
            provider=self.name,
            external_id=host.name,
            connection="ssh",
            host=host.name,
            port=host.connection_port,
            username=host.username,
            home=found["home"],
            python_path=found["python"] if host.python_path == "auto" else host.python_path,
            host_keys=keys,
            attributes=dict(self.settings.node_attributes),
            private_key_path="" if host.authorized_keys_file else str(self._private_key(host)),
            host_id=host.name,
            slot=slot,
        )

    async def _scan(self, host: StaticNode) -> tuple[str, ...]:
        async with asyncio.timeout(host.timeout):
            key = await asyncssh.get_server_host_key(host.name, host.connection_port, config=None)
        if key is None:
            raise ConnectionError("it showed no host key")
        return (key.export_public_key().decode().strip(),)

    @asynccontextmanager
    async def _connected(self, host: StaticNode, keys: tuple[str, ...]) -> AsyncIterator[asyncssh.SSHClientConnection]:
        async with asyncio.timeout(host.timeout):
            connection = await asyncssh.connect(
                host.name,
                host.connection_port,
                username=host.username,
                client_keys=[str(self._private_key(host))],
                known_hosts=([asyncssh.import_public_key(key) for key in keys], [], []),
                agent_path=None,
                config=None,
            )
        try:
            yield connection
        finally:
            connection.abort()
            await connection.wait_closed()

    def _private_key(self, host: StaticNode) -> Path:
        chosen = host.private_key or self.settings.private_key
        assert chosen is not None, "the settings model checked this"
        return chosen.expanduser()

    async def destroy(self, node_id: str) -> None:
        facts = read_facts(self._slot_file(node_id))
        host = next(
            (host for host in self.settings.nodes if (host.name, host.connection_port) == (facts.get("host"), facts.get("port"))), None
        )
        if facts.get("key") and host is not None:
            try:
                async with self._connected(host, host.known_keys or await self._scan(host)) as connection:
                    await _on_host(connection, host, "remove", node_id)
            except (OSError, asyncssh.Error, TimeoutError) as problem:
                raise DestroyFailed(f"{_address(host)}: the key of node {node_id} cannot be taken off it: {_reason(problem)}") from problem
        self._slot_file(node_id).unlink(missing_ok=True)

    async def owned(self, owner: str) -> tuple[str, ...]:
        facts = ((path.stem, read_facts(path)) for path in self._directory.glob("*.json"))
        return tuple(sorted(name for name, found in facts if found.get("owner") == owner))

    async def close(self) -> None:
        return


async def _on_host(
    connection: asyncssh.SSHClientConnection, host: StaticNode, action: str, node_id: str, public_key: str = ""
) -> dict[str, str]:
    """Add the build's key, remove it, or only look; returns the user's home and the interpreter that did it."""
    kind_and_key = " ".join(public_key.split()[:2])
    order = json.dumps([action, host.authorized_keys_file, kind_and_key, f"headgate-{node_id}"])
    python = _FIND_PYTHON if host.python_path == "auto" else f"exec {shlex.quote(host.python_path)}"
    async with asyncio.timeout(host.timeout):
        done = await connection.run(f"{python} - {shlex.quote(order)}", input=_ON_HOST)
    if done.exit_status != 0:
        last = str(done.stderr).strip().splitlines()[-1:] or ["it said nothing"]
        raise ConnectionError(f"logged in, but its Python failed: {last[0]}")
    found: dict[str, str] = json.loads(str(done.stdout))
    return found


def _address(host: StaticNode) -> str:
    return f"{host.username}@{host.name}:{host.connection_port}"


def _reason(problem: BaseException) -> str:
    if isinstance(problem, TimeoutError):
        return "no answer in time"
    if isinstance(problem, asyncssh.HostKeyNotVerifiable):
        return "it shows another host key than the configured one"
    if isinstance(problem, asyncssh.PermissionDenied):
        return "the private key is refused"
    if isinstance(problem, FileNotFoundError | PermissionError) and problem.filename:
        return f"{problem.filename}: {os.strerror(problem.errno or 0)}"
    return str(problem) or type(problem).__name__
