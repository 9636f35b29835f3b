"""The contract that every provider passes, then what is particular to each."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import asyncssh
import pytest

from headgate.nodes import Size
from headgate.problems import Problem
from providers import registry
from providers.base import AtCapacity, DestroyFailed, LaunchFailed, Node, NodeSpec, Provider
from providers.fake import FakeCloud, FakeProvider, FakeSettings
from providers.local import LocalProvider, remove_tree
from providers.static import StaticProvider
from tests.services import machines
from tests.services.sshd import SshNode, free_port, sshd_node

KEY = asyncssh.generate_private_key("ssh-ed25519")
PUBLIC_KEY = KEY.export_public_key().decode().strip()


@dataclass
class Place:
    """Where a provider's nodes live. `provider()` makes another one on the same place, as a restart would.

    Room is two nodes of label `small`.
    """

    provider: Callable[[], Provider]


def spec(number: int = 1, **more: str) -> NodeSpec:
    return replace(NodeSpec(f"node-{number}", "small", "headgate-test", PUBLIC_KEY), **more)  # type: ignore[arg-type]  # strings only


@pytest.fixture
def sshd(tmp_path: Path) -> Iterator[SshNode]:
    with sshd_node(tmp_path / "sshd", id="host") as server:
        yield server


def authorized_keys(sshd: SshNode) -> Path:
    """The file that this sshd reads."""
    return sshd.home.parent / "authorized"


def static_host(sshd: SshNode, **more: object) -> dict[str, object]:
    return {
        "name": "127.0.0.1",
        "connection-port": sshd.node.port,
        "labels": ["small"],
        "username": sshd.node.username,
        "host-key": sshd.node.host_keys[0],
        "private-key": str(sshd.private_key),
        "authorized-keys-file": str(authorized_keys(sshd)),
        "max-parallel-jobs": 2,
    } | more


def static(sshd: SshNode, tmp_path: Path, **more: object) -> StaticProvider:
    made = registry.create({"name": "lab", "driver": "static", "nodes": [static_host(sshd, **more)]}, tmp_path / "state")
    assert isinstance(made, StaticProvider)
    return made


@pytest.fixture(params=["fake", "local", *(pytest.param(name, marks=pytest.mark.slow) for name in ("static", "namespace"))])
def place(request: pytest.FixtureRequest, tmp_path: Path) -> Place:
    if request.param == "fake":
        cloud = FakeCloud()
        settings = FakeSettings(name="fake", labels={"small": Size(1, 512)}, max_servers=2)
        return Place(lambda: FakeProvider(settings, cloud))
    if request.param == "local":
        entry = {"name": "here", "driver": "local", "labels": ["small"], "max-servers": 2}
        return Place(lambda: registry.create(entry, tmp_path / "state"))
    if request.param == "namespace":
        return request.getfixturevalue("namespace_place")  # type: ignore[no-any-return]  # the fixture below
    service: SshNode = request.getfixturevalue("sshd")
    return Place(lambda: static(service, tmp_path))


@pytest.fixture
def namespace_place(tmp_path: Path) -> Iterator[Place]:
    entry = {
        "name": "here",
        "driver": "namespace",
        "labels": [{"name": "small", "tree": str(machines.tree()), "cores": 1, "ram": 512}],
        "max-servers": 2,
    }
    yield Place(lambda: registry.create(entry, tmp_path / "state"))
    asyncio.run(destroy_all(registry.create(entry, tmp_path / "state")))


async def destroy_all(provider: Provider) -> None:
    for owner in ("headgate-test", "somebody-else"):
        for node_id in await provider.owned(owner):
            await provider.destroy(node_id)
    await provider.close()


async def log_in(node: Node, command: str = "") -> str:
    """What a job would do first: log in with the build's key, the host key verified, and run the node's Python."""
    keys = [asyncssh.import_public_key(key) for key in node.host_keys]
    async with asyncssh.connect(
        node.host, node.port, username=node.username, client_keys=[KEY], known_hosts=(keys, [], []), agent_path=None, config=None
    ) as connection:
        done = await connection.run(command or f"{node.python_path} -c 'print(1 + 1)'", check=True)
        return str(done.stdout).strip()


class TestContract:
    async def test_a_launched_node_says_what_it_is(self, place: Place) -> None:
        provider = place.provider()
        node = await provider.launch(spec())
        assert (node.id, node.label, node.provider) == ("node-1", "small", provider.name)
        assert node.external_id
        assert node.connection in {"ssh", "local"}
        assert node.zone in provider.zones
        assert node.home.startswith("/")
        assert node.python_path.startswith("/")

    async def test_a_node_reached_by_ssh_has_a_host_key_and_takes_the_builds_key(self, place: Place) -> None:
        provider = place.provider()
        node = await provider.launch(spec())
        if node.connection == "local":
            assert Path(node.home).is_dir()
            return
        assert [asyncssh.import_public_key(key) for key in node.host_keys]
        assert node.username
        if not isinstance(provider, FakeProvider):
            assert await log_in(node) == "2"

    async def test_nodes_of_one_request_reach_each_other(self, place: Place) -> None:
        provider = place.provider()
        one, other = await asyncio.gather(*(provider.launch(spec(number, request="both")) for number in (1, 2)))
        if one.connection == "local" or isinstance(provider, FakeProvider):
            return
        address, port = (other.private_ipv4, 22) if other.private_ipv4 else (other.host, other.port)
        look = f"{one.python_path} -c 'import socket; print(socket.create_connection((\"{address}\", {port}), 30).recv(4).decode())'"
        assert await log_in(one, look) == "SSH-"

    async def test_launching_again_returns_the_same_node(self, place: Place) -> None:
        first = await place.provider().launch(spec())
        assert await place.provider().launch(spec()) == first

    async def test_two_at_once_for_one_id_are_one_node(self, place: Place) -> None:
        provider, other = place.provider(), place.provider()
        first, second = await asyncio.gather(provider.launch(spec()), other.launch(spec()))
        assert first == second
        assert await provider.owned("headgate-test") == ("node-1",)

    async def test_owned_lists_what_exists_after_a_restart_and_only_the_owners(self, place: Place) -> None:
        await place.provider().launch(spec(2))
        await place.provider().launch(spec(1, owner="somebody-else"))
        assert await place.provider().owned("headgate-test") == ("node-2",)
        assert await place.provider().owned("somebody-else") == ("node-1",)
        assert await place.provider().owned("nobody") == ()

    async def test_destroyed_nodes_are_gone_and_destroying_again_is_fine(self, place: Place) -> None:
        provider = place.provider()
        await provider.launch(spec())
        await place.provider().destroy("node-1")
        await provider.destroy("node-1")
        await provider.destroy("never-was")
        assert await provider.owned("headgate-test") == ()

    async def test_one_more_than_there_is_room_for_is_at_capacity_and_leaves_nothing(self, place: Place) -> None:
        provider = place.provider()
        await provider.launch(spec(1))
        await provider.launch(spec(2))
        with pytest.raises(AtCapacity):
            await provider.launch(spec(3))
        assert await provider.owned("headgate-test") == ("node-1", "node-2")
        await provider.destroy("node-1")
        assert (await provider.launch(spec(3))).id == "node-3"

    async def test_many_at_once_never_exceed_the_room(self, place: Place) -> None:
        providers = [place.provider(), place.provider()]
        outcomes = await asyncio.gather(*(providers[n % 2].launch(spec(n)) for n in range(6)), return_exceptions=True)
        assert sum(isinstance(outcome, Node) for outcome in outcomes) == 2
        assert sum(isinstance(outcome, AtCapacity) for outcome in outcomes) == 4
        assert len(await providers[0].owned("headgate-test")) == 2

    async def test_capacity_and_labels_are_what_the_rules_need(self, place: Place) -> None:
        provider = place.provider()
        offer = await registry.offer(provider)
        assert offer.capacity.nodes == 2
        assert set(offer.labels) == {"small"}
        assert offer.launch_attempts == 4
        assert provider.isolation in {"process", "namespace", "machine"}

    async def test_an_unknown_label_fails_with_a_sentence(self, place: Place) -> None:
        with pytest.raises(LaunchFailed, match="has no label beos"):
            await place.provider().launch(spec(label="beos"))
        assert await place.provider().owned("headgate-test") == ()

    async def test_a_cancelled_launch_leaves_nothing_that_owned_does_not_list(self, place: Place) -> None:
        provider = place.provider()
        launch = asyncio.create_task(provider.launch(spec()))
        await asyncio.sleep(0)
        launch.cancel()
        await asyncio.gather(launch, return_exceptions=True)
        for name in await provider.owned("headgate-test"):
            await provider.destroy(name)
        assert await provider.owned("headgate-test") == ()
        assert (await provider.launch(spec(2))).id == "node-2"
        assert (await provider.launch(spec(3))).id == "node-3"

    async def test_close_may_be_called_twice_and_leaves_the_nodes(self, place: Place) -> None:
        provider = place.provider()
        await provider.launch(spec())
        await provider.close()
        await provider.close()
        assert await place.provider().owned("headgate-test") == ("node-1",)


class TestRegistry:
    def test_unknown_driver_names_the_nearest(self) -> None:
        with pytest.raises(Problem, match=r"No provider driver is called 'statik': did you mean static\?"):
            registry.create({"name": "lab", "driver": "statik"}, Path())

    def test_missing_driver_says_which_there_are(self) -> None:
        with pytest.raises(Problem, match=r"provider lab: driver is missing; .* local, namespace, openstack, qemu, static"):
            registry.create({"name": "lab"}, Path())

    def test_unknown_key_names_the_nearest(self) -> None:
        with pytest.raises(Problem, match=r"provider here: max-server is not known; did you mean max-servers\?"):
            registry.create({"name": "here", "driver": "local", "labels": ["small"], "max-server": 2}, Path())

    def test_missing_key_is_named(self) -> None:
        with pytest.raises(Problem, match="provider here: labels is missing"):
            registry.create({"name": "here", "driver": "local"}, Path())

    def test_a_third_party_driver_comes_by_entry_point(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        package = tmp_path / "other-1.dist-info"
        package.mkdir()
        (package / "METADATA").write_text("Metadata-Version: 2.1\nName: other\nVersion: 1\n")
        (package / "entry_points.txt").write_text("[headgate.providers]\nother = other_provider:DRIVER\nbroken = os:sep\n")
        (tmp_path / "other_provider.py").write_text(
            "from providers.local import LocalProvider, LocalSettings\n"
            "from providers.registry import Driver\n"
            "class OtherSettings(LocalSettings):\n    driver: str\n"
            "DRIVER = Driver(OtherSettings, LocalProvider)\n"
        )
        monkeypatch.syspath_prepend(tmp_path)
        made = registry.create({"name": "x", "driver": "other", "labels": ["small"]}, tmp_path)
        assert isinstance(made, LocalProvider)
        with pytest.raises(Problem, match=r"entry point broken of headgate.providers is '/'"):
            registry.driver("broken")


class TestLocal:
    async def test_destroy_removes_read_only_trees_and_does_not_follow_links(self, tmp_path: Path) -> None:
        provider = registry.create({"name": "here", "driver": "local", "labels": [{"name": "small"}]}, tmp_path)
        home = Path((await provider.launch(spec())).home)
        outside = tmp_path / "precious"
        outside.mkdir()
        (outside / "file").write_text("keep")
        deep = home / "a" / "b"
        deep.mkdir(parents=True)
        (deep / "file").write_text("x")
        (deep / "link").symlink_to(outside)
        (deep / "file").chmod(0o400)
        deep.chmod(0o500)
        await provider.destroy("node-1")
        assert not home.exists()
        assert (outside / "file").read_text() == "keep"

    def test_remove_tree_needs_no_root_for_what_was_made_read_only(self, tmp_path: Path) -> None:
        """In a child that gives up root where the tests run as root, since root may remove anything."""
        tmp_path.chmod(0o777)
        for parent in [*tmp_path.parents][:3]:
            parent.chmod(0o755)
        child = os.fork()
        if child == 0:
            if os.geteuid() == 0:
                os.setresuid(65534, 65534, 65534)
            deep = tmp_path / "tree" / "sealed" / "inner"
            deep.mkdir(parents=True)
            (deep / "file").touch()
            for directory in (deep, deep.parent, deep.parent.parent):
                directory.chmod(0)
            remove_tree(tmp_path / "tree")
            os._exit(0 if not (tmp_path / "tree").exists() else 1)
        assert os.waitpid(child, 0)[1] == 0

    async def test_homes_are_private(self, tmp_path: Path) -> None:
        provider = registry.create({"name": "here", "driver": "local", "labels": ["small"]}, tmp_path)
        node = await provider.launch(spec())
        assert Path(node.home).stat().st_mode & 0o777 == 0o700

    async def test_a_directory_that_cannot_be_made_is_a_failed_launch(self, tmp_path: Path) -> None:
        (tmp_path / "file").touch()
        entry = {"name": "here", "driver": "local", "labels": ["small"], "directory": str(tmp_path / "file" / "below")}
        with pytest.raises(LaunchFailed, match=r"provider here cannot make .*Not a directory"):
            await registry.create(entry, tmp_path).launch(spec())


@pytest.mark.slow
class TestStatic:
    async def test_the_builds_key_is_on_the_host_only_as_long_as_the_node(self, sshd: SshNode, tmp_path: Path) -> None:
        provider = static(sshd, tmp_path)
        before = authorized_keys(sshd).read_text()
        node = await provider.launch(spec())
        assert await log_in(node) == "2"
        await provider.destroy("node-1")
        assert authorized_keys(sshd).read_text() == before
        with pytest.raises(asyncssh.PermissionDenied):
            await log_in(node)

    async def test_without_an_authorized_keys_file_the_hosts_own_key_is_handed_over(self, sshd: SshNode, tmp_path: Path) -> None:
        before = authorized_keys(sshd).read_text()
        node = await static(sshd, tmp_path, **{"authorized-keys-file": ""}).launch(spec())
        assert node.private_key_path == str(sshd.private_key)
        assert authorized_keys(sshd).read_text() == before

    async def test_another_host_key_than_the_configured_one_is_refused(self, sshd: SshNode, tmp_path: Path) -> None:
        wrong = " ".join(PUBLIC_KEY.split()[:2])
        provider = static(sshd, tmp_path, **{"host-key": wrong})
        with pytest.raises(LaunchFailed, match="another host key than the configured one"):
            await provider.launch(spec())
        assert await provider.owned("headgate-test") == ()

    async def test_a_refused_private_key_is_named(self, sshd: SshNode, tmp_path: Path) -> None:
        other = tmp_path / "other"
        other.write_bytes(KEY.export_private_key())
        other.chmod(0o600)
        with pytest.raises(LaunchFailed, match=r"127\.0\.0\.1:\d+: the private key is refused"):
            await static(sshd, tmp_path, **{"private-key": str(other)}).launch(spec())
        with pytest.raises(LaunchFailed, match="missing-key: No such file"):
            await static(sshd, tmp_path, **{"private-key": str(tmp_path / "missing-key")}).launch(spec())

    async def test_unchecked_host_keys_are_scanned_and_then_verified(self, sshd: SshNode, tmp_path: Path) -> None:
        node = await static(sshd, tmp_path, **{"host-key": "", "host-key-checking": False}).launch(spec())
        assert node.host_keys == sshd.node.host_keys

    def test_a_scan_must_be_asked_for(self, sshd: SshNode, tmp_path: Path) -> None:
        with pytest.raises(Problem, match=r"needs its host-key \(see ssh-keyscan\), or host-key-checking: false"):
            static(sshd, tmp_path, **{"host-key": ""})

    def test_a_host_key_that_is_none_is_refused(self, sshd: SshNode, tmp_path: Path) -> None:
        with pytest.raises(Problem, match="is no OpenSSH key"):
            static(sshd, tmp_path, **{"host-key": "SHA256:abc"})

    async def test_the_next_host_is_tried_when_one_is_down(self, sshd: SshNode, tmp_path: Path) -> None:
        down = static_host(sshd) | {"connection-port": free_port(), "max-parallel-jobs": 5}
        entry = {"name": "lab", "driver": "static", "nodes": [down, static_host(sshd)]}
        provider = registry.create(entry, tmp_path / "state")
        node = await provider.launch(spec())
        assert node.port == sshd.node.port
        assert await provider.owned("headgate-test") == ("node-1",)

    async def test_a_host_that_cannot_be_cleaned_keeps_its_slot_until_it_can(self, sshd: SshNode, tmp_path: Path) -> None:
        provider = static(sshd, tmp_path)
        await provider.launch(spec())
        keys = authorized_keys(sshd).read_text()
        authorized_keys(sshd).write_text("")
        with pytest.raises(DestroyFailed, match="cannot be taken off it"):
            await provider.destroy("node-1")
        assert await provider.owned("headgate-test") == ("node-1",)
        authorized_keys(sshd).write_text(keys)
        await provider.destroy("node-1")
        assert PUBLIC_KEY.split()[1] not in authorized_keys(sshd).read_text()

    async def test_slots_of_one_host_are_told_apart(self, sshd: SshNode, tmp_path: Path) -> None:
        provider = static(sshd, tmp_path)
        nodes = await asyncio.gather(provider.launch(spec(1)), provider.launch(spec(2)))
        assert {node.slot for node in nodes} == {0, 1}
        await provider.destroy(nodes[0].id)
        assert (await provider.launch(spec(3))).slot == nodes[0].slot

    async def test_parallel_builds_do_not_lose_each_others_keys(self, sshd: SshNode, tmp_path: Path) -> None:
        provider = static(sshd, tmp_path, **{"max-parallel-jobs": 4})
        await asyncio.gather(*(provider.launch(spec(number)) for number in range(4)))
        assert authorized_keys(sshd).read_text().count("headgate-node-") == 4
        await asyncio.gather(*(provider.destroy(f"node-{number}") for number in range(4)))
        assert authorized_keys(sshd).read_text().count("headgate-node-") == 0

    async def test_labels_have_their_own_limits(self, sshd: SshNode, tmp_path: Path) -> None:
        capacity = await static(sshd, tmp_path, labels=["small", "arm"]).capacity()
        assert (capacity.nodes, capacity.labels) == (2, {"small": 2, "arm": 2})
