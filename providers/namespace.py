"""Driver `namespace`: a node is a tree of files under an overlay, with processes, network and users of its own, and an SSH server.

Isolation: `namespace`. **The kernel is shared with this machine and every other node**: a hole in the kernel is a way out. Root on a node
is nobody on the machine, sees no process, file, device or service of it, and cannot load modules, set the clock or start virtual machines.
It may take the machine's processor, memory and disk. It is for what you would run on this machine in a container; for strangers' code that
must not share a kernel there are `qemu` and `openstack`.

Headgate must run as root, on Linux 5.19 or newer, with `ip` and `nft`. A node is ready in about a quarter of a second. Nodes end with the
machine, not with Headgate.

Facts: see `providers.local_nodes`; `ID/` has the overlay's writable layer, the log of the SSH server and who the first process is.
Everything else (mounts, network, processes) ends with that process.
"""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from ipaddress import IPv4Network
from pathlib import Path
from typing import Any, Literal

import asyncssh
from pydantic import Field, model_validator

from headgate.nodes import Capacity, Size
from providers import namespace_network
from providers.base import DestroyFailed, ImageFile, Isolation, LaunchFailed, LimitedSettings, Node, NodeSpec, Settings
from providers.local_images import LocalImages, run
from providers.local_nodes import LocalNodes
from providers.ssh import wait_for_banner

_STARTER = Path(__file__).with_name("namespace_node.py")
_HOST_KEY = "/etc/ssh/ssh_host_ed25519_key"  # where everybody looks for it: Ansible's facts, roles that spread known hosts


class NamespaceLabel(Settings):
    """Either `image`, one that Headgate builds, or `tree`, a directory with a Linux system. `cores` and `ram` (MiB) only count towards the
    provider's limits."""

    name: str = Field(min_length=1)
    image: str = ""
    tree: Path | None = None
    username: str = "zuul"
    python_path: str = "/usr/bin/python3"
    cores: int = Field(default=0, ge=0)
    ram: int = Field(default=0, ge=0)

    @model_validator(mode="after")
    def _one_source(self) -> NamespaceLabel:
        if bool(self.image) == bool(self.tree):
            raise ValueError(f"{self.name} needs either image, the name of one that Headgate builds, or tree, a directory")
        return self


class NamespaceSettings(LimitedSettings):
    """`network` is divided into one of 32 addresses for each request; `first_id` is where the user ids of nodes begin on this machine.
    With `internet` nodes reach what this machine routes to; with `firewall` (nft) they reach nothing on this machine itself."""

    driver: Literal["namespace"]
    labels: tuple[NamespaceLabel, ...] = Field(min_length=1)
    directory: Path | None = None
    network: IPv4Network = IPv4Network("10.213.0.0/16")
    first_id: int = Field(default=1_000_000_000, ge=100_000, le=4_000_000_000)
    internet: bool = True
    firewall: bool = True
    processes: int = Field(default=8192, ge=64)
    boot_timeout: float = Field(default=60, gt=0)

    @model_validator(mode="after")
    def _network_is_large_enough(self) -> NamespaceSettings:
        if self.network.prefixlen > namespace_network.PREFIX:
            raise ValueError(f"network {self.network} is too small: /{namespace_network.PREFIX} or larger is needed")
        return self


@dataclass(frozen=True, slots=True)
class _User:
    name: str
    number: int
    group: int
    home: str


