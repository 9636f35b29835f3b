"""The upload-image flow: one build at one provider, from the file (or, for a snapshot, from a prepared node) to nodes that start from it.

Upload, proof and promotion are written down one by one, so that a Retry, or a run after a crash, goes on with the first that is not done.
Whatever fails here, nodes go on starting from the upload that was proved before.
"""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

from prefect import flow
from prefect.client.schemas.objects import State
from prefect.states import Completed, Failed

from flows.cancellation import cancellable
from headgate.images import Build, BuildState, Upload, UploadState, current, format_for
from providers.base import AtCapacity, ImageFile, ImageStore, NodeSpec, Provider, UploadFailed
from tasks.database import Lease
from tasks.effects import effect
from tasks.image_boots import tell
from tasks.image_files import BuildFiles
from tasks.image_proof import Proof, ProofFailed, prove, take_away
from tasks.image_snapshots import Recipe, SnapshotFailed, snapshot_format, take_snapshot
from tasks.runtime import Runtime, runtime
from tasks.store import new_id

UPLOAD_SECONDS = 6 * 3600
"""OpenDev's limit for one upload; large images and slow clouds."""

ROOM_TRIES, ROOM_SECONDS = 60, 60.0
"""How often, and how far apart, a provider without room is asked again for a node to prove an image with."""


def no_room(_task: Any, _run: Any, state: State[Any]) -> bool:
    """Whether a task failed because there was no room for its node."""
    return isinstance(state.data, AtCapacity) or "AtCapacity" in (state.message or "")


def wanted_formats(this: Runtime, image: str) -> dict[str, str]:
    """The format of `image` that each provider whose nodes start from it wants."""
    wanting = [provider for provider in this.providers.values() if image in provider.images.values()]
    if this.diskimages[image].snapshot_of:
        return {provider.name: snapshot_format(provider) for provider in wanting}
    stated = this.diskimages[image].formats
    return {provider.name: format_for(provider.image_formats, stated) for provider in wanting if isinstance(provider, ImageStore)}


@effect(name="upload", task_run_name="upload to {provider}", retries=3, retry_delay_seconds=[5, 60, 300], timeout_seconds=UPLOAD_SECONDS)
async def bring(upload_id: str, build: str, image: str, provider: str, format: str) -> str:
    """The image's file to the provider; what boots it there. Retried because clouds and the way to them fail for a while; the provider
    finds what is there already."""
    this = await runtime()
    store = this.providers[provider]
    assert isinstance(store, ImageStore)
    facts = (await this.images.files(build))[format]
    files = BuildFiles(this.settings.image_directory, image, build)
    properties = {str(key): str(value) for key, value in this.diskimages[image].metadata.items()}
    file = ImageFile(
        id=upload_id,
        name=files.name,
        owner=this.owner,
        path=str(files.path(format)),
        format=format,
        md5=facts.md5,
        sha256=facts.sha256,
        properties={**properties, "headgate_image": image, "headgate_build": build},
    )
    return await store.upload_image(file)


@effect(
    name="snapshot",
    task_run_name="snapshot at {provider}",
    retries=ROOM_TRIES,
    retry_delay_seconds=ROOM_SECONDS,
    retry_condition_fn=no_room,
)
async def snapshot(upload_id: str, build: str, image: str, provider: str, format: str) -> str:
    """A node of the label that the image is a snapshot of, prepared and kept as an image; what boots it there. Retried only while the
    provider has no room for the node."""
    this = await runtime()
    place, settings = this.providers[provider], this.diskimages[image]
    if not format or settings.snapshot_of not in place.labels:
        lacks = "can make no image of a node" if not format else f"has no label {settings.snapshot_of}"
        raise SnapshotFailed(f"provider {provider} {lacks}")
    scripts = [(path, (this.settings.directory / path).read_text()) for path in settings.scripts]
    recipe = Recipe(settings.snapshot_of, scripts, settings.env_vars, settings.build_timeout)
    files = BuildFiles(this.settings.image_directory, image, build)
    file = ImageFile(
        id=upload_id,
        name=files.name,
        owner=this.owner,
        path=str(files.path(f"{provider}.{format}")),
        format=format,
        properties={"headgate_image": image, "headgate_build": build},
    )
    node, upload = new_id(), await this.images.upload(upload_id)
    assert upload is not None
    await _clear(this, upload, place)
    base = current(await this.images.uploads(), place.images.get(settings.snapshot_of, ""), provider)
    await this.images.begin_snapshot(node, upload, settings.snapshot_of, base)
    spec = NodeSpec(
        id=node,
        label=settings.snapshot_of,
        owner=this.owner,
        public_key="",
        hostname=f"snapshot-{node[:12]}",
        image=base.external_id if base is not None else "",
    )
    files.log.parent.mkdir(parents=True, exist_ok=True)
    try:
        with files.log.open("a") as log:
            log.write(f"=== at {provider}\n")
            return await take_snapshot(place, spec, recipe, file, log)
    finally:
        Path(file.path).unlink(missing_ok=True)
        await asyncio.shield(_end(this, place, node))


