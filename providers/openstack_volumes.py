"""The volumes that servers were booted from, as far as Nova does not delete them with their server."""

from __future__ import annotations

from typing import Any

from providers.base import NodeSpec
from providers.openstack_cloud import Cloud, Listing
from providers.openstack_server import NODE, OWNER, PROVIDER, Server
from providers.openstack_settings import OpenStackSettings

GOING = ("deleting",)
_Found = tuple[str, str, str, str]
"""Of a volume: its id, state, owner and node."""


class Volumes:
    """Nova makes and deletes them, and gives them no name: whose a volume is is said in its metadata as soon as its server runs. Without
    `boot-from-volume` nothing is asked and nothing found."""

    def __init__(self, settings: OpenStackSettings, cloud: Cloud) -> None:
        self._wanted = any(label.boot_from_volume for label in settings.labels)
        self._cloud, self._provider = cloud, settings.name
        self._listing: Listing[list[_Found]] = Listing(self._list, settings.list_interval)

    async def mark(self, spec: NodeSpec, server: Server) -> None:
        """Say on the server's volumes whose they are."""
        marks = {OWNER: spec.owner, NODE: spec.id, PROVIDER: self._provider}
        for volume in server.volumes if self._wanted else ():
            await self._cloud.ask("mark a volume", _mark(volume, marks))

    async def owned(self, owner: str) -> set[str]:
        """Nodes of the owner that have one."""
        found = await self._listing.fresh() if self._wanted else []
        return {node for _, state, whose, node in found if whose == owner and state not in GOING}

    async def take(self, node_id: str) -> None:
        """Delete what there is of a node whose servers are gone. Raises `CloudError` for one that is in use all the same."""
        for volume, state, _, node in await self._listing.fresh() if self._wanted else ():
            if node == node_id and state not in GOING:
                await self._cloud.ask("delete a volume", _deletion(volume))

    async def _list(self) -> list[_Found]:
        every = await self._cloud.ask("list volumes", lambda connection: list(connection.block_storage.volumes()))
        marked = [(each, each.metadata or {}) for each in every]
        return [(each.id, each.status, said[OWNER], said[NODE]) for each, said in marked if said.get(PROVIDER) == self._provider]


def _mark(volume: str, marks: dict[str, str]) -> Any:
    return lambda connection: connection.block_storage.set_volume_metadata(volume, **marks)


def _deletion(volume: str) -> Any:
    return lambda connection: connection.block_storage.delete_volume(volume, ignore_missing=True)