class NamespaceProvider:
    isolation: Isolation = "namespace"
    zones: tuple[str, ...] = ("",)
    separate_networks = True
    image_formats = ("tar",)

    def __init__(self, settings: NamespaceSettings, directory: Path) -> None:
        self.settings = settings
        self.name = settings.name
        self.labels: Mapping[str, Size] = {label.name: Size(label.cores, label.ram) for label in settings.labels}
        self.images: Mapping[str, str] = {label.name: label.image for label in settings.labels if label.image}
        self._by_name = {label.name: label for label in settings.labels}
        self._directory = (settings.directory or directory).resolve()
        self._images = LocalImages(self._directory / "images")
        self._machine = namespace_network.Machine(settings.network)
        self._nodes = LocalNodes(self.name, self._directory, give_back=self._give_back)

    async def capacity(self) -> Capacity:
        return self.settings.limits

    async def launch(self, spec: NodeSpec) -> Node:
        label = self._by_name.get(spec.label)
        if label is None:
            raise LaunchFailed(f"provider {self.name} has no label {spec.label}")
        if os.geteuid() != 0:
            raise LaunchFailed(f"provider {self.name} makes namespaces, for which Headgate must run as root; driver local does without")
        tree = label.tree or (Path(spec.image) if spec.image else None)
        if tree is None:
            raise LaunchFailed(f"image {label.image} of label {label.name} has no upload at provider {self.name} yet")
        user = _user(tree, label)

        async def bring_up(lock: int) -> Node:
            return await self._launch(spec, label, tree, user, lock)

        return await self._nodes.launch(spec, self.settings.launch_timeout, bring_up)

    async def _launch(self, spec: NodeSpec, label: NamespaceLabel, tree: Path, user: _User, lock: int) -> Node:
        host_key = asyncssh.generate_private_key("ssh-ed25519")
        place = self._take_place(spec)
        settings = self.settings
        firewall = asyncio.create_task(namespace_network.protect(settings.network, place.bridge, settings.firewall, settings.internet))
        try:
            directory = self._nodes.place(spec.id)
            for name in ("upper", "work", "root", "tree"):
                (directory / name).mkdir(parents=True, exist_ok=True, mode=0o700)
            order = self._order(spec, tree, user, place, host_key) | {"lock": lock}
            await _start(order, directory / "log", lock)
            await firewall
        finally:
            firewall.cancel()
            await asyncio.gather(firewall, return_exceptions=True)
        await self._wait(spec.id, place)
        return Node(
            id=spec.id,
            label=spec.label,
            provider=self.name,
            external_id=str(directory),
            connection="ssh",
            host=place.address,
            port=22,
            username=user.name,
            home=user.home,
            python_path=label.python_path,
            host_keys=(host_key.export_public_key().decode().strip(),),
            private_ipv4=place.address,
            attributes=dict(self.settings.node_attributes),
        )

    def _take_place(self, spec: NodeSpec) -> namespace_network.Place:
        """Write down whose the node is, then take an index and an address on this machine for it."""
        self._nodes.intend(spec, self.labels, self.settings.limits)
        return self._machine.take(self._nodes.facts(spec.id), f"{spec.owner}/{spec.request or spec.id}", self.settings.first_id)

    def _order(self, spec: NodeSpec, tree: Path, user: _User, place: namespace_network.Place, host_key: asyncssh.SSHKey) -> dict[str, Any]:
        hostname = spec.hostname or spec.id
        text = {
            "/etc/hostname": f"{hostname}\n",
            "/etc/hosts": f"127.0.0.1 localhost\n{place.address} {hostname}\n::1 localhost\n",
            "/etc/resolv.conf": namespace_network.resolvers(),
            "/etc/machine-id": f"{os.urandom(16).hex()}\n",
        }
        files = [{"path": path, "text": content, "mode": 0o644, "owner": 0, "group": 0} for path, content in text.items()]
        for path, key, mode in (
            (_HOST_KEY, host_key.export_private_key(), 0o600),
            (f"{_HOST_KEY}.pub", host_key.export_public_key(), 0o644),
        ):
            files.append({"path": path, "text": key.decode(), "mode": mode, "owner": 0, "group": 0})
        keys = {"path": f"{user.home}/.ssh/authorized_keys", "text": f"{spec.public_key}\n", "mode": 0o600}
        files.append(keys | {"owner": user.number, "group": user.group})
        options = (f"HostKey={_HOST_KEY}", "UsePAM=no", "PasswordAuthentication=no", "UseDNS=no", "MaxStartups=100", "PidFile=none")
        return {
            "directory": str(self._directory / spec.id),
            "tree": str(tree),
            "first_id": place.first_id,
            "link": place.link,
            "bridge": place.bridge,
            "address": place.address,
            "gateway": place.gateway,
            "prefix": namespace_network.PREFIX,
            "hostname": hostname,
            "username": user.name,
            "processes": self.settings.processes,
            "files": files,
            "command": ["/usr/sbin/sshd", "-D", "-e", *(word for option in options for word in ("-o", option))],
        }

    async def _wait(self, node_id: str, place: namespace_network.Place) -> None:
        process = self._nodes.process(node_id)
        if process is None:
            raise LaunchFailed("its first process was not recorded")
        ended = asyncio.create_task(process.ended())
        answers = asyncio.create_task(wait_for_banner(place.address, 22, self.settings.boot_timeout))
        try:
            await asyncio.wait((ended, answers), return_when=asyncio.FIRST_COMPLETED)
            if not answers.done():
                raise LaunchFailed("its SSH server ended at once")
            answers.result()
        finally:
            for task in (ended, answers):
                task.cancel()
            await asyncio.gather(ended, answers, return_exceptions=True)

    def _give_back(self, facts: Path) -> None:
        try:
            self._machine.give_back(facts)
        except subprocess.SubprocessError as problem:
            raise DestroyFailed(f"the network of node {facts.stem} cannot be removed: {problem}") from problem

    async def destroy(self, node_id: str) -> None:
        await self._nodes.destroy(node_id)

    async def owned(self, owner: str) -> tuple[str, ...]:
        return self._nodes.owned(owner)

    async def upload_image(self, image: ImageFile) -> str:
        async def unpack(place: Path) -> None:
            place.mkdir()
            command = ("tar", "--extract", "--numeric-owner", "--same-permissions", "--xattrs", "--xattrs-include=*")
            await run(*command, "--file", image.path, "--directory", str(place), failure=f"{image.path} cannot be unpacked")
            for name in ("dev", "proc", "run", "sys"):  # diskimage-builder leaves out of its archives what is mounted there
                (place / name).mkdir(exist_ok=True)

        return await self._images.add(image, "tree", unpack)

    async def delete_image(self, external_id: str) -> None:
        await self._images.remove(external_id)

    async def owned_images(self, owner: str) -> Mapping[str, str]:
        return await self._images.owned(owner, "tree")

    async def close(self) -> None:
        return


