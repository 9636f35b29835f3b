"""A Nodepool file (`nodepool.yaml`) as typed values: labels, disk images, providers with their pools, tenants' limits.

Times are seconds. Names are the file's, `_` for `-`. What Nodepool's file may hold and this one has no field for is refused by
name, so that nothing is silently lost.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Annotated, Any, TypeVar

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError

from headgate.configuration.document_values import BadDocument, kind_of
from headgate.configuration.documents import load
from headgate.configuration.problems import nearest


class BadNodepoolFile(Exception):
    """The file cannot be used: one sentence with the file, the place in it, what was found and what is allowed."""


def _hyphenated(name: str) -> str:
    return name.replace("_", "-")


class _Model(BaseModel):
    model_config = ConfigDict(alias_generator=_hyphenated, populate_by_name=True, extra="forbid", frozen=True)


def _listed(value: Any) -> Any:
    return [{"name": each} if isinstance(each, str) else each for each in value] if isinstance(value, list) else value


class Label(_Model):
    """A kind of node that jobs ask for. `min_ready` -1 means that it is not offered."""

    name: str
    min_ready: int = 0
    max_ready_age: int = 0


class DiskImage(_Model):
    """An image to build. `parent`'s elements come first, its environment lies below, the rest is inherited when not said."""

    name: str
    abstract: bool = False
    parent: str | None = None
    formats: tuple[str, ...] = ()
    elements: tuple[str, ...] = ()
    release: str | int | float | None = None
    env_vars: dict[str, str] = Field(default_factory=dict)
    rebuild_age: int = 86400
    build_timeout: int = 8 * 3600
    pause: bool = False
    username: str = "zuul"
    python_path: str = "auto"
    shell_type: str | None = None
    dib_cmd: str = "disk-image-create"
    metadata: dict[str, Any] = Field(default_factory=dict)
    delete_after_upload: bool = False
    keep_formats: tuple[str, ...] = ()


class ProviderImage(_Model):
    """A built image on one provider."""

    name: str
    pause: bool = False
    meta: dict[str, Any] = Field(default_factory=dict)
    config_drive: bool | None = None
    connection_type: str = "ssh"
    connection_port: int | None = None


class CloudImage(_Model):
    """An image the provider has by itself."""

    name: str
    config_drive: bool | None = None
    image_id: str | None = None
    image_name: str | None = None
    username: str | None = None
    python_path: str = "auto"
    shell_type: str | None = None
    connection_type: str = "ssh"
    connection_port: int | None = None


class PoolLabel(_Model):
    """How a pool makes a node of a label."""

    name: str
    diskimage: str | None = None
    cloud_image: str | None = None
    flavor_name: str | None = None
    min_ram: int | None = None
    boot_from_volume: bool = False
    volume_size: int = 50
    key_name: str | None = None
    console_log: bool = False
    instance_properties: dict[str, str] = Field(default_factory=dict)
    dynamic_instance_properties: dict[str, str] = Field(default_factory=dict)
    userdata: str | None = None
    networks: tuple[str, ...] = ()
    host_key_checking: bool | None = None


class StaticNode(_Model):
    """A machine that is always there."""

    name: str
    labels: Annotated[tuple[str, ...], BeforeValidator(lambda value: [value] if isinstance(value, str) else value)]
    username: str = "zuul"
    timeout: int = 5
    connection_type: str = "ssh"
    connection_port: int = 22
    host_key: Annotated[tuple[str, ...], BeforeValidator(lambda value: [value] if isinstance(value, str) else value)] = ()
    host_key_checking: bool = True
    python_path: str = "auto"
    shell_type: str | None = None
    max_parallel_jobs: int = 1


class Pool(_Model):
    """A share of a provider. Limits of `None` are none."""

    name: str
    max_servers: int | None = None
    max_cores: int | None = None
    max_ram: int | None = None
    max_volumes: int | None = None
    max_volume_gb: int | None = None
    ignore_provider_quota: bool = False
    priority: int | None = None
    node_attributes: dict[str, str] = Field(default_factory=dict)
    availability_zones: tuple[str, ...] = ()
    networks: tuple[str, ...] = ()
    security_groups: tuple[str, ...] = ()
    auto_floating_ip: bool = True
    host_key_checking: bool = True
    labels: tuple[PoolLabel, ...] = ()
    nodes: tuple[StaticNode, ...] = ()


class Provider(_Model):
    """A place where nodes come from."""

    name: str
    driver: str = "openstack"
    max_concurrency: int = 0
    priority: int = 100
    cloud: str | None = None
    region_name: str | None = None
    rate: float = 1.0
    boot_timeout: int = 60
    launch_timeout: int = 3600
    launch_retries: int = 3
    image_name_format: str = "{image_name}-{timestamp}"
    image_upload_timeout: int = 3600
    post_upload_hook: str | None = None
    clean_floating_ips: bool = True
    port_cleanup_interval: int = 600
    nodepool_id: str | None = None
    diskimages: Annotated[tuple[ProviderImage, ...], BeforeValidator(_listed)] = ()
    cloud_images: Annotated[tuple[CloudImage, ...], BeforeValidator(_listed)] = ()
    pools: tuple[Pool, ...] = ()


