"""The provider's contract with real virtual machines, and what is particular to them. They go on from one saved machine, made once."""

from __future__ import annotations

import asyncio
import hashlib
import json
import multiprocessing
import os
import shutil
import signal
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import asyncssh
import pytest

from headgate.problems import Problem
from providers import qemu_machine, registry
from providers.base import ImageFile, ImageStore, LaunchFailed, Provider
from providers.ssh import wait_for_banner
from tests import test_providers
from tests.services import machines
from tests.test_providers import Place, destroy_all, log_in, spec

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]
ARGUMENTS = "root=LABEL=root ro console=ttyS0 quiet mitigations=off audit=0 random.trust_cpu=1"

PATIENT = {"boot-timeout": 900, "resume-timeout": 300}
"""For machines that do much else."""


def entry(directory: Path, **more: Any) -> dict[str, Any]:
    """A provider as in the configuration; `label` is merged into its one label, `small`."""
    disk, kernel, initrd = machines.disk()
    label = {"name": "small", "file": str(disk), "kernel": str(kernel), "initrd": str(initrd), "kernel-arguments": ARGUMENTS, "ram": 512}
    label |= more.pop("label", {})
    return {"name": "vms", "driver": "qemu", "directory": str(directory), "labels": [label], "max-servers": 2, **PATIENT} | more


@pytest.fixture(scope="module")
def directory() -> Iterator[Path]:
    """A provider's own, where saved machines stay for the next run of the tests, as their disk does."""
    if shutil.which(qemu_machine.program()) is None:
        pytest.skip(f"{qemu_machine.program()} is not installed")
    machines.disk()
    (machines.CACHE / "saved").mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="qemu-", dir=machines.CACHE) as name:
        (Path(name) / "saved").symlink_to(machines.CACHE / "saved")
        yield Path(name)


@pytest.fixture
def place(directory: Path) -> Iterator[Place]:
    made = entry(directory)
    yield Place(lambda: registry.create(made, directory))
    asyncio.run(destroy_all(registry.create(made, directory)))


@pytest.fixture
def provider(place: Place) -> Provider:
    return place.provider()


class TestContract(test_providers.TestContract):
    """As every provider."""


WHO = (
    "cat /etc/machine-id /proc/sys/kernel/random/boot_id; hostname; cat /etc/hostname; "
    "head -c 16 /dev/urandom | od -An -tx1; python3 -c 'import os; print(os.getrandom(16).hex())'; "
    "ip -o link show dev $(ip -o -4 address | grep -o 'e[a-z0-9]* *inet 10.214' | cut -d' ' -f1) | grep -o 'link/ether [^ ]*'; date +%s.%N"
)


class TestIdentity:
    async def test_two_nodes_of_one_saved_machine_are_not_clones(self, provider: Provider) -> None:
        one, two = await asyncio.gather(*(provider.launch(spec(number, request="both")) for number in (1, 2)))
        (*first, first_clock), (*second, second_clock) = [(await log_in(node, WHO)).splitlines() for node in (one, two)]
        assert len(first) == len(second) == 7
        assert not set(first) & set(second)
        assert first[2:4] == ["node-1", "node-1"]
        assert one.host_keys != two.host_keys
        assert one.private_ipv4 != two.private_ipv4
        for clock in (first_clock, second_clock):
            assert abs(float(clock) - time.time()) < 60, "the clock stands where it stood when the machine was saved"

    async def test_nothing_of_one_node_is_on_the_next(self, provider: Provider) -> None:
        await log_in(await provider.launch(spec(1)), "echo mine | sudo tee /etc/left-behind; sync")
        await provider.destroy("node-1")
        assert await log_in(await provider.launch(spec(2)), "ls /etc/left-behind 2>/dev/null || echo clean") == "clean"

    async def test_a_saved_machine_has_nobodys_keys(self, provider: Provider, directory: Path) -> None:
        await provider.launch(spec())
        saved = max((directory / "saved").glob("*/saved.json"), key=lambda facts: facts.stat().st_mtime)
        memory = (saved.parent / "memory").read_bytes() + (saved.parent / "disk.qcow2").read_bytes()
        assert test_providers.PUBLIC_KEY.split()[1].encode() not in memory
        assert b"PRIVATE KEY-----\nb3BlbnNzaC1rZXkt" not in memory  # the line alone is in every ssh program


REBOOT = "cat /etc/machine-id; hostname; cat /proc/sys/kernel/random/boot_id"


