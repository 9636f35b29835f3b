"""Driver `qemu`: a node is a virtual machine of this machine, run by QEMU as the user that Headgate runs as.

Isolation: `machine`. No privileges are needed. Where this machine runs guests in hardware (KVM) they do, elsewhere their processor is
emulated, at about a tenth of the speed.

An image is never changed: a node's disk lies over it. The first node of an image boots it and saves the machine once it is up; this and
all further ones go on from there, as machines of their own (`providers.qemu_saved`), which takes a second or two even when emulated.

Facts: see `providers.local_nodes`; `ID/` has the disk, the config-drive, the console and the sockets of QEMU's process.
"""

from __future__ import annotations

import asyncio
import hashlib
import socket
from collections.abc import Mapping
from contextlib import AsyncExitStack, suppress
from pathlib import Path

import asyncssh

from headgate.nodes import Capacity, Size
from providers import qemu_machine
from providers.base import ImageFile, Isolation, LaunchFailed, Node, NodeSpec
from providers.local_images import LocalImages, run
from providers.local_nodes import LocalNodes
from providers.qemu_machine import SAVED_MAC, Machine, Network
from providers.qemu_saved import GRACE_SECONDS, SavedMachines, Shape, go_on, obeys_or_boots
from providers.qemu_settings import QemuLabel, QemuSettings
from providers.qemu_vm import Identity, Vm, guest
from providers.ssh import LoginFailed, host_keys, wait_for_banner

LOOPBACK = "127.0.0.1"
SAVING = "saving"


