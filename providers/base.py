"""What a provider of nodes must offer. One flat file per kind implements `Provider`; `providers.registry` names them.

Every method is repeatable: whoever calls may have been killed in the middle of the last call. `tests/test_providers.py`
is the contract, and every provider passes it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol


class LaunchFailed(Exception):
    """The node did not come up; one sentence why. The caller may try again, here or elsewhere."""

    def __init__(self, message: str, console: str = "") -> None:
        super().__init__(message)
        self.console = console


class AtCapacity(LaunchFailed):
    """Nothing is wrong but there is no room now: the request goes back to the queue and no attempt is counted."""


@dataclass(frozen=True, slots=True)
class NodeSpec:
    """One node to launch. `id` is ours, unique for ever; `owner` names this Headgate installation for leak detection.

    `public_key` is this build's own OpenSSH public key line: the only credential that may log in as the node's user.
    """

    id: str
    label: str
    owner: str
    public_key: str
    hostname: str = ""
    tags: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Node:
    """A node that is up and reachable. `connection` is Ansible's (`ssh`, or `local` inside the build's sandbox);
    `host_keys` are known_hosts key parts (`ssh-ed25519 AAAA...`); `home` is the user's home directory on the node."""

    id: str
    label: str
    provider: str
    external_id: str
    connection: str
    host: str
    port: int
    username: str
    home: str
    python_path: str = "/usr/bin/python3"
    host_keys: tuple[str, ...] = ()
    private_key_path: str = ""
    region: str = ""
    zone: str = ""
    cloud: str = ""
    attributes: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Capacity:
    """How many nodes may exist at once, `None` for no limit of the provider's own."""

    nodes: int | None


class Provider(Protocol):
    """A configured place that nodes come from."""

    name: str
    labels: frozenset[str]

    async def capacity(self) -> Capacity: ...

    async def launch(self, spec: NodeSpec) -> Node:
        """Bring the node up and wait until it can be logged in to. Called again with the same `spec.id` it returns the same
        node. Raises `LaunchFailed`; then nothing of the node is left, or `owned` still lists it."""
        ...

    async def destroy(self, node_id: str) -> None:
        """Take the node away with all that belongs to it. An unknown id is no error."""
        ...

    async def owned(self, owner: str) -> tuple[str, ...]:
        """Ids of every node that exists there and belongs to `owner`, however it came about."""
        ...

    async def close(self) -> None: ...