@pytest.mark.image
class TestBoot:
    """Whole boots, which take their time where the processor is emulated."""

    async def test_a_node_that_reboots_is_the_same_machine(self, provider: Provider) -> None:
        node = await provider.launch(spec())
        *before, first_boot = (await log_in(node, REBOOT)).splitlines()
        with pytest.raises((OSError, asyncssh.Error, TimeoutError)):
            async with asyncio.timeout(60):
                await log_in(node, "sudo systemctl reboot; sleep 60")
        await wait_for_banner(node.host, node.port, PATIENT["boot-timeout"])
        *after, second_boot = (await log_in(node, REBOOT)).splitlines()
        assert after == before
        assert first_boot != second_boot

    async def test_an_image_is_a_file_of_the_provider_until_it_is_deleted_and_nodes_never_change_it(self, tmp_path: Path) -> None:
        made = entry(tmp_path / "state", resume=False, label={"file": None, "image": "debian"})
        provider = registry.create(made, tmp_path)
        assert isinstance(provider, ImageStore)
        disk = machines.disk()[0]
        upload = ImageFile("upload-1", "debian", "headgate-test", str(disk), "qcow2")
        name = await provider.upload_image(upload)
        assert await provider.upload_image(upload) == name
        assert await provider.owned_images("headgate-test") == {name: "upload-1"}
        node = await provider.launch(spec(image=name))
        assert await log_in(node, "hostname; sudo sh -c 'echo x > /etc/x'; sync") == "node-1"
        assert digest(Path(name)) == digest(disk)
        await provider.delete_image(name)
        assert await provider.owned_images("headgate-test") == {}
        assert await log_in(node) == "2"
        await destroy_all(provider)

    async def test_an_image_that_cannot_be_told_who_it_is_boots_each_time(self, tmp_path: Path) -> None:
        label = {"kernel-arguments": f"{ARGUMENTS} systemd.mask=headgate-identity.service"}
        provider = registry.create(entry(tmp_path / "state", label=label), tmp_path)
        node = await provider.launch(spec())
        assert await log_in(node, "hostname") == "node-1"
        [saved] = (tmp_path / "state" / "saved").glob("*/saved.json")
        assert json.loads(saved.read_text())["because"] == "the image has no program that takes a new identity (element ci-identity)"
        assert not (saved.parent / "memory").exists()
        await destroy_all(provider)

    async def test_a_machine_that_does_not_boot_fails_with_its_console(self, tmp_path: Path) -> None:
        label = {"kernel-arguments": "console=ttyS0 root=LABEL=nothing earlyprintk=ttyS0"}
        provider = registry.create(entry(tmp_path, label=label) | {"boot-timeout": 20}, tmp_path)
        with pytest.raises(LaunchFailed, match="node node-1: it does not boot: no SSH server at") as failed:
            await provider.launch(spec())
        assert "Linux version" in failed.value.console
        assert await provider.owned("headgate-test") == ()
        assert not running_below(tmp_path)


def digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


