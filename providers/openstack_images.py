"""Images of Headgate's in Glance: uploads of built ones, and snapshots of nodes. Properties name owner and upload.

An upload has a connection and threads of its own: it may take hours, and nodes are launched meanwhile. What is done when Glance says
`active` is done; an image that somebody's upload left on its way is deleted, unless Glance itself is still importing it.
"""

from __future__ import annotations

import asyncio
import io
from collections.abc import Mapping
from dataclasses import dataclass
from threading import Event
from typing import Any

from providers.base import DestroyFailed, ImageFile, UploadFailed
from providers.openstack_cloud import Cloud, CloudError, Listing
from providers.openstack_settings import OpenStackSettings

IMAGE_FORMATS = ("qcow2", "raw", "vhd")
OWNER, UPLOAD, NODE = "headgate_owner", "headgate_upload", "headgate_node"
_COMING = frozenset({"queued", "saving", "uploading", "importing"})
"""Statuses of an image that may become `active` by itself."""
_SENT = frozenset({"saving", "uploading", "importing"})
"""The same once all of it is at Glance; one that is `queued` again could not be imported."""


@dataclass(frozen=True, slots=True)
class _Known:
    """One of our images as Glance lists it. `md5` is empty while, or where, Glance says none; `node` is what a snapshot is of."""

    id: str
    owner: str
    upload: str
    node: str
    status: str
    format: str
    md5: str
    problem: str


class _Body(io.FileIO):
    """A file that cannot be read any more once `stopped` is set: nothing else ends a request that is under way in a thread."""

    def __init__(self, path: str, stopped: Event) -> None:
        super().__init__(path)
        self._stopped = stopped

    def read(self, size: int | None = -1, /) -> bytes | None:  # type: ignore[override]  # FileIO's stub does without None
        if self._stopped.is_set():
            raise OSError("the upload was given up")
        return super().read(-1 if size is None else size)


class Images:
    def __init__(self, settings: OpenStackSettings, cloud: Cloud) -> None:
        self._settings, self._cloud = settings, cloud
        self._uploads = Cloud(settings.model_copy(update={"api_timeout": settings.image_upload_timeout}))
        self._listing: Listing[list[_Known]] = Listing(self._list, settings.list_interval)

    def close(self) -> None:
        self._uploads.close()

    async def upload(self, image: ImageFile) -> str:
        """Its id in Glance once it can be booted from."""
        if image.format not in IMAGE_FORMATS:
            raise UploadFailed(f"{self._settings.name} takes no {image.format}, but {', '.join(IMAGE_FORMATS)}")
        seconds = self._settings.image_upload_timeout
        try:
            async with asyncio.timeout(seconds):
                there = await self._left(image)
                external_id = there or await self._send(image)
                return await self._arrived(image, external_id)
        except TimeoutError:
            raise UploadFailed(f"{self._settings.name}: image {image.name} took longer than {seconds:g} s") from None
        except (CloudError, OSError) as problem:
            raise UploadFailed(str(problem)) from problem

    async def _left(self, image: ImageFile) -> str:
        """The id of what an earlier upload brought there, or brought so far that Glance does the rest. What is of no use is deleted."""
        useful = ""
        for known in await self._listing.fresh():
            if known.upload == image.id and not useful and known.status in ("active", "importing"):
                useful = known.id
            elif known.upload == image.id:
                await self._delete(known.id)
        return useful

    async def _send(self, image: ImageFile) -> str:
        stopped = Event()
        try:
            return await self._uploads.ask(
                f"take image {image.name}",
                lambda connection: _send(connection, image, stopped, self._settings.image_import),
                repeatable=False,
            )
        finally:
            stopped.set()

    async def _arrived(self, image: ImageFile, external_id: str) -> str:
        """Wait until Glance has made it an image, and compare. What is wrong there is deleted."""
        while True:
            known = next((each for each in await self._listing.fresh() if each.id == external_id), None)
            if known is None:
                raise UploadFailed(f"{self._settings.name}: image {image.name} vanished after its upload")
            if known.status == "active" and known.md5 and image.md5 and known.format == image.format and known.md5 != image.md5:
                await self._delete(external_id)
                raise UploadFailed(f"{self._settings.name}: image {image.name} arrived damaged: its MD5 is {known.md5}, not {image.md5}")
            if known.status == "active":
                return external_id
            if known.status not in _SENT:
                await self._delete(external_id)
                why = f": {known.problem}" if known.problem else ""
                raise UploadFailed(f"{self._settings.name}: image {image.name} is {known.status} after its upload{why}")

    async def snapshot(self, server_id: str, node_id: str, image: ImageFile) -> str:
        """Its id in Glance once the image can be booted. The same `image.id` of the same node is the same image."""
        if not server_id:
            raise UploadFailed(f"{self._settings.name} has no node {node_id} to take a snapshot of")
        properties = {**image.properties, OWNER: image.owner, UPLOAD: image.id, NODE: node_id}
        try:
            made = [known for known in await self._listing.fresh() if known.upload == image.id]
            for other in (known for known in made if known.node != node_id):
                await self._delete(other.id)
            if all(known.node != node_id for known in made):
                await self._cloud.ask(
                    "take a snapshot",
                    lambda connection: connection.compute.create_server_image(server_id, image.name, metadata=properties),
                    repeatable=False,
                )
            async with asyncio.timeout(self._settings.image_upload_timeout):
                while True:
                    listed = await self._listing.fresh()
                    found = {known.status: known.id for known in listed if (known.upload, known.node) == (image.id, node_id)}
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
        return {known.id: known.upload for known in await self._listing.fresh() if known.owner == owner}

    async def _delete(self, external_id: str) -> None:
        await self._cloud.ask("delete an image", lambda connection: connection.image.delete_image(external_id, ignore_missing=True))

    async def _list(self) -> list[_Known]:
        every = await self._cloud.ask("list images", lambda connection: list(connection.image.images()))
        return [_known(each) for each in every if {UPLOAD, OWNER} <= (each.properties or {}).keys()]


def _known(found: Any) -> _Known:
    said = found.properties
    failed = str(said.get("os_glance_failed_import") or "")
    return _Known(
        id=found.id,
        owner=said[OWNER],
        upload=said[UPLOAD],
        node=str(said.get(NODE) or ""),
        status=found.status or "",
        format=found.disk_format or "",
        md5=found.checksum or "",
        problem=f"the import into {failed} failed" if failed else "",
    )


def _send(connection: Any, image: ImageFile, stopped: Event, by_import: bool) -> str:
    """openstacksdk deletes the image again if the request fails."""
    with _Body(image.path, stopped) as body:
        made = connection.image.create_image(
            image.name,
            data=body,
            disk_format=image.format,
            container_format="bare",
            md5=image.md5 or None,
            sha256=image.sha256 or None,
            allow_duplicates=True,
            use_import=by_import,
            **{**image.properties, OWNER: image.owner, UPLOAD: image.id},
        )
    return str(made.id)
