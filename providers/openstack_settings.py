"""What an operator says of an OpenStack cloud: one entry for each region of each cloud, keys as in Nodepool's configuration."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Literal

from pydantic import Field, model_validator

from providers.base import LimitedSettings, Settings


class CloudImage(Settings):
    """An image that the cloud has by itself, by `image-name` (by default its own name) or `image-id`. With `config-drive: false` the
    image reads the metadata service instead."""

    name: str = Field(min_length=1)
    image_name: str = ""
    image_id: str = ""
    username: str = "zuul"
    python_path: str = "/usr/bin/python3"
    connection_port: int = Field(default=22, ge=1, le=65535)
    config_drive: bool = True


class DiskImage(CloudImage):
    """An image that Headgate built and uploaded, or a snapshot that it took; `name` is Headgate's."""


class OpenStackLabel(Settings):
    """Boots either a `cloud-image` or a `diskimage`, on the flavor `flavor-name`, or the smallest one with `min-ram` MiB.

    `volume-size` is GiB. `instance-properties` become the server's metadata. `userdata` is given to cloud-init beside what Headgate
    itself says there; it is no place for secrets, since every job can read it. `console-log`: a failed launch reports the console.
    """

    name: str = Field(min_length=1)
    cloud_image: str = ""
    diskimage: str = ""
    flavor_name: str = ""
    min_ram: int = Field(default=0, ge=0)
    boot_from_volume: bool = False
    volume_size: int = Field(default=50, ge=1)
    key_name: str = ""
    userdata: str = ""
    console_log: bool = True
    networks: tuple[str, ...] = ()
    instance_properties: Mapping[str, str] = Field(default_factory=dict)

    @model_validator(mode="after")
    def _says_what_to_boot(self) -> OpenStackLabel:
        if bool(self.cloud_image) == bool(self.diskimage):
            raise ValueError(f"{self.name} needs either cloud-image or diskimage")
        if not self.flavor_name and not self.min_ram:
            raise ValueError(f"{self.name} needs flavor-name, or min-ram in MiB")
        return self


class OpenStackSettings(LimitedSettings):
    """`cloud` and `region-name` are those of clouds.yaml (`clouds-file`, by default where openstacksdk looks for it).

    `private-key` is the pool's: Headgate logs in with it and puts the build's key on the node, for images that run no cloud-init. Without
    it the build's public key is in the user data. `key-name` of a label is a keypair that the cloud has.

    `rate` is requests per second at most, 0 for no limit; `list-interval` seconds between two listings, which serve every waiting node.
    `boot-timeout` is seconds from a server's ACTIVE to its SSH banner. `port-cleanup-interval` is the age in seconds from which a port
    that is down and whose server is gone counts as leaked, 0 for never. `floating-ip-network` names the external network for a floating
    IP on each node; empty, a node is reached at its own address. `image-upload-timeout` is seconds until an upload can be booted from; with
    `image-import` it goes by Glance's import, for clouds that convert images or refuse direct uploads.
    """

    driver: Literal["openstack"]
    cloud: str = Field(min_length=1)
    region_name: str = ""
    clouds_file: Path | None = None
    labels: tuple[OpenStackLabel, ...] = Field(min_length=1)
    cloud_images: tuple[CloudImage, ...] = ()
    diskimages: tuple[DiskImage, ...] = ()
    networks: tuple[str, ...] = ()
    security_groups: tuple[str, ...] = ()
    availability_zones: tuple[str, ...] = ()
    floating_ip_network: str = ""
    private_key: Path | None = None
    ignore_provider_quota: bool = False
    rate: float = Field(default=10, ge=0)
    list_interval: float = Field(default=5, gt=0)
    api_timeout: float = Field(default=60, gt=0)
    boot_timeout: float = Field(default=120, gt=0)
    delete_timeout: float = Field(default=600, gt=0)
    image_upload_timeout: float = Field(default=3600, gt=0)
    image_import: bool = False
    port_cleanup_interval: float = Field(default=600, ge=0)

    @model_validator(mode="after")
    def _names_what_there_is(self) -> OpenStackSettings:
        cloud_images, diskimages = {image.name for image in self.cloud_images}, {image.name for image in self.diskimages}
        for label in self.labels:
            if label.cloud_image and label.cloud_image not in cloud_images:
                raise ValueError(f"label {label.name}: there is no {label.cloud_image} in cloud-images")
            if label.diskimage and label.diskimage not in diskimages:
                raise ValueError(f"label {label.name}: there is no {label.diskimage} in diskimages")
        return self

    def image_of(self, label: OpenStackLabel) -> CloudImage:
        every = self.diskimages if label.diskimage else self.cloud_images
        return next(image for image in every if image.name == (label.diskimage or label.cloud_image))
