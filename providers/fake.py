"""A provider for fast tests and simulations: nodes in a dictionary. It passes the contract, and can be told to fail.

It is in no registry, so that no configuration can ask for nodes that do not exist.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Literal

from pydantic import Field

from headgate.nodes import Capacity, Size
from providers.base import AtCapacity, DestroyFailed, Isolation, LaunchFailed, Node, NodeSpec, ProviderSettings


class FakeSettings(ProviderSettings):
    """`delay` is how long a launch takes, in seconds."""

    driver: Literal["fake"] = "fake"
    labels: Mapping[str, Size]
    max_servers: int | None = Field(default=None, ge=0)
    zones: tuple[str, ...] = ("",)
    delay: float = 0


@dataclass
class FakeCloud:
    """The world that outlives the provider: nodes by id. Each entry of the failure lists is used up by one call."""

    nodes: dict[str, tuple[NodeSpec, Node | None]] = field(default_factory=dict)
    launch_failures: list[LaunchFailed] = field(default_factory=list)
    destroy_failures: list[DestroyFailed] = field(default_factory=list)
    calls: list[tuple[str, str]] = field(default_factory=list)


class FakeProvider:
    isolation: Isolation = "process"
    separate_networks = False
    images: Mapping[str, str] = MappingProxyType({})

    def __init__(self, settings: FakeSettings, cloud: FakeCloud) -> None:
        self.settings = settings
        self.name = settings.name
        self.labels = settings.labels
        self.zones = settings.zones
        self._cloud = cloud

    async def capacity(self) -> Capacity:
        return Capacity(nodes=self.settings.max_servers)

    async def launch(self, spec: NodeSpec) -> Node:
        if spec.label not in self.labels:
            raise LaunchFailed(f"provider {self.name} has no label {spec.label}")
        nodes, limit = self._cloud.nodes, self.settings.max_servers
        self._cloud.calls.append(("launch", spec.id))
        if spec.id not in nodes:
            if limit is not None and len(nodes) >= limit:
                raise AtCapacity(f"provider {self.name} has {len(nodes)} of {limit} nodes")
            nodes[spec.id] = (spec, None)
        await asyncio.sleep(self.settings.delay)
        if self._cloud.launch_failures:
            raise self._cloud.launch_failures.pop(0)
        if spec.id not in nodes:
            raise LaunchFailed(f"node {spec.id} was destroyed while it started")
        node = nodes[spec.id][1] or self._node(spec)
        nodes[spec.id] = (spec, node)
        return node

    def _node(self, spec: NodeSpec) -> Node:
        """An address from the range for documentation: nothing answers there."""
        return Node(
            id=spec.id,
            label=spec.label,
            provider=self.name,
            external_id=f"fake-{spec.id}",
            connection="ssh",
            host="192.0.2.1",
            port=22,
            username="zuul",
            home="/home/zuul",
            host_keys=("ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAINMXXBcfMjjZGzN2uJpSsXrXDEGFBwYyB5EJ7VpKDvBd",),
            zone=spec.zone,
        )

    async def destroy(self, node_id: str) -> None:
        self._cloud.calls.append(("destroy", node_id))
        if node_id in self._cloud.nodes and self._cloud.destroy_failures:
            raise self._cloud.destroy_failures.pop(0)
        self._cloud.nodes.pop(node_id, None)

    async def owned(self, owner: str) -> tuple[str, ...]:
        return tuple(sorted(name for name, (spec, _) in self._cloud.nodes.items() if spec.owner == owner))

    async def close(self) -> None:
        return
