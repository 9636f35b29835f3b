"""Nova's fake hypervisor, whose servers can be logged in to: each has a real SSH server on loopback, at the address that Neutron gave it.

A server's metadata `fault` makes it misbehave:
`build-error`, `slow:SECONDS`, `no-ssh`, `delete-error` (once). A snapshot keeps the guest's home.
"""

from __future__ import annotations

import base64
import io
import os
import time
from pathlib import Path
from typing import Any

import yaml
from guests import Guest, Guests
from nova import exception
from nova.compute import task_states
from nova.image import glance
from nova.virt import fake
from plan import Plan

HOME = "guest_home"
"""The property of an image that consists of a guest's home as a tar file."""


class GuestDriver(fake.FakeDriver):
    def __init__(self, virtapi: Any, read_only: bool = False) -> None:
        from nova.conf import CONF

        region = CONF.host.removesuffix("-compute")
        self._directory = Path(CONF.state_path)
        self._facts = Plan.read(self._directory.parents[1] / "plan.json").regions[region]
        self.vcpus, self.memory_mb, self.local_gb = self._facts["vcpus"], self._facts["memory_mb"], 1_000_000
        self._guests = Guests(self._directory / "guests")
        self._refused: set[str] = set()
        super().__init__(virtapi, read_only)

    def spawn(self, context: Any, instance: Any, image_meta: Any, *arguments: Any, **more: Any) -> None:
        fault = instance.metadata.get("fault", "")
        time.sleep(float(fault.removeprefix("slow:")) if fault.startswith("slow:") else self._facts["boot_seconds"])
        if fault == "build-error":
            raise exception.BuildAbortException(instance_uuid=instance.uuid, reason="the metadata asks for it")
        super().spawn(context, instance, image_meta, *arguments, **more)
        network_info = more.get("network_info") or arguments[3]
        if network_info and fault != "no-ssh":
            self._guests.start(instance.uuid, _guest(instance, network_info), self._home(context, image_meta))

    def _home(self, context: Any, image_meta: Any) -> bytes:
        image = glance.API().get(context, image_meta.id) if image_meta.obj_attr_is_set("id") and image_meta.id else {}
        if not image.get("properties", {}).get(HOME):
            return b""
        return b"".join(glance.API().download(context, image["id"]))

    def snapshot(self, context: Any, instance: Any, image_id: str, update_task_state: Any) -> None:
        update_task_state(task_state=task_states.IMAGE_PENDING_UPLOAD)
        update_task_state(task_state=task_states.IMAGE_UPLOADING, expected_state=task_states.IMAGE_PENDING_UPLOAD)
        image = glance.API().get(context, image_id)
        facts = {"disk_format": "raw", "container_format": "bare", "properties": image.get("properties", {}) | {HOME: "true"}}
        home = io.BytesIO(self._guests.home(instance.uuid))  # glanceclient sends nothing but files
        glance.API().update(context, image_id, facts | {"name": image["name"]}, home, purge_props=False)

    def destroy(self, context: Any, instance: Any, *arguments: Any, **more: Any) -> None:
        if instance.metadata.get("fault") == "delete-error" and instance.uuid not in self._refused:
            self._refused.add(instance.uuid)
            raise exception.InstanceTerminationFailure(reason="the metadata asks for it")
        self._guests.stop(instance.uuid)
        super().destroy(context, instance, *arguments, **more)

    def get_console_output(self, context: Any, instance: Any) -> bytes:
        said = f"[    0.000000] Linux version (a guest of {os.uname().nodename})\n"
        return (said + self._guests.console(instance.uuid) + f"{instance.hostname} login: ").encode()


def _guest(instance: Any, network_info: Any) -> Guest:
    """What cloud-init would read: the users of `#cloud-config` with their keys, else the keypair for the image's own user."""
    data = base64.b64decode(instance.user_data or "").decode()
    config = yaml.safe_load(data) if data.startswith("#cloud-config") else {}
    users = [user for user in config.get("users", ()) if isinstance(user, dict)]
    name = users[0]["name"] if users else "debian"
    keys = [key for user in users for key in user.get("ssh_authorized_keys", ())]
    if instance.key_data:
        keys.append(instance.key_data)
    return Guest(instance.hostname, network_info[0].fixed_ips()[0]["address"], name, tuple(keys))
