"""Images of Headgate's in Glance: uploads of built ones, and snapshots of nodes. Properties name owner and upload."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from providers.base import DestroyFailed, ImageFile, UploadFailed
from providers.openstack_cloud import Cloud, CloudError, Listing
from providers.openstack_settings import OpenStackSettings

IMAGE_FORMATS = ("qcow2", "raw", "vhd")
OWNER, UPLOAD = "headgate_owner", "headgate_upload"
_COMING = frozenset({"queued", "saving", "uploading", "importing"})
"""Statuses of an image that may become `active` by itself."""


class Images:
    def __init__(self, settings: OpenStackSettings, cloud: Cloud) -> None:
        self._settings, self._cloud = settings, cloud
        self._listing: Listing[list[tuple[str, str, str, str]]] = Listing(self._list, settings.list_interval)

    async def upload(self, image: ImageFile) -> str:
        """Its id in Glance. What an interrupted upload left is deleted first: Glance cannot go on with it."""
        if image.format not in IMAGE_FORMATS:
            raise UploadFailed(f"{self._settings.name} takes no {image.format}, but {', '.join(IMAGE_FORMATS)}")
        try:
            for external_id, _, upload, status in await self._listing.fresh():
                if upload == image.id and status == "active":
                    return external_id
                if upload == image.id:
                    await self._delete(external_id)
            async with asyncio.timeout(self._settings.image_upload_timeout):
                return await self._cloud.ask(f"take image {image.name}", lambda connection: _upload(connection, image), repeatable=False)
        except TimeoutError:
            raise UploadFailed(
                f"{self._settings.name}: image {image.name} took longer than {self._settings.image_upload_timeout:g} s"
            ) from None
        except (CloudError, OSError) as problem:
            raise UploadFailed(str(problem)) from problem

    async def snapshot(self, server_id: str, node_id: str, image: ImageFile) -> str:
        """Its id in Glance once the image can be booted. The same `image.id` is the same image."""
        if not server_id:
            raise UploadFailed(f"{self._settings.name} has no node {node_id} to take a snapshot of")
        properties = {**image.properties, OWNER: image.owner, UPLOAD: image.id}
        try:
            if image.id not in {upload for _, _, upload, _ in await self._listing.fresh()}:
                await self._cloud.ask(
                    "take a snapshot",
                    lambda connection: connection.compute.create_server_image(server_id, image.name, metadata=properties),
                    repeatable=False,
                )
            async with asyncio.timeout(self._settings.image_upload_timeout):
                while True:
                    found = {status: external_id for external_id, _, upload, status in await self._listing.fresh() if upload == image.id}
                    if "active" in found:
                        return found["active"]
                    if not found.keys() & _COMING:  # Nova makes the image before it answers, and deletes it when the snapshot fails
                        raise UploadFailed(f"{self._settings.name}: the snapshot of {node_id} failed")
        except TimeoutError:
            raise UploadFailed(f"{self._settings.name}: the snapshot of {node_id} is not there in time") from None
        except CloudError as problem:
            raise UploadFailed(str(problem)) from problem

    async def delete(self, external_id: str) -> None:
        try:
            await self._delete(external_id)
        except CloudError as problem:
            raise DestroyFailed(str(problem)) from problem

    async def owned(self, owner: str) -> Mapping[str, str]:
        return {external_id: upload for external_id, whose, upload, _ in await self._listing.fresh() if whose == owner}

    async def _delete(self, external_id: str) -> None:
        await self._cloud.ask("delete an image", lambda connection: connection.image.delete_image(external_id, ignore_missing=True))

    async def _list(self) -> list[tuple[str, str, str, str]]:
        """Of each image with our properties: id, owner, upload, status."""
        every = await self._cloud.ask("list images", lambda connection: list(connection.image.images()))
        found = ((each.id, each.properties or {}, each.status or "") for each in every)
        return [(external_id, said[OWNER], said[UPLOAD], status) for external_id, said, status in found if UPLOAD in said and OWNER in said]


def _upload(connection: Any, image: ImageFile) -> str:
    made = connection.image.create_image(
        image.name,
        filename=str(Path(image.path)),
        disk_format={"vhd": "vpc"}.get(image.format, image.format),
        container_format="bare",
        md5=image.md5 or None,
        sha256=image.sha256 or None,
        allow_duplicates=True,
        **{**image.properties, OWNER: image.owner, UPLOAD: image.id},
    )
    return str(made.id)
