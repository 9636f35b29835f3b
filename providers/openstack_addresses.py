"""Floating IPs of nodes, and ports that servers left behind."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

from providers.base import DestroyFailed, LaunchFailed, NodeSpec
from providers.openstack_catalog import Catalog
from providers.openstack_cloud import Cloud, CloudError, Listing
from providers.openstack_settings import OpenStackSettings

_PORT = "leaked-port-"
_Found = tuple[str, str, str, str]
"""Of a floating IP: its id, address, owner and node."""


class FloatingIps:
    """Each names owner and node in its description. Without `floating-ip-network` nothing is asked and nothing found."""

    def __init__(self, settings: OpenStackSettings, cloud: Cloud, catalog: Catalog) -> None:
        self._settings, self._cloud, self._catalog = settings, cloud, catalog
        self._mark = f"headgate {settings.name} "
        self._listing: Listing[list[_Found]] = Listing(self._list, settings.list_interval)
        self._of_servers: Listing[dict[str, str]] = Listing(self._list_ports, settings.list_interval)

    async def give(self, spec: NodeSpec, server_id: str) -> str:
        """The node's floating address, which it may have already."""
        ports = await self._of_servers.fresh()
        if server_id not in ports:
            raise LaunchFailed(f"{self._settings.name}: server {server_id} has no port for a floating IP")
        if there := [address for _, address, _, node in await self._listing.fresh() if node == spec.id]:
            return there[0]
        network = await self._catalog.network(self._settings.floating_ip_network)
        request = {
            "floating_network_id": network,
            "port_id": ports[server_id],
            "description": f"{self._mark}{spec.owner} {spec.id}",
        }
        return await self._cloud.ask(
            "give a floating IP", lambda connection: str(connection.network.create_ip(**request).floating_ip_address), repeatable=False
        )

    async def take(self, node_id: str) -> None:
        if self._settings.floating_ip_network:
            for address_id, _, _, node in await self._listing.fresh():
                if node == node_id:
                    await self._cloud.ask("delete a floating IP", _deletion_of_ip(address_id))

    async def owned(self, owner: str) -> set[str]:
        """Nodes of the owner that have one."""
        if not self._settings.floating_ip_network:
            return set()
        return {node for _, _, whose, node in await self._listing.fresh() if whose == owner}

    async def _list(self) -> list[_Found]:
        every = await self._cloud.ask("list floating IPs", lambda connection: list(connection.network.ips()))
        marked = [each for each in every if (each.description or "").startswith(self._mark)]
        return [(each.id, each.floating_ip_address, *each.description.removeprefix(self._mark).split(" ", 1)) for each in marked]

    async def _list_ports(self) -> dict[str, str]:
        """The first port of each server."""
        every = await self._cloud.ask("list ports", lambda connection: [(each.device_id, each.id) for each in connection.network.ports()])
        return dict(reversed(every))


class LeakedPorts:
    """Ports of servers that are gone, which a Nova that was interrupted leaves: they say no owner, so that an old age and a server that
    nobody has must do. They are listed as nodes of their own, by the port's id."""

    def __init__(self, settings: OpenStackSettings, cloud: Cloud) -> None:
        self._settings, self._cloud = settings, cloud

    def names(self, node_id: str) -> bool:
        return node_id.startswith(_PORT)

    async def leaked(self) -> set[str]:
        if not self._settings.port_cleanup_interval:
            return set()
        ports = await self._cloud.ask("list ports", lambda connection: list(connection.network.ports(status="DOWN")))
        old = datetime.now(UTC) - timedelta(seconds=self._settings.port_cleanup_interval)
        suspects = [port for port in ports if (port.device_owner or "").startswith("compute:") and _made(port) < old]
        if not suspects:
            return set()
        servers = await self._cloud.ask("list servers", lambda connection: {each.id for each in connection.compute.servers(details=False)})
        return {f"{_PORT}{port.id}" for port in suspects if port.device_id not in servers}

    async def delete(self, node_id: str) -> None:
        """Raises `DestroyFailed` also where the cloud's policy keeps such ports for its administrators (Neutron's own does since 2025)."""
        port = node_id.removeprefix(_PORT)
        try:
            await self._cloud.ask("delete a port", lambda connection: connection.network.delete_port(port, ignore_missing=True))
        except CloudError as problem:
            raise DestroyFailed(str(problem)) from problem


def _made(port: Any) -> datetime:
    return datetime.fromisoformat(port.created_at.replace("Z", "+00:00"))


def _deletion_of_ip(address_id: str) -> Any:
    return lambda connection: connection.network.delete_ip(address_id, ignore_missing=True)
