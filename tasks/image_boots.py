"""Starting nodes from images built here: which upload it is, and what its success or failure means for the image."""

from __future__ import annotations

import asyncio

from prefect.events import emit_event

from providers.base import AtCapacity, LaunchFailed, Node, NodeSpec, Provider
from tasks.image_store import ImageRecords


async def image_for(images: ImageRecords, provider: Provider, node_id: str, label: str) -> str:
    """What the node is to start from, written down; empty for a label that brings its own. Raises `LaunchFailed`."""
    image = provider.images.get(label)
    if image is None:
        return ""
    upload = await images.boot(node_id, image, provider.name)
    if upload is None:
        raise LaunchFailed(f"the image {image} of label {label} has not been proved at provider {provider.name} yet")
    return upload.external_id


async def launch_watched(images: ImageRecords, provider: Provider, spec: NodeSpec) -> Node:
    """`provider.launch`, with its outcome told to the image; an image whose nodes fail is withdrawn here, with an event."""
    try:
        node = await provider.launch(spec)
    except AtCapacity:
        raise
    except LaunchFailed as problem:
        if spec.image:
            await asyncio.shield(_failed(images, provider, spec, problem))
        raise
    if spec.image:
        await images.booted(spec.id)
    return node


async def _failed(images: ImageRecords, provider: Provider, spec: NodeSpec, problem: LaunchFailed) -> None:
    for withdrawn in await images.booted(spec.id, str(problem)[:500]):
        tell("withdrawn", provider.images.get(spec.label, ""), provider.name, withdrawn.upload, withdrawn.reason)


def tell(what: str, image: str, provider: str, upload: str, message: str) -> None:
    """Prefect's event `headgate.image.WHAT`, for people and automations: promoted, refused, withdrawn, failed."""
    emit_event(
        f"headgate.image.{what}",
        resource={"prefect.resource.id": f"headgate.image.{image}", "prefect.resource.name": image},
        payload={"image": image, "provider": provider, "upload": upload, "message": message},
    )
