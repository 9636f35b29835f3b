"""What a provider of nodes must offer. One flat file per kind implements `Provider`; `providers.registry` names them.

Every method is repeatable: whoever calls may have been killed in the middle of the last call, and several processes may use
one provider at once. What a provider knows is derived from what exists there, never from its own memory.
`tests/test_providers.py` is the contract, and every provider passes it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, Protocol, runtime_checkable

from pydantic import BaseModel, ConfigDict, Field

from headgate.nodes import Capacity, Size

Isolation = Literal["process", "namespace", "machine"]
"""What stands between a job on a node and others: `process` (a sandboxed process, or a user of a shared host), `namespace`
(its own file tree, processes and network on a shared kernel), `machine` (its own kernel)."""


class LaunchFailed(Exception):
    """The node did not come up; one sentence why. The caller may try again, here or elsewhere.

    `console` is what the node said while it started, as far as it is known.
    """

    def __init__(self, message: str, console: str = "") -> None:
        super().__init__(message)
        self.console = console


class AtCapacity(LaunchFailed):
    """Nothing is wrong but there is no room now: the request goes back to the queue and no attempt is counted."""


class DestroyFailed(Exception):
    """Something of the node is left (one sentence why); `owned` still lists it and `destroy` must be called again."""


@dataclass(frozen=True, slots=True)
class NodeSpec:
    """One node to launch. `id` is ours, unique for ever, of letters, digits and hyphens; `owner` names this Headgate
    installation for leak detection.

    `public_key` is an OpenSSH public key line: the only credential that may log in as the node's user (the build's own, or
    the pool's when the node is launched ahead of any build; who hands it over then replaces it). `request` is shared by
    nodes launched for one request: they can reach each other. `zone` is one of the provider's. `tags` are for people.
    `image` is what `ImageStore.upload_image` returned for the image to boot; empty, the label's settings say what to boot.
    """

    id: str
    label: str
    owner: str
    public_key: str
    hostname: str = ""
    request: str = ""
    zone: str = ""
    image: str = ""
    tags: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Node:
    """A node that is up and reachable. `connection` is Ansible's (`ssh`, or `local` inside the build's sandbox).

    With `ssh`, `host_keys` are known_hosts key parts (`ssh-ed25519 AAAA...`), never empty: every later connection verifies
    them. `home` is the user's home directory on the node, `python_path` an interpreter that exists there. Without
    `private_key_path` the key of `NodeSpec.public_key` logs in; with it, that file on this machine does. `slot` tells
    apart nodes that share one host. `attributes` reach the inventory as `nodepool.node_properties`.
    """

    id: str
    label: str
    provider: str
    external_id: str
    connection: str
    host: str
    port: int
    username: str
    home: str
    python_path: str = "/usr/bin/python3"
    host_keys: tuple[str, ...] = ()
    private_key_path: str = ""
    region: str = ""
    zone: str = ""
    cloud: str = ""
    host_id: str = ""
    private_ipv4: str = ""
    public_ipv4: str = ""
    public_ipv6: str = ""
    slot: int | None = None
    attributes: Mapping[str, Any] = field(default_factory=dict)


def _kebab(name: str) -> str:
    return name.replace("_", "-")


class Settings(BaseModel):
    """Base of every settings model: keys as in Nodepool's configuration (`max-servers`), unknown keys refused."""

    model_config = ConfigDict(extra="forbid", frozen=True, alias_generator=_kebab, populate_by_name=True)


class ProviderSettings(Settings):
    """What every provider can be told. `priority`: lower is preferred. `launch_retries`: further tries after the first.

    `launch_timeout` is seconds from the call of `launch` until the node can be logged in to; the provider keeps it, and fails then with
    what the console says. `node_attributes` reach the inventory through `Node.attributes`.
    """

    name: str = Field(min_length=1)
    driver: str
    priority: int = 100
    launch_retries: int = Field(default=3, ge=0)
    launch_timeout: float = Field(default=3600, gt=0)
    max_concurrency: int = Field(default=0, ge=0, description="launches at once, 0 for no limit")
    node_attributes: Mapping[str, str] = Field(default_factory=dict)