class TestFailures:
    async def test_a_program_that_is_not_installed_is_named(self, provider: Provider, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("PATH", "/nowhere")
        with pytest.raises(LaunchFailed, match=r"qemu-system-x86_64 is not installed, .* \(Debian's package qemu-system-x86\)"):
            await provider.launch(spec())

    async def test_hardware_that_is_demanded_and_absent_is_a_failed_launch(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(qemu_machine, "accelerated", lambda: False)
        with pytest.raises(LaunchFailed, match="accelerator is kvm, but this machine runs no guests in hardware"):
            await registry.create(entry(tmp_path, accelerator="kvm"), tmp_path).launch(spec())

    async def test_an_image_that_is_not_there_is_named(self, tmp_path: Path) -> None:
        with pytest.raises(LaunchFailed, match="image /nowhere/disk cannot be read: No such file or directory"):
            await registry.create(entry(tmp_path, label={"file": "/nowhere/disk"}), tmp_path).launch(spec())

    def test_a_label_has_one_source(self, tmp_path: Path) -> None:
        with pytest.raises(Problem, match="small needs either image, the name of one that Headgate builds, or file, a disk"):
            registry.create(entry(tmp_path, label={"image": "debian"}), tmp_path)

    async def test_what_qemu_refuses_is_said_in_its_words(self, tmp_path: Path) -> None:
        provider = registry.create(entry(tmp_path, label={"initrd": "/nowhere/initrd"}), tmp_path)
        with pytest.raises(LaunchFailed, match=r"node node-1: QEMU ended: .*/nowhere/initrd"):
            await provider.launch(spec())
        assert await provider.owned("headgate-test") == ()


def running_below(directory: Path) -> list[str]:
    """Processes that work in the directory, by what the kernel says and not by our files."""
    found = []
    for process in Path("/proc").iterdir():
        try:
            if process.name.isdigit() and (process / "cwd").readlink().is_relative_to(directory):
                found.append((process / "cmdline").read_text().replace("\0", " "))
        except OSError:
            continue
    return found


TO_HERE = """
sudo sysctl -qw net.ipv4.conf.all.route_localnet=1
for what in 127.0.0.0/8 127.0.0.1; do sudo ip route del local $what dev lo table local; done
sudo ip route add 127.0.0.0/8 via 10.0.2.2
for address in 10.0.2.2 127.0.0.1; do
    python3 -c "import socket; socket.create_connection(('$address', {port}), 5)" 2>/dev/null && echo reached $address
done
echo done
"""


class TestNetwork:
    @pytest.mark.parametrize("internet", [pytest.param(True, marks=pytest.mark.image), False])
    async def test_a_node_reaches_no_service_on_the_loopback_interface(self, directory: Path, internet: bool) -> None:
        """Neither by the gateway's address nor by packets to 127.0.0.1 itself."""
        provider = registry.create(entry(directory, internet=internet), directory)
        reached: list[object] = []
        server = await asyncio.start_server(lambda _, writer: reached.append(writer.close()), "127.0.0.1", 0)
        async with server:
            node = await provider.launch(spec())
            port = server.sockets[0].getsockname()[1]
            assert await log_in(node, TO_HERE.format(port=port)) == "done"
        assert not reached
        await destroy_all(provider)

    async def test_nodes_of_other_requests_are_not_there(self, provider: Provider) -> None:
        one, other = await asyncio.gather(*(provider.launch(spec(number, request=f"request-{number}")) for number in (1, 2)))
        assert one.private_ipv4 == other.private_ipv4  # each is the first of its own
        listen = "timeout 8 python3 -c 'import socket; s = socket.socket(type=socket.SOCK_DGRAM); s.bind((\"\", 7000)); print(s.recv(9))'"
        shout = (
            "python3 -c 'import socket, time; s = socket.socket(type=socket.SOCK_DGRAM); s.setsockopt(1, 6, 1); "
            '[(s.sendto(b"heard", ("10.214.0.255", 7000)), time.sleep(0.2)) for _ in range(20)]\''
        )
        heard, _ = await asyncio.gather(log_in(other, f"{listen} || echo silence"), log_in(one, shout))
        assert heard == "silence"

    @pytest.mark.image
    async def test_nothing_of_a_node_runs_when_it_is_destroyed(self, directory: Path) -> None:
        provider = registry.create(entry(directory, internet=True), directory)
        node = await provider.launch(spec())
        assert forwarders(node.port)
        await provider.destroy(node.id)
        async with asyncio.timeout(10):
            while forwarders(node.port):
                await asyncio.sleep(0.05)


def forwarders(port: int) -> list[str]:
    """Network programs that forward the port."""
    found = (path.read_text(errors="replace").replace("\0", " ") for path in Path("/proc").glob("[0-9]*/cmdline"))
    return [command for command in found if f"127.0.0.1/{port}:" in command]


def dies_at(step: int, made: dict[str, Any], place: Path, node_id: str) -> None:
    """Launch in a process that is killed at its n-th deed that others can see."""
    deeds = 0

    def count(event: str, _: object) -> None:
        nonlocal deeds
        if event in ("os.rename", "os.mkdir", "os.remove", "subprocess.Popen", "socket.connect"):
            deeds += 1
            if deeds == step:
                os.kill(os.getpid(), signal.SIGKILL)

    sys.addaudithook(count)
    asyncio.run(registry.create(made, place).launch(spec(id=node_id)))


async def killed_launch(step: int, made: dict[str, Any], place: Path, node_id: str) -> bool:
    process = multiprocessing.get_context("spawn").Process(target=dies_at, args=(step, made, place, node_id))
    process.start()
    await asyncio.to_thread(process.join)
    return process.exitcode == -signal.SIGKILL


class TestKilled:
    @pytest.mark.timeout(900)
    @pytest.mark.parametrize("every", [9, pytest.param(1, marks=pytest.mark.long)])
    async def test_a_launch_killed_at_any_step_leaks_nothing(self, place: Place, directory: Path, every: int) -> None:
        """At some of the steps, or at each."""
        await place.provider().launch(spec(9))  # so that there is a saved machine
        await place.provider().destroy("node-9")
        step = 1
        while await killed_launch(step, entry(directory), directory, f"node-k{step}"):
            provider = place.provider()
            assert set(await provider.owned("headgate-test")) <= {f"node-k{step}"}
            if step % 2:  # who takes over goes on with the same node, or takes it away
                assert await log_in(await provider.launch(spec(id=f"node-k{step}"))) == "2"
            await destroy_all(provider)
            assert not running_below(directory)
            step += every
        assert step > 10, "the launch ended before it was killed"

    async def test_a_launch_killed_while_a_machine_is_saved_leaks_nothing(self, tmp_path: Path) -> None:
        made = entry(tmp_path)
        process = multiprocessing.get_context("spawn").Process(target=dies_at, args=(0, made, tmp_path, "node-1"))
        process.start()
        while not running_below(tmp_path):
            await asyncio.sleep(0.05)
        process.kill()
        process.join()
        provider = registry.create(made, tmp_path)
        assert await provider.owned("headgate-test") == ("node-1",)
        await provider.destroy("node-1")
        assert not running_below(tmp_path)
        assert [path.name for path in tmp_path.rglob("*") if path.is_file() and path.suffix != ".lock" and path.name != ".lock"] == []