class TenantLimits(_Model):
    """What a tenant may use at once, over all providers. `None` is no limit."""

    tenant_name: str
    max_servers: int | None = None
    max_cores: int | None = None
    max_ram: int | None = None
    max_volumes: int | None = None
    max_volume_gb: int | None = None


class NodepoolFile(_Model):
    """A whole file. ZooKeeper's and the web application's settings are accepted and mean nothing here."""

    labels: Annotated[tuple[Label, ...], BeforeValidator(_listed)] = ()
    diskimages: tuple[DiskImage, ...] = ()
    providers: tuple[Provider, ...] = ()
    tenant_resource_limits: tuple[TenantLimits, ...] = ()
    max_hold_age: int = 0
    elements_dir: str | None = None
    images_dir: str | None = None
    build_log_dir: str | None = None
    build_log_retention: int = 7
    zookeeper_servers: Any = None
    zookeeper_tls: Any = None
    zookeeper_timeout: float = 10
    webapp: Any = None

    def image(self, name: str) -> DiskImage:
        """A disk image with everything it inherits. Raises `LookupError` for an unknown one or a circle."""
        return inherited(self.diskimages, name)


Image = TypeVar("Image", bound=DiskImage)


def inherited(images: Iterable[Image], name: str) -> Image:
    """The image called `name` with everything it inherits. Raises `LookupError` for an unknown one or a circle."""
    known = {image.name: image for image in images}
    chain: list[Image] = []
    at: str | None = name
    while at is not None:
        if at not in known or known[at] in chain:
            raise LookupError(f'no disk image "{at}"' if at not in known else f'the disk image "{at}" inherits from itself')
        chain.insert(0, known[at])
        at = known[at].parent
    values: dict[str, Any] = {}
    for image in chain:
        said = {key: getattr(image, key) for key in image.model_fields_set}
        said["elements"] = (*values.get("elements", ()), *image.elements)
        said["env_vars"] = {**values.get("env_vars", {}), **image.env_vars}
        values |= said
    values |= {"name": name, "abstract": known[name].abstract, "parent": known[name].parent}
    return type(known[name]).model_validate(values)


def parse_nodepool(text: str, path: str = "nodepool.yaml") -> NodepoolFile:
    """A Nodepool file. Raises `BadNodepoolFile`."""
    try:
        value = load(text)
    except BadDocument as bad:
        raise BadNodepoolFile(f"{path}{f':{bad.line}' if bad.line else ''}: {bad}") from bad
    if not isinstance(value, dict):
        raise BadNodepoolFile(f"{path}: a Nodepool file is a mapping with labels, providers and diskimages, found {kind_of(value)}")
    try:
        read = NodepoolFile.model_validate(value)
    except ValidationError as wrong:
        first = wrong.errors()[0]
        where = ".".join(str(step) for step in first["loc"])
        hint = nearest(str(first["loc"][-1]), _names(first["loc"][:-1])) if first["type"] == "extra_forbidden" else ""
        said = f"not allowed here{hint}" if first["type"] == "extra_forbidden" else f"{first['msg']}, found {kind_of(first['input'])}"
        raise BadNodepoolFile(f"{path}: {where}: {said}") from wrong
    _check_references(read, path)
    return read


def _names(place: tuple[Any, ...]) -> list[str]:
    models: dict[str, type[_Model]] = {
        "labels": PoolLabel if "pools" in place else Label,
        "diskimages": ProviderImage if "providers" in place else DiskImage,
        "cloud-images": CloudImage,
        "providers": Provider,
        "pools": Pool,
        "nodes": StaticNode,
        "tenant-resource-limits": TenantLimits,
    }
    last = next((step for step in reversed(place) if isinstance(step, str)), "")
    return [_hyphenated(name) for name in models.get(last, NodepoolFile).model_fields]


def _check_references(read: NodepoolFile, path: str) -> None:
    labels = {label.name for label in read.labels}
    images = {image.name for image in read.diskimages}
    for image in read.diskimages:
        try:
            read.image(image.name)
        except LookupError as wrong:
            raise BadNodepoolFile(f"{path}: diskimage {image.name}: {wrong}") from wrong
    for provider in read.providers:
        where = f"{path}: provider {provider.name}"
        for used in provider.diskimages:
            _need(used.name, images, "disk image", where)
        clouds = {image.name for image in provider.cloud_images}
        for pool in provider.pools:
            for label in pool.labels:
                place = f"{where}, pool {pool.name}, label {label.name}"
                _need(label.name, labels, "label", place)
                if label.diskimage:
                    _need(label.diskimage, {used.name for used in provider.diskimages}, "disk image", place)
                if label.cloud_image:
                    _need(label.cloud_image, clouds, "cloud image", place)
            for node in pool.nodes:
                for name in node.labels:
                    _need(name, labels, "label", f"{where}, pool {pool.name}, node {node.name}")


def _need(name: str, known: set[str], kind: str, where: str) -> None:
    if name not in known:
        raise BadNodepoolFile(f'{where}: no {kind} "{name}"{nearest(name, known)}')
