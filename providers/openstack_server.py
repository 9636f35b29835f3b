"""What Headgate asks OpenStack for when it wants a node, and how it reads what the cloud says of it. No I/O."""

from __future__ import annotations

import base64
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from email.mime.multipart import MIMEMultipart
from email.mime.text import MIMEText
from typing import Any

import yaml

from providers.base import NodeSpec
from providers.openstack_settings import CloudImage, OpenStackLabel, OpenStackSettings

OWNER, NODE, PROVIDER, LABEL = "headgate_owner", "headgate_node", "headgate_provider", "headgate_label"
"""Metadata of every server, so that a lost database leaks nothing for ever."""
KEY = "headgate_key"
"""Metadata with the build's public key, which the element `ci-network` reads: where there is glean nobody reads user data."""
_LONGEST_VALUE = 255


@dataclass(frozen=True, slots=True)
class Server:
    """A server as a listing tells it. `addresses` are (network, address, version, floating) in the cloud's order."""

    id: str
    node: str
    owner: str
    provider: str
    label: str
    status: str
    deleting: bool
    created: str
    zone: str
    host_id: str
    fault: str
    addresses: tuple[tuple[str, str, int, bool], ...]
    volumes: tuple[str, ...] = ()

    def address(self, networks: Sequence[str], version: int, floating: bool = False) -> str:
        """The first on the first of `networks` that has one (on any when there are none), or `""`."""
        found = [each for each in self.addresses if each[2:] == (version, floating) and (not networks or each[0] in networks)]
        found.sort(key=lambda each: networks.index(each[0]) if networks else 0)
        return found[0][1] if found else ""


def read_server(server: Any) -> Server:
    """From openstacksdk's."""
    metadata: Mapping[str, str] = server.metadata or {}
    return Server(
        id=server.id,
        node=metadata.get(NODE, ""),
        owner=metadata.get(OWNER, ""),
        provider=metadata.get(PROVIDER, ""),
        label=metadata.get(LABEL, ""),
        status=server.status or "",
        deleting=server.task_state == "deleting" or server.status in ("DELETED", "SOFT_DELETED"),
        created=server.created_at or "",
        zone=server.availability_zone or "",
        host_id=server.host_id or "",
        fault=(server.fault or {}).get("message", ""),
        addresses=tuple(
            (network, each["addr"], int(each["version"]), each.get("OS-EXT-IPS:type") == "floating")
            for network, listed in (server.addresses or {}).items()
            for each in listed
        ),
        volumes=tuple(each["id"] for each in server.attached_volumes or ()),
    )


def server_request(
    settings: OpenStackSettings, label: OpenStackLabel, spec: NodeSpec, image: str, flavor: str, networks: Sequence[str], key_name: str
) -> dict[str, Any]:
    """The arguments of `compute.create_server`."""
    booted = settings.image_of(label)
    metadata = {**label.instance_properties, **spec.tags, LABEL: spec.label, PROVIDER: settings.name, NODE: spec.id, OWNER: spec.owner}
    if settings.private_key is None and len(spec.public_key) <= _LONGEST_VALUE:
        metadata[KEY] = spec.public_key
    request: dict[str, Any] = {
        "name": spec.hostname or f"headgate-{spec.id}",
        "flavor_id": flavor,
        "networks": [{"uuid": network} for network in networks] if networks else "auto",
        "config_drive": booted.config_drive,
        "metadata": {key: value[:_LONGEST_VALUE] for key, value in metadata.items()},
        "user_data": base64.b64encode(user_data(settings, label, booted, spec).encode()).decode(),
    }
    if label.boot_from_volume:
        request["block_device_mapping"] = [
            {
                "boot_index": 0,
                "uuid": image,
                "source_type": "image",
                "destination_type": "volume",
                "volume_size": label.volume_size,
                "delete_on_termination": True,
            }
        ]
    else:
        request["image_id"] = image
    if key_name:
        request["key_name"] = key_name
    if spec.zone:
        request["availability_zone"] = spec.zone
    if settings.security_groups:
        request["security_groups"] = [{"name": group} for group in settings.security_groups]
    return request


def user_data(settings: OpenStackSettings, label: OpenStackLabel, image: CloudImage, spec: NodeSpec) -> str:
    """cloud-init's: the user with the build's public key, unless Headgate logs in by itself; then the label's own. No secrets."""
    if settings.private_key is not None:
        return label.userdata
    user = {
        "name": image.username,
        "ssh_authorized_keys": [spec.public_key],
        "sudo": "ALL=(ALL) NOPASSWD:ALL",
        "shell": "/bin/bash",
        "lock_passwd": True,
    }
    ours = "#cloud-config\n" + yaml.safe_dump({"users": [user], "disable_root": image.username != "root"})
    if not label.userdata:
        return ours
    both = MIMEMultipart()
    for text in (label.userdata, ours):
        both.attach(MIMEText(text, _kind(text)))
    return both.as_string()


def _kind(text: str) -> str:
    """cloud-init's name for a part, by the first line it has in user data."""
    if text.startswith("#cloud-config"):
        return "cloud-config"
    return "x-shellscript" if text.startswith("#!") else "plain"
