"""Driver `openstack`: a node is a server of an OpenStack cloud, one entry for each region.

Isolation: `machine`. Every server carries metadata that names its owner, node and provider; what exists is read from the cloud, so that
a lost database or state directory leaks nothing. One listing per `list-interval` serves every node that starts or goes away: a node costs
one request to start, one to delete, and its share of the listings.

Facts: `ID.json` is written before the server is asked for and removed when the server is gone; `ID.lock` is held while it is asked for.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path

from headgate.nodes import Capacity, Size
from providers.base import AtCapacity, DestroyFailed, ImageFile, Isolation, LaunchFailed, Node, NodeSpec
from providers.local import locked, read_facts, write_atomically
from providers.locks import exclusive
from providers.openstack_addresses import FloatingIps, LeakedPorts
from providers.openstack_catalog import Catalog
from providers.openstack_cloud import Cloud, CloudError, Listing, is_quota
from providers.openstack_images import IMAGE_FORMATS, Images
from providers.openstack_server import Server, read_server, server_request
from providers.openstack_settings import CloudImage, OpenStackSettings
from providers.openstack_volumes import Volumes
from providers.ssh import LoginFailed, host_keys, logged_in, put_key, wait_for_banner

CONSOLE_LINES = 200
_Servers = Mapping[str, Sequence[Server]]


class OpenStackProvider:
    isolation: Isolation = "machine"
    separate_networks = False
    image_formats = IMAGE_FORMATS

    def __init__(self, settings: OpenStackSettings, directory: Path) -> None:
        self.settings = settings
        self.name = settings.name
        self.zones = settings.availability_zones or ("",)
        self.images = {label.name: label.diskimage for label in settings.labels if label.diskimage}
        self.cloud = Cloud(settings)
        self._labels = {label.name: label for label in settings.labels}
        self._directory = directory
        self._catalog = Catalog(settings, self.cloud)
        self._servers: Listing[_Servers] = Listing(self._list, settings.list_interval)
        self._floating = FloatingIps(settings, self.cloud, self._catalog)
        self._ports = LeakedPorts(settings, self.cloud)
        self._volumes = Volumes(settings, self.cloud)
        self._images = Images(settings, self.cloud)

    @property
    def labels(self) -> Mapping[str, Size]:
        """Sizes are those of the flavors, known once `capacity` has been asked for."""
        return {name: self._catalog.size(label) for name, label in self._labels.items()}

    async def capacity(self) -> Capacity:
        with suppress(CloudError):  # the settings' limits stand while the cloud does not answer; a launch will say what is wrong
            await self._catalog.load()
            return self.settings.limits.within(await self._catalog.quota())
        return self.settings.limits

    # --- launching --------------------------------------------------------------------------------------------------------------------

    async def launch(self, spec: NodeSpec) -> Node:
        if spec.label not in self._labels:
            raise LaunchFailed(f"provider {self.name} has no label {spec.label}")
        try:
            async with asyncio.timeout(self.settings.launch_timeout):
                await self._hold(spec)
                server = await self._start(spec)
                active = await self._active(spec)
                await self._volumes.mark(spec, active)
                return await self._reach(spec, server, active)
        except AtCapacity:
            await self._clean_up(spec.id)
            raise
        except (CloudError, LoginFailed, LaunchFailed, TimeoutError) as problem:
            console = await self._console(spec.id)
            await self._clean_up(spec.id)
            if (isinstance(problem, CloudError) and problem.quota) or is_quota(str(problem)):
                raise AtCapacity(str(problem), console) from problem
            raise LaunchFailed(
                str(problem) or f"{self.name}: the launch took longer than {self.settings.launch_timeout:g} s", console
            ) from problem

    async def _hold(self, spec: NodeSpec) -> None:
        """Take room by writing the node's file, so that launches of several processes never exceed the limit together."""
        file, servers = self._file(spec.id), await self._servers.fresh()
        with locked(self._directory):
            if not file.exists():
                ours = {found.node for group in servers.values() for found in group if found.provider == self.name and not found.deleting}
                taken = {path.stem for path in self._directory.glob("*.json")} | ours
                limit = self.settings.max_servers
                if spec.id not in taken and limit is not None and len(taken) >= limit:
                    raise AtCapacity(f"provider {self.name} has {len(taken)} of {limit} nodes")
                write_atomically(file, {"owner": spec.owner, "label": spec.label, "server": ""})

    async def _start(self, spec: NodeSpec) -> str:
        """Ask for the server, unless somebody has: its id. A cancellation does not stop it half-way."""
        label = self._labels[spec.label]
        image = spec.image or await self._catalog.image(label)
        networks = await self._catalog.networks(label)
        request = server_request(
            self.settings, label, spec, image, await self._catalog.flavor(label), networks, await self._catalog.key_name(label)
        )

        async def ask() -> str:
            async with exclusive(self._directory / f"{spec.id}.lock"):
                facts = read_facts(self._file(spec.id))
                if not facts:
                    raise LaunchFailed(f"node {spec.id} was destroyed while it started")
                if not facts["server"]:
                    there = (await self._servers.fresh()).get(spec.id, ())
                    facts["server"] = there[0].id if there else await self.cloud.ask("start a server", create, repeatable=False)
                    write_atomically(self._file(spec.id), facts)
                return str(facts["server"])

        def create(connection: object) -> str:
            return str(connection.compute.create_server(**request).id)  # type: ignore[attr-defined]  # made at run time by openstacksdk

        return await asyncio.shield(asyncio.create_task(ask()))

    async def _active(self, spec: NodeSpec) -> Server:
        """The server as soon as it runs. A listing that fails is asked for again: the launch's own time limits how long."""
        while True:
            try:
                found = (await self._servers.fresh()).get(spec.id, ())
            except CloudError as problem:
                if not problem.passing:
                    raise
                continue
            if not found:
                raise LaunchFailed(f"{self.name}: the server of node {spec.id} vanished while it started")
            server = found[0]
            if server.status == "ERROR":
                raise LaunchFailed(f"{self.name} could not start the server: {server.fault or 'it says no reason'}")
            if server.status == "ACTIVE" and server.addresses:
                return server

    async def _reach(self, spec: NodeSpec, server_id: str, server: Server) -> Node:
        label = self._labels[spec.label]
        image, networks = self.settings.image_of(label), label.networks or self.settings.networks
        floating = await self._floating.give(spec, server_id) if self.settings.floating_ip_network else ""
        private, six = server.address(networks, 4), server.address(networks, 6)
        host = floating or private or six
        await wait_for_banner(host, image.connection_port, self.settings.boot_timeout)
        keys = await host_keys(host, image.connection_port)
        return Node(
            id=spec.id,
            label=spec.label,
            provider=self.name,
            external_id=server.id,
            connection="ssh",
            host=host,
            port=image.connection_port,
            username=image.username,
            home=await self._hand_over(spec, image, host, keys),
            python_path=image.python_path,
            host_keys=keys,
            region=self.settings.region_name,
            zone=spec.zone,
            cloud=self.settings.cloud,
            host_id=server.host_id,
            private_ipv4=private,
            public_ipv4=floating or private,
            public_ipv6=six,
            attributes=dict(self.settings.node_attributes),
        )

    async def _hand_over(self, spec: NodeSpec, image: CloudImage, host: str, keys: Sequence[str]) -> str:
        """Put the build's key on the node where cloud-init did not; the user's home."""
        if self.settings.private_key is not None:
            async with logged_in(host, image.connection_port, image.username, self.settings.private_key.expanduser(), keys) as connection:
                await put_key(connection, spec.public_key)
        return "/root" if image.username == "root" else f"/home/{image.username}"

    async def _console(self, node_id: str) -> str:
        """What the node said, as far as it can be had."""
        facts = read_facts(self._file(node_id))
        label = self._labels.get(facts.get("label", ""))
        if not facts.get("server") or label is None or not label.console_log:
            return ""
        with suppress(CloudError):
            return await self.cloud.ask(
                "show a console",
                lambda connection: str(connection.compute.get_server_console_output(facts["server"], CONSOLE_LINES)["output"] or ""),
            )
        return ""

    async def _clean_up(self, node_id: str) -> None:
        with suppress(DestroyFailed):  # `owned` lists it, and housekeeping destroys it
            await self.destroy(node_id)

    # --- destroying -------------------------------------------------------------------------------------------------------------------

    async def destroy(self, node_id: str) -> None:
        try:
            if self._ports.names(node_id):
                await self._ports.delete(node_id)
                return
            async with exclusive(self._directory / f"{node_id}.lock"):
                await self._delete_servers(node_id)
                await self._floating.take(node_id)
                await self._volumes.take(node_id)
                self._file(node_id).unlink(missing_ok=True)
                (self._directory / f"{node_id}.lock").unlink(missing_ok=True)
        except CloudError as problem:
            raise DestroyFailed(str(problem)) from problem

    async def _delete_servers(self, node_id: str) -> None:
        """Every one with the node's name, since an answer that got lost may have left two; until the listing has none."""
        asked: set[str] = set()
        if known := read_facts(self._file(node_id)).get("server"):
            await self._delete(known)
            asked.add(known)
        deadline = time.monotonic() + self.settings.delete_timeout
        while left := (await self._servers.fresh()).get(node_id, ()):
            for server in left:
                if server.id not in asked:
                    await self._delete(server.id)
                    asked.add(server.id)
                elif server.status == "ERROR" and not server.deleting:
                    raise DestroyFailed(f"{self.name} cannot delete server {server.id}: {server.fault or 'it says no reason'}")
            if time.monotonic() > deadline:
                raise DestroyFailed(f"{self.name} has not deleted server {left[0].id} after {self.settings.delete_timeout:g} s")

    async def _delete(self, server_id: str) -> None:
        await self.cloud.ask("delete a server", lambda connection: connection.compute.delete_server(server_id, ignore_missing=True))

    async def owned(self, owner: str) -> tuple[str, ...]:
        servers = await self._servers.fresh()
        found = {node for node, group in servers.items() if any((each.owner, each.provider) == (owner, self.name) for each in group)}
        found |= {path.stem for path in self._directory.glob("*.json") if read_facts(path).get("owner") == owner}
        found |= await self._floating.owned(owner) | await self._volumes.owned(owner)
        found |= await self._ports.leaked()
        return tuple(sorted(found))

    async def close(self) -> None:
        self._images.close()
        self.cloud.close()

    # --- images -----------------------------------------------------------------------------------------------------------------------

    async def upload_image(self, image: ImageFile) -> str:
        return await self._images.upload(image)

    async def delete_image(self, external_id: str) -> None:
        await self._images.delete(external_id)

    async def owned_images(self, owner: str) -> Mapping[str, str]:
        return await self._images.owned(owner)

    async def snapshot(self, node_id: str, image: ImageFile) -> str:
        servers = (await self._servers.fresh()).get(node_id, ())
        return await self._images.snapshot(servers[0].id if servers else "", node_id, image)

    async def _list(self) -> _Servers:
        """Our servers by node, the oldest first, so that everybody chooses the same of two."""
        every = await self.cloud.ask("list servers", lambda connection: [read_server(each) for each in connection.compute.servers()])
        groups: dict[str, list[Server]] = {}
        for server in sorted(every, key=lambda each: (each.created, each.id)):
            if server.node and server.status != "DELETED":
                groups.setdefault(server.node, []).append(server)
        return groups

    def _file(self, node_id: str) -> Path:
        return self._directory / f"{node_id}.json"