class QemuProvider:
    isolation: Isolation = "machine"
    zones: tuple[str, ...] = ("",)
    separate_networks = True
    image_formats = ("qcow2", "raw")

    def __init__(self, settings: QemuSettings, directory: Path) -> None:
        self.settings = settings
        self.name = settings.name
        self.labels: Mapping[str, Size] = {label.name: Size(label.cores, label.ram) for label in settings.labels}
        self.images: Mapping[str, str] = {label.name: label.image for label in settings.labels if label.image}
        self._by_name = {label.name: label for label in settings.labels}
        self._directory = (settings.directory or directory).resolve()
        processes = ("process.json", "network.json", f"{SAVING}/process.json", f"{SAVING}/network.json")
        logs = (f"{SAVING}/console.log", f"{SAVING}/network.log", "console.log", "qemu.log", "network.log")
        self._nodes = LocalNodes(self.name, self._directory, processes, logs)
        self._images = LocalImages(self._directory / "images")
        # passt does not deliver to a guest that has not spoken yet, and one that goes on has no reason to speak first
        self._resumes = settings.resume and not settings.internet
        self._saved = SavedMachines(self._directory / "saved", settings.boot_timeout, settings.internet)

    async def capacity(self) -> Capacity:
        return self.settings.limits

    async def launch(self, spec: NodeSpec) -> Node:
        label = self._by_name.get(spec.label)
        if label is None:
            raise LaunchFailed(f"provider {self.name} has no label {spec.label}")
        qemu_machine.check_programs(self.settings.internet)
        accelerator = qemu_machine.choose(self.settings.accelerator)
        image = label.file or (Path(spec.image) if spec.image else None)
        if image is None:
            raise LaunchFailed(f"image {label.image} of label {label.name} has no upload at provider {self.name} yet")
        qemu_machine.image_format(image)
        shape = Shape(image.resolve(), Machine(accelerator, label.cores, label.ram, label.boot), label.disk)

        async def bring_up(lock: int) -> Node:
            facts = self._nodes.intend(spec, self.labels, self.settings.limits, lambda: {"index": self._free_index(spec)})
            place = self._nodes.place(spec.id)
            place.mkdir(mode=0o700, exist_ok=True)
            saved = await self._saved.get(shape, place / SAVING, lock) if self._resumes else None
            identity = self._identity(spec, label, facts["index"], saved is not None)
            return await self._start(spec, label, shape, identity, saved, lock)

        return await self._nodes.launch(spec, self.settings.launch_timeout, bring_up)

    def _free_index(self, spec: NodeSpec) -> int:
        """Among the nodes of its request."""
        together = [found for found in self._nodes.all_facts().values() if spec.request and found.get("request") == spec.request]
        taken = {found["index"] for found in together if found.get("owner") == spec.owner}
        index = next(number for number in range(len(taken) + 1) if number not in taken)
        if index + 2 >= self.settings.network.num_addresses - 1:
            raise LaunchFailed(f"network {self.settings.network} of provider {self.name} has no address for another node of one request")
        return index

    def _identity(self, spec: NodeSpec, label: QemuLabel, index: int, resumed: bool) -> Identity:
        mac = "02:" + ":".join(f"{byte:02x}" for byte in hashlib.sha256(f"{spec.owner}/{spec.id}".encode()).digest()[:5])
        return Identity(
            hostname=spec.hostname or spec.id,
            username=label.username,
            public_key=spec.public_key,
            host_key=asyncssh.generate_private_key("ssh-ed25519"),
            old_mac=SAVED_MAC if resumed else mac,
            mac=mac,
            address=str(self.settings.network[index + 2]),
            netmask=str(self.settings.network.netmask),
        )

    async def _start(self, spec: NodeSpec, label: QemuLabel, shape: Shape, identity: Identity, saved: Path | None, lock: int) -> Node:
        group = qemu_machine.group(spec.owner, spec.request or spec.id)
        port = qemu_machine.free_port() if self.settings.internet else 0
        vm = Vm(self._nodes.place(spec.id), Network(group, identity.mac, self.settings.internet, port))
        machine = shape.machine
        meta = qemu_machine.meta_data(identity.hostname, identity.public_key)
        network = qemu_machine.network_data(identity.mac, identity.address, identity.netmask)
        size, _ = await asyncio.gather(
            qemu_machine.overlay(vm.directory / "disk.qcow2", saved / "disk.qcow2" if saved else shape.image, 0 if saved else shape.disk),
            qemu_machine.config_drive(vm.directory / "config.iso", meta, network),
        )
        largest = qemu_machine.largest_file(size, machine)
        words = machine.arguments()
        if saved is None:
            await vm.start([*words, *machine.memory()], largest, lock)
            grace = 0.0 if self._resumes else GRACE_SECONDS  # whoever wants to resume knows already that this image cannot
            port, known = await vm.unless_it_ends(self._boot(vm, identity, grace))
        else:
            try:
                port, known = await self._go_on(vm, identity, words, largest, machine, saved, lock)
            except LaunchFailed:
                self._saved.drop(saved)
                raise
        return Node(
            id=spec.id,
            label=spec.label,
            provider=self.name,
            external_id=str(vm.directory),
            connection="ssh",
            host=LOOPBACK,
            port=port,
            username=label.username,
            home="/root" if label.username == "root" else f"/home/{label.username}",
            python_path=label.python_path,
            host_keys=known,
            private_ipv4=identity.address,
            attributes=dict(self.settings.node_attributes),
        )

    async def _boot(self, vm: Vm, identity: Identity, grace: float) -> tuple[int, tuple[str, ...]]:
        """The port, and the host keys: those that the guest was given, or else what its server shows, at a port where QEMU's process alone
        can answer."""
        async with guest(vm) as told:
            order = identity.order()
            obeyed = await obeys_or_boots(vm, told, order, self.settings.boot_timeout, grace)
        port = await vm.ssh_port()
        await wait_for_banner(LOOPBACK, port, self.settings.boot_timeout)
        if obeyed:
            return port, (order["host_key_public"],)
        try:
            return port, await host_keys(LOOPBACK, port, self.settings.boot_timeout)
        except LoginFailed as problem:
            raise LaunchFailed(str(problem)) from problem

    async def _go_on(
        self, vm: Vm, identity: Identity, words: list[str], largest: int, machine: Machine, saved: Path, lock: int
    ) -> tuple[int, tuple[str, ...]]:
        async with AsyncExitStack() as stack:
            ours, theirs = socket.socketpair()
            stack.callback(ours.close)
            state = theirs.fileno()
            try:
                memory = machine.memory(str(saved / "memory"))
                await vm.start([*words, *memory, "-incoming", "defer"], largest, lock, [state])
            finally:
                theirs.close()
            ours.setblocking(False)
            sending = asyncio.create_task(_send(saved / "state", ours))
            stack.callback(sending.cancel)

            async def arrive() -> int:
                async with guest(vm) as told:
                    async with vm.monitor() as monitor:
                        await go_on(monitor, state)
                    port = await vm.ssh_port()
                    await told.become(identity)
                    await wait_for_banner(LOOPBACK, port, self.settings.resume_timeout)
                    return port

            async with asyncio.timeout(self.settings.resume_timeout):
                port = await vm.unless_it_ends(arrive())
            return port, (identity.host_key.export_public_key().decode().strip(),)

    async def destroy(self, node_id: str) -> None:
        await self._nodes.destroy(node_id)

    async def owned(self, owner: str) -> tuple[str, ...]:
        return self._nodes.owned(owner)

    async def upload_image(self, image: ImageFile) -> str:
        async def copy(place: Path) -> None:
            await run("cp", "--reflink=auto", "--sparse=always", image.path, str(place), failure=f"{image.path} cannot be copied")

        return await self._images.add(image, "disk", copy)

    async def delete_image(self, external_id: str) -> None:
        await asyncio.to_thread(self._saved.forget, Path(external_id))
        await self._images.remove(external_id)

    async def owned_images(self, owner: str) -> Mapping[str, str]:
        return await self._images.owned(owner, "disk")

    async def close(self) -> None:
        return


async def _send(state: Path, channel: socket.socket) -> None:
    with suppress(OSError):  # QEMU has ended, which is noticed elsewhere
        await asyncio.get_running_loop().sock_sendall(channel, await asyncio.to_thread(state.read_bytes))
        channel.shutdown(socket.SHUT_WR)
