"""The provider's contract, and what is particular to it, on a real OpenStack."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from pathlib import Path
from typing import Any

import asyncssh
import pytest
from openstack.connection import Connection

from providers.base import AtCapacity, ImageFile, LaunchFailed
from providers.openstack import OpenStackProvider
from providers.openstack_settings import OpenStackSettings
from tests import test_providers
from tests.openstack.conftest import Make
from tests.openstack.entries import entry
from tests.services.openstack.cloud import OpenStack
from tests.test_providers import PUBLIC_KEY, Place, log_in, spec

pytestmark = [pytest.mark.slow, pytest.mark.cloud]


@pytest.fixture
def place(make: Make) -> Place:
    return Place(lambda: make(**{"max-servers": 2}))


class TestContract(test_providers.TestContract):
    """As every provider."""

    async def test_nodes_of_one_request_reach_each_other(self, place: Place) -> None:
        """At the port where these guests listen."""
        provider = place.provider()
        one, other = await asyncio.gather(*(provider.launch(spec(number, request="both")) for number in (1, 2)))
        look = f"import socket; print(socket.create_connection(('{other.private_ipv4}', {other.port}), 30).recv(4).decode())"
        assert await log_in(one, f'{one.python_path} -c "{look}"') == "SSH-"


async def test_capacity_is_the_clouds_quota_and_sizes_are_the_flavors(make: Make) -> None:
    provider = make("beta", label={"flavor-name": "", "min-ram": 1000})
    capacity = await provider.capacity()
    assert (capacity.nodes, capacity.cores, capacity.ram) == (5, 20, 51200)
    assert (provider.labels["small"].cores, provider.labels["small"].ram) == (2, 2048)
    assert (await make("beta", **{"max-servers": 3}).capacity()).nodes == 3
    assert (await make("beta", **{"ignore-provider-quota": True}).capacity()).nodes is None


async def test_the_quota_puts_a_request_back_and_leaves_nothing(make: Make, beta: Connection) -> None:
    provider = make("beta")
    await asyncio.gather(*(provider.launch(spec(number)) for number in range(5)))
    with pytest.raises(AtCapacity, match="Quota exceeded for instances"):
        await provider.launch(spec(5))
    assert len(await provider.owned("headgate-test")) == 5
    assert len(list(beta.compute.servers())) == 5


async def test_a_server_names_its_owner_and_has_a_config_drive(make: Make, alpha: Connection) -> None:
    node = await make(label={"instance-properties": {"team": "infra"}}).launch(spec(tags={"job": "tox"}, hostname="tox-1"))  # type: ignore[arg-type]
    server = alpha.compute.get_server(node.external_id)
    assert server.metadata == {
        "headgate_owner": "headgate-test", "headgate_node": "node-1", "headgate_provider": "cloud", "headgate_label": "small",
        "headgate_key": PUBLIC_KEY, "job": "tox", "team": "infra",
    }  # fmt: skip
    assert server.has_config_drive
    assert await log_in(node, "hostname") == "tox-1"
    assert (node.cloud, node.private_ipv4) == ("ci-alpha", node.host)


async def test_a_lost_state_directory_leaks_nothing(make: Make, alpha: Connection) -> None:
    await make().launch(spec())
    other = make(directory="elsewhere")
    assert await other.owned("headgate-test") == ("node-1",)
    await other.destroy("node-1")
    assert await other.owned("headgate-test") == ()
    assert not list(alpha.compute.servers())


@pytest.mark.long
async def test_a_pools_key_puts_the_builds_key_on_the_node(make: Make, tmp_path: Path) -> None:
    pool = tmp_path / "pool"
    asyncssh.generate_private_key("ssh-ed25519").write_private_key(pool)
    images = [{"name": "debian-12", "connection-port": 2222, "username": "debian"}]
    node = await make(**{"private-key": str(pool), "cloud-images": images}).launch(spec())
    assert await log_in(node) == "2"


@pytest.mark.long
async def test_a_floating_ip_belongs_to_its_node(make: Make, alpha: Connection) -> None:
    provider = make(**{"floating-ip-network": "outside"})
    node = await provider.launch(spec())
    assert (node.host, node.public_ipv4) != (node.private_ipv4, node.private_ipv4)
    assert await log_in(node) == "2"
    alpha.compute.delete_server(node.external_id)
    alpha.compute.wait_for_delete(alpha.compute.get_server(node.external_id), interval=0.2)
    (tmp := provider._file("node-1")).unlink()
    assert not tmp.exists()
    assert await provider.owned("headgate-test") == ("node-1",)
    await provider.destroy("node-1")
    assert await provider.owned("headgate-test") == ()
    assert not list(alpha.network.ips())


@pytest.mark.long
async def test_a_snapshot_of_a_node_becomes_an_image_that_nodes_boot(make: Make) -> None:
    provider = make(diskimages=[{"name": "prepared", "connection-port": 2222}])
    node = await provider.launch(spec())
    await log_in(node, "echo prepared > ~/prepared")
    image = ImageFile("upload-1", "prepared", "headgate-test", "", "")
    external_id = await provider.snapshot("node-1", image)
    assert await provider.snapshot("node-1", image) == external_id
    again = await provider.launch(replace(spec(2), image=external_id))
    assert await log_in(again, "cat ~/prepared") == "prepared"
    assert await provider.owned_images("headgate-test") == {external_id: "upload-1"}
    other = await provider.snapshot("node-2", image)  # another attempt at the same upload, with a node of its own
    assert other != external_id and await provider.owned_images("headgate-test") == {other: "upload-1"}
    await provider.delete_image(other)
    await provider.delete_image(other)
    assert await provider.owned_images("headgate-test") == {}


async def test_an_image_is_uploaded_once(make: Make, tmp_path: Path) -> None:
    (tmp_path / "image.raw").write_bytes(b"\0" * 4096)
    provider, image = make(), ImageFile("upload-2", "own", "headgate-test", str(tmp_path / "image.raw"), "raw")
    external_id = await provider.upload_image(image)
    assert await provider.upload_image(image) == external_id
    await provider.delete_image(external_id)


@pytest.mark.parametrize(
    ("wrong", "sentence"),
    [
        ({"label": {"flavor-name": "smal"}}, "has no flavor smal: did you mean small"),
        ({"networks": ["insid"]}, "has no network insid: did you mean inside"),
        ({"cloud-images": [{"name": "debian-12", "image-name": "debian-13"}]}, "has no image debian-13: did you mean debian-12"),
    ],
)
async def test_a_name_that_the_cloud_does_not_have_is_said(make: Make, wrong: dict[str, Any], sentence: str) -> None:
    with pytest.raises(LaunchFailed, match=sentence):
        await make(**wrong).launch(spec())


async def test_a_cloud_that_clouds_yaml_does_not_have_is_said(openstack_cloud: OpenStack, tmp_path: Path) -> None:
    settings = OpenStackSettings.model_validate(entry(openstack_cloud, cloud="nowhere"))
    with pytest.raises(LaunchFailed, match=r"nowhere: clouds\.yaml does not describe it"):
        await OpenStackProvider(settings, tmp_path).launch(spec())


@pytest.mark.long
async def test_many_nodes_share_their_listings(make: Make) -> None:
    provider = make(**{"list-interval": 3})
    nodes = await asyncio.gather(*(provider.launch(spec(number)) for number in range(8)))
    await asyncio.gather(*(provider.destroy(node.id) for node in nodes))
    servers = {name: count for name, count in provider.cloud.calls.items() if "/servers" in name}
    assert sum(servers.values()) <= 3 * 8, servers