def _user(tree: Path, label: NamespaceLabel) -> _User:
    """The label's user as the tree's accounts know it. Raises `LaunchFailed`."""
    for needed in ("etc/passwd", "usr/sbin/sshd"):
        if not (tree / needed).exists():
            raise LaunchFailed(f"{tree} has no /{needed}: no system with an SSH server can start from it")
    for line in (tree / "etc/passwd").read_text(errors="replace").splitlines():
        fields = line.split(":")
        if fields[0] == label.username and len(fields) >= 7:
            return _User(fields[0], int(fields[2]), int(fields[3]), fields[5])
    raise LaunchFailed(f"{tree} has no user {label.username}: add one to the image, or set username of label {label.name}")


async def _start(order: dict[str, Any], log: Path, lock: int) -> None:
    """Run the starter, which keeps the node's lock until it ends, whatever becomes of us. Raises `LaunchFailed`."""
    with log.open("wb") as output:
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-I", "-S", str(_STARTER)),
            stdin=asyncio.subprocess.PIPE,
            stdout=output,
            stderr=asyncio.subprocess.PIPE,
            env={"PATH": "/usr/sbin:/usr/bin:/sbin:/bin"},
            pass_fds=[lock],
        )
    try:
        _, said = await process.communicate(json.dumps(order).encode())
    except asyncio.CancelledError:
        process.kill()
        await process.wait()
        raise
    if process.returncode != 0:
        raise LaunchFailed(said.decode(errors="replace").strip() or f"its starter ended with {process.returncode}")
