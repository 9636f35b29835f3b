"""What a cloud has by name: flavors, images, networks, keypairs, quotas. Asked for once and remembered, since names rarely change."""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass
from difflib import get_close_matches

import asyncssh

from headgate.nodes import Capacity, Size
from providers.openstack_cloud import Cloud, CloudError
from providers.openstack_settings import OpenStackLabel, OpenStackSettings

QUOTA_SECONDS = 60.0
"""How long a quota is believed."""


@dataclass(frozen=True, slots=True)
class Flavor:
    id: str
    name: str
    cores: int
    ram: int


class Catalog:
    """Every method raises `CloudError`, whose sentence names what there is when a name is unknown."""

    def __init__(self, settings: OpenStackSettings, cloud: Cloud) -> None:
        self._settings, self._cloud = settings, cloud
        self._flavors: list[Flavor] = []
        self._images: dict[str, str] = {}
        self._networks: dict[str, str] = {}
        self._key = ""
        self._quota, self._quota_asked = Capacity(), -QUOTA_SECONDS
        self._lock = asyncio.Lock()

    async def load(self) -> None:
        """The flavors, the least memory first."""
        async with self._lock:
            if not self._flavors:
                found = await self._cloud.ask(
                    "list flavors",
                    lambda connection: [Flavor(each.id, each.name, each.vcpus, each.ram) for each in connection.compute.flavors()],
                )
                self._flavors = sorted(found, key=lambda each: (each.ram, each.cores, each.name))

    def _chosen(self, label: OpenStackLabel) -> Flavor | None:
        if label.flavor_name:
            return next((each for each in self._flavors if each.name == label.flavor_name), None)
        return next((each for each in self._flavors if each.ram >= label.min_ram), None)

    def size(self, label: OpenStackLabel) -> Size:
        """What a node of the label takes; nothing before `load`."""
        flavor = self._chosen(label)
        volumes = (1, label.volume_size) if label.boot_from_volume else (0, 0)
        return Size(flavor.cores if flavor else 0, flavor.ram if flavor else 0, *volumes)

    async def flavor(self, label: OpenStackLabel) -> str:
        await self.load()
        flavor = self._chosen(label)
        if flavor is None:
            wanted = label.flavor_name or f"with {label.min_ram} MiB"
            raise self._unknown("flavor", wanted, [each.name for each in self._flavors])
        return flavor.id

    async def image(self, label: OpenStackLabel) -> str:
        """Of a cloud's own image the id. One that Headgate built is named by `NodeSpec.image`."""
        image = self._settings.image_of(label)
        if image.image_id:
            return image.image_id
        if label.diskimage:
            raise CloudError(f"{self._settings.name}: image {label.diskimage} of label {label.name} has not been uploaded yet", 404)
        wanted = image.image_name or image.name
        async with self._lock:
            if wanted not in self._images:
                every = await self._cloud.ask(
                    "list images",
                    lambda connection: sorted((each.created_at, each.name, each.id) for each in connection.image.images(status="active")),
                )
                self._images = {name: image_id for _, name, image_id in every}
            if wanted not in self._images:
                raise self._unknown("image", wanted, list(self._images))
            return self._images[wanted]

    async def networks(self, label: OpenStackLabel) -> list[str]:
        """Ids of the label's networks, else the provider's; none when neither names any, and Nova chooses."""
        return [await self.network(wanted) for wanted in label.networks or self._settings.networks]

    async def network(self, name: str) -> str:
        """The id of a network by its name or id."""
        async with self._lock:
            if name not in self._networks:
                every = await self._cloud.ask(
                    "list networks", lambda connection: [(each.name, each.id) for each in connection.network.networks()]
                )
                self._networks = dict(every) | {network_id: network_id for _, network_id in every}
            if name not in self._networks:
                raise self._unknown("network", name, list(self._networks))
            return self._networks[name]

    async def key_name(self, label: OpenStackLabel) -> str:
        """The keypair to boot with: the label's, or one made of the provider's `private-key`, named by its fingerprint."""
        if label.key_name or self._settings.private_key is None:
            return label.key_name
        async with self._lock:
            if not self._key:
                key = asyncssh.read_private_key(self._settings.private_key.expanduser())
                name = "headgate-" + key.get_fingerprint().removeprefix("SHA256:").replace("/", "-").replace("+", "-")
                public = key.export_public_key().decode().strip()
                try:
                    await self._cloud.ask(
                        "add a keypair", lambda connection: connection.compute.create_keypair(name=name, public_key=public)
                    )
                except CloudError as problem:
                    if problem.status != 409:  # it is there
                        raise
                self._key = name
            return self._key

    async def quota(self) -> Capacity:
        """What the cloud allows the project; no limits when the settings say to ignore it."""
        if self._settings.ignore_provider_quota:
            return Capacity()
        async with self._lock:
            if time.monotonic() - self._quota_asked >= QUOTA_SECONDS:
                limits = await self._cloud.ask("show its quota", lambda connection: connection.compute.get_limits().absolute)
                self._quota = Capacity(_limit(limits.instances), _limit(limits.total_cores), _limit(limits.total_ram))
                self._quota_asked = time.monotonic()
            return self._quota

    def _unknown(self, kind: str, wanted: str, known: list[str]) -> CloudError:
        near = get_close_matches(wanted, known, n=1)
        advice = f"did you mean {near[0]}?" if near else f"there are {', '.join(sorted(known)) or 'none'}"
        return CloudError(f"{self._settings.name} has no {kind} {wanted}: {advice}", 404)


def _limit(value: int | None) -> int | None:
    """OpenStack's -1 is no limit."""
    return None if value is None or value < 0 else value