async def _clear(this: Runtime, upload: Upload, place: Provider) -> None:
    """Nodes that an earlier try left go."""
    for left in await this.images.proving(upload):
        await _end(this, place, left)


async def _end(this: Runtime, place: Provider, node: str) -> None:
    """The node goes, now or by housekeeping."""
    if await take_away(place, node):
        await this.images.end_proof(node)
    else:
        await this.nodes.discard(node)


@effect(
    name="prove",
    task_run_name="prove at {provider}",
    retries=ROOM_TRIES,
    retry_delay_seconds=ROOM_SECONDS,
    retry_condition_fn=no_room,
)
async def check(upload_id: str, provider: str) -> str:
    """A node of the upload, checked and taken away again. Retried only while the provider has no room for it."""
    this = await runtime()
    place = this.providers[provider]
    upload = await this.images.upload(upload_id)
    assert upload is not None
    await _clear(this, upload, place)
    label = next(label for label, image in place.images.items() if image == upload.image)
    smoke = this.diskimages[upload.image].smoke_playbook
    playbook = (this.settings.directory / Path(smoke).expanduser()).resolve() if smoke else None
    node = new_id()
    await this.images.begin_proof(node, upload, label)
    try:
        return await prove(place, Proof(node, this.owner, label, upload.external_id, playbook))
    finally:
        await asyncio.shield(_end(this, place, node))


@flow(name="upload-image", flow_run_name="{image} to {provider}", validate_parameters=False, persist_result=False)
@cancellable
async def upload_image(image: str, build: str, provider: str) -> State[Any]:
    """Bring a build of an image to a provider, prove it there, and let nodes start from it."""
    this = await runtime()
    if image not in this.diskimages:
        return Failed(message=f"There is no diskimage {image} in the configuration.")
    formats = wanted_formats(this, image)
    if provider not in formats:
        return Failed(message=f"No label of a provider {provider} starts from the image {image}.")
    found = await this.images.build(build)
    if found is None or found.state is not BuildState.READY:
        return Failed(message=f"There is no build {build} of {image} with files.")
    lease = await Lease.take(this.database_url, f"image upload {build} {provider}")
    if lease is None:
        return Completed(name="Elsewhere", message="Another run is at it.")
    try:
        upload = await this.images.begin_upload(new_id(), found, provider, formats[provider])
        return await _go_on(this, found, upload)
    finally:
        await lease.release()


async def _go_on(this: Runtime, build: Build, upload: Upload) -> State[Any]:
    if upload.state is UploadState.UPLOADING:
        try:
            make = snapshot if this.diskimages[build.image].snapshot_of else bring
            external = await make(upload.id, build.id, build.image, upload.provider, upload.format)
        except (UploadFailed, TimeoutError, KeyError, SnapshotFailed) as problem:
            return await _bad(this, upload, UploadState.FAILED, f"not uploaded: {problem or 'it took too long'}")
        except AtCapacity as problem:
            return Failed(message=f"No snapshot yet: {problem}")
        await this.images.set_upload(upload.id, UploadState.PROVING, external_id=external)
    elif upload.state is not UploadState.PROVING:
        return Completed(message=f"It is {upload.state} already.")
    try:
        said = await check(upload.id, upload.provider)
    except ProofFailed as problem:
        return await _bad(this, upload, UploadState.REFUSED, str(problem))
    except AtCapacity as problem:
        return Failed(message=f"Not proved yet: {problem}")
    await this.images.promote(upload.id, said)
    tell("promoted", upload.image, upload.provider, upload.id, said)
    return Completed(message=f"Nodes of {upload.image} at {upload.provider} start from build {build.id[:12]} now: {said}.")


async def _bad(this: Runtime, upload: Upload, state: UploadState, message: str) -> State[Any]:
    await this.images.set_upload(upload.id, state, message[:1000])
    tell(str(state), upload.image, upload.provider, upload.id, message)
    return Failed(name=state.capitalize(), message=f"{upload.image} at {upload.provider}: {message}. What was proved before is still used.")
