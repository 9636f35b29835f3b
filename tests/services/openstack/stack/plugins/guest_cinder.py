"""Volumes that consist of what Cinder knows of them: Nova's fake hypervisor looks into none."""

from __future__ import annotations

from typing import Any

from cinder import interface
from cinder.volume import driver


@interface.volumedriver
class GuestVolumes(driver.VolumeDriver):
    """`create_volume` and its like have nothing to do."""

    VERSION = "1"

    def check_for_setup_error(self) -> None:
        return

    def _update_volume_stats(self) -> None:
        room = {"total_capacity_gb": "infinite", "free_capacity_gb": "infinite", "QoS_support": False}
        facts = {"volume_backend_name": "guests", "vendor_name": "Headgate", "driver_version": self.VERSION, "storage_protocol": "fake"}
        self._stats = facts | room

    def create_volume(self, volume: Any) -> None:
        return

    def clone_image(self, *_: Any) -> tuple[dict[str, Any], bool]:
        return {}, True

    def delete_volume(self, volume: Any) -> None:
        return

    def ensure_export(self, *_: Any) -> None:
        return

    def create_export(self, *_: Any, **__: Any) -> None:
        return

    def remove_export(self, *_: Any) -> None:
        return

    def initialize_connection(self, volume: Any, connector: Any, **_: Any) -> dict[str, Any]:
        return {"driver_volume_type": "fake", "data": {"volume_id": volume.id}}

    def terminate_connection(self, *_: Any, **__: Any) -> None:
        return
