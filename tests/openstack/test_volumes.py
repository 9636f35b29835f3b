"""Servers that boot from a volume, on a real Cinder. HEADGATE_VOLUMES brings it along."""

from __future__ import annotations

import os

import pytest
from openstack.connection import Connection

from tests.openstack.conftest import Make
from tests.services.until import until
from tests.test_providers import log_in, spec

pytestmark = [
    pytest.mark.slow,
    pytest.mark.cloud,
    pytest.mark.long,
    pytest.mark.skipif(not os.environ.get("HEADGATE_VOLUMES"), reason="HEADGATE_VOLUMES is not set"),
]
ON_A_VOLUME = {"label": {"boot-from-volume": True, "volume-size": 3}}


async def test_a_node_boots_from_a_volume_that_goes_with_it(make: Make, alpha: Connection) -> None:
    provider = make(**ON_A_VOLUME)
    node = await provider.launch(spec())
    [volume] = alpha.block_storage.volumes()
    assert (volume.size, volume.is_bootable, volume.attachments[0]["server_id"]) == (3, True, node.external_id)
    assert volume.metadata == {"headgate_owner": "headgate-test", "headgate_node": "node-1", "headgate_provider": "cloud"}
    assert provider.labels["small"].volumes == 1
    assert await log_in(node) == "2"
    await provider.destroy("node-1")
    await until(lambda: not list(alpha.block_storage.volumes()), "Cinder has deleted the volume")
    assert await provider.owned("headgate-test") == ()


async def test_a_volume_that_nova_leaves_is_found_and_deleted(make: Make, alpha: Connection) -> None:
    provider = make(**ON_A_VOLUME)
    node = await provider.launch(spec())
    [volume] = alpha.block_storage.volumes()
    kept = {"volumeAttachment": {"volumeId": volume.id, "delete_on_termination": False}}
    attachment = f"/servers/{node.external_id}/os-volume_attachments/{volume.id}"
    assert alpha.compute.put(attachment, json=kept, microversion="2.85").status_code == 202
    alpha.compute.delete_server(node.external_id)
    await until(lambda: alpha.block_storage.get_volume(volume.id).status == "available", "the server is gone without its volume")
    again = make(directory="another", **ON_A_VOLUME)
    assert await again.owned("headgate-test") == ("node-1",)
    assert await again.owned("somebody-else") == ()
    await again.destroy("node-1")
    await until(lambda: not list(alpha.block_storage.volumes()), "Cinder has deleted the volume")
    assert await again.owned("headgate-test") == ()