class LimitedSettings(ProviderSettings):
    """Limits that an operator sets, `None` for none; `max_ram` is MiB, `max_volume_gb` GiB of all volumes together."""

    max_servers: int | None = Field(default=None, ge=0)
    max_cores: int | None = Field(default=None, ge=0)
    max_ram: int | None = Field(default=None, ge=0)
    max_volumes: int | None = Field(default=None, ge=0)
    max_volume_gb: int | None = Field(default=None, ge=0)

    @property
    def limits(self) -> Capacity:
        return Capacity(self.max_servers, self.max_cores, self.max_ram, self.max_volumes, self.max_volume_gb)


class Provider(Protocol):
    """A configured place that nodes come from. All methods may be called concurrently from one event loop.

    Providers that ask a remote listing share one answer among all waiting launches, so that cost does not grow with nodes.
    """

    @property
    def name(self) -> str: ...

    @property
    def settings(self) -> ProviderSettings: ...

    @property
    def isolation(self) -> Isolation: ...

    @property
    def labels(self) -> Mapping[str, Size]:
        """What one node of each label takes of `capacity`."""
        ...

    @property
    def zones(self) -> tuple[str, ...]:
        """Where its nodes can be; `("",)` when it makes no difference."""
        ...

    @property
    def separate_networks(self) -> bool:
        """True when nodes of different requests cannot reach each other, so that a node launched for none cannot be one of several."""
        ...

    @property
    def images(self) -> Mapping[str, str]:
        """For each label that boots an image built by Headgate, that image's name: the caller passes its current upload in
        `NodeSpec.image`. A label that is not here brings its own (a cloud's image, a file, none)."""
        ...

    async def capacity(self) -> Capacity:
        """How much may ever exist at once: the settings' limits and the cloud's quota, whichever is less."""
        ...

    async def launch(self, spec: NodeSpec) -> Node:
        """Bring the node up and wait until it can be logged in to. Called again with the same `spec.id` it returns the same
        node, whoever called first. `spec.id` and `spec.owner` are written where `owned` looks before anything else comes to be.
        Raises `AtCapacity`, with nothing begun, or `LaunchFailed`. After a failure, a cancellation or a killed process nothing
        of the node is left, or `owned` still lists it."""
        ...

    async def destroy(self, node_id: str) -> None:
        """Take the node away with all that belongs to it (disks, ports, addresses, keys), also while it is launching. An
        unknown id is no error. Raises `DestroyFailed` while something is left."""
        ...

    async def owned(self, owner: str) -> tuple[str, ...]:
        """Ids of every node of which anything exists there that belongs to `owner`, however it came about, sorted."""
        ...

    async def close(self) -> None:
        """Give back connections. Nodes stay as they are. May be called twice."""
        ...


@dataclass(frozen=True, slots=True)
class ImageFile:
    """A built image to put somewhere: `id` is the upload's, ours and unique for ever, `name` the image's, `path` a file (or a directory,
    for format `tree`). `format` is diskimage-builder's (`qcow2`, `raw`, `vhd`, `tar`). `properties` are for the place that keeps it."""

    id: str
    name: str
    owner: str
    path: str
    format: str
    md5: str = ""
    sha256: str = ""
    properties: Mapping[str, str] = field(default_factory=dict)


class UploadFailed(Exception):
    """The image did not arrive; one sentence why. `owned_images` lists what is left, if anything."""


@runtime_checkable
class ImageStore(Protocol):
    """A provider that boots images which were put there first. Check by `isinstance(provider, ImageStore)`."""

    @property
    def image_formats(self) -> tuple[str, ...]:
        """Formats it takes, the preferred first."""
        ...

    async def upload_image(self, image: ImageFile) -> str:
        """Put it there and return what `NodeSpec.image` names it by. Called again with the same `image.id` it goes on or returns the
        same. Raises `UploadFailed`."""
        ...

    async def delete_image(self, external_id: str) -> None:
        """Take it away; an unknown one is no error. Nodes that run on it go on. Raises `DestroyFailed` while something is left."""
        ...

    async def owned_images(self, owner: str) -> Mapping[str, str]:
        """What exists there of images that belong to `owner`: what names it there -> `ImageFile.id`."""
        ...


@runtime_checkable
class Snapshots(Protocol):
    """A provider that can make an image of a running node. Check by `isinstance(provider, Snapshots)`."""

    async def snapshot(self, node_id: str, image: ImageFile) -> str:
        """An image of the node's disk as it is now, named like an upload (`image.path` and `image.format` are not used); returns what
        `NodeSpec.image` names it by. The node may be stopped by it. Called again for the same node and `image.id` it goes on or returns
        the same; what another node became under that id is not it, and goes. Raises `UploadFailed`."""
        ...
