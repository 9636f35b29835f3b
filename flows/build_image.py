"""The build-image flow: one image, from its elements to the nodes that start from it.

Build, then bring it to every provider that wants it, each with its proof. A failed build changes nothing but its own record. A Retry of
the run does not build again what it has built: it goes on with the uploads.
"""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import UUID

from prefect import flow
from prefect.artifacts import acreate_markdown_artifact, acreate_progress_artifact, aupdate_progress_artifact
from prefect.client.schemas.objects import State
from prefect.context import FlowRunContext
from prefect.states import Completed, Failed

from flows.cancellation import cancellable
from flows.upload_image import upload_image, wanted_formats
from headgate.diskimages import FORMATS, ImageSettings, Places, disk_image_create, made_by_builder
from headgate.image_log import BuildLog
from headgate.images import Build, BuildState, DeleteFiles, DeleteUpload, Policy, needed_bytes, why_build
from headgate.manifests import differences
from providers.base import DestroyFailed, ImageStore
from tasks.database import Lease
from tasks.diskimage import ELEMENTS, BuildFailed, build_directory, run_build, sweep
from tasks.effects import effect
from tasks.image_files import BuildFiles, NoSpace, check_space, convert, digest
from tasks.image_store import FileFacts
from tasks.repository_cache import ELEMENTS as REPOSITORY_ELEMENTS
from tasks.repository_cache import Origin, warm
from tasks.runtime import Runtime, runtime
from tasks.store import new_id


def image_formats(this: Runtime, image: ImageSettings) -> tuple[str, ...]:
    """All formats that providers want or the configuration names; qcow2 if nobody says. A snapshot has none here."""
    if image.snapshot_of:
        return ()
    return tuple(sorted({*image.formats, *wanted_formats(this, image.name).values()})) or ("qcow2",)


@effect(name="repositories", retries=2, retry_delay_seconds=[5, 30])
async def warm_repositories(image: str) -> dict[str, str]:
    """Variables of the build that name the repositories it takes, all brought up to date. Retried because servers are away for a while."""
    this = await runtime()
    if not REPOSITORY_ELEMENTS & set(this.diskimages[image].elements):
        return {}
    origins = {
        this.tenants.canonical(project): Origin(*this.connections[project.connection].git(project.name))
        for tenant in this.tenants.tenants()
        for project in tenant.projects
    }
    warmed = await warm(this.settings.image_directory / "repositories", origins)
    if warmed.failed:
        lines = "".join(f"- `{name}`: {why}\n" for name, why in sorted(warmed.failed.items()))
        await acreate_markdown_artifact(f"Not brought up to date:\n\n{lines}", key=_key(image, "repositories"))
    return {"DIB_CI_REPOSITORIES": str(warmed.listing)}


@effect(name="diskimage-builder")
async def run_builder(image: str, build: str, formats: tuple[str, ...], extra: dict[str, str], debug: bool) -> None:
    """The build itself, with its log and its progress. Not retried here: it is long, and the next run of the flow begins anew."""
    this = await runtime()
    files = BuildFiles(this.settings.image_directory, image, build)
    files.target.parent.mkdir(parents=True, exist_ok=True)
    files.log.parent.mkdir(parents=True, exist_ok=True)
    progress = await acreate_progress_artifact(0.0, key=_key(image, "progress"), description=f"{image}: beginning")

    async def told(heard: BuildLog) -> None:
        if isinstance(progress, UUID):
            await aupdate_progress_artifact(progress, float(heard.percent), description=f"{image}: {heard.phase}")

    with build_directory(files.root, build) as temporary:
        elements = [str(this.settings.directory / path) for path in this.settings.images.elements] + [str(ELEMENTS)]
        places = Places(str(files.target), str(temporary), str(files.root / "cache"), elements)
        await run_build(disk_image_create(this.diskimages[image], formats, places, extra, debug), files.log, told)
    await told_done(progress, image)


async def told_done(progress: Any, image: str) -> None:
    if isinstance(progress, UUID):
        await aupdate_progress_artifact(progress, 100.0, description=f"{image}: built")


@effect(name="convert", task_run_name="convert to {format}")
async def make_format(image: str, build: str, format: str) -> str:
    """One format out of what the builder made; a warning, or nothing."""
    this = await runtime()
    files = BuildFiles(this.settings.image_directory, image, build)
    if format in made_by_builder([format]):
        return ""
    return await convert(files.path("raw"), files.path(format), format, this.diskimages[image].qcow2_options)


@effect(name="digest")
async def digest_files(image: str, build: str, formats: tuple[str, ...]) -> dict[str, FileFacts]:
    """Sizes and checksums of the wanted formats; what was only made to convert from is removed."""
    this = await runtime()
    files = BuildFiles(this.settings.image_directory, image, build)
    for made in set(made_by_builder(formats)) - set(formats):
        files.remove([made])
    facts = await asyncio.gather(*(asyncio.to_thread(digest, files.path(format)) for format in formats))
    return dict(zip(formats, facts, strict=True))


def _key(image: str, what: str) -> str:
    """Prefect's artifact keys are of lower case letters, digits and dashes."""
    return "".join(letter if letter.isalnum() else "-" for letter in f"image-{image}-{what}".lower())


async def _tell_contents(this: Runtime, files: BuildFiles, before: Build | None) -> None:
    manifest = await asyncio.to_thread(files.keep_manifest)
    old = BuildFiles(files.root, before.image, before.id).manifest() if before is not None else None
    await acreate_markdown_artifact(
        differences(old, manifest), key=_key(files.image, "changes"), description=f"What is new in {files.name}"
    )
    await _tell_log(files)


async def _tell_log(files: BuildFiles) -> None:
    """Where the log is, and how it ends."""
    if files.log.exists():
        last = await asyncio.to_thread(tail, files.log)
        text = f"All of it: `headgate images log {files.build[:12]}` (`{files.log}`)\n\n```\n{last}\n```\n"
        await acreate_markdown_artifact(text, key=_key(files.image, "log"), description=f"Log of {files.name}")


def tail(path: Path, size: int = 6000) -> str:
    """The last lines of a text file, about `size` bytes of them."""
    with path.open("rb") as file:
        file.seek(max(0, path.stat().st_size - size))
        return file.read().decode(errors="replace").replace("`", "'").partition("\n")[2].rstrip()


async def begin_snapshots(this: Runtime, image: ImageSettings, build_id: str, flow_run: str) -> Build:
    """A build without files: each provider makes its own image. Raises `BuildFailed` when a script is not there."""
    if lacking := [path for path in image.scripts if not (this.settings.directory / path).is_file()]:
        raise BuildFailed(f"There is no script {this.settings.directory / lacking[0]}.")
    await this.images.begin_build(build_id, image.name, flow_run)
    await this.images.end_build(build_id, BuildState.READY, {})
    made = await this.images.build(build_id)
    assert made is not None
    return made


async def make_build(this: Runtime, image: ImageSettings, build_id: str, formats: tuple[str, ...], flow_run: str, debug: bool) -> Build:
    """A new build with its files and their facts. Raises `BuildFailed`, `NoSpace`; whatever happens it is written down how it ended."""
    root = this.settings.image_directory
    await asyncio.to_thread(sweep, root)
    before = await this.images.builds(image.name)
    await this.images.begin_build(build_id, image.name, flow_run)
    files = BuildFiles(root, image.name, build_id)
    try:
        await asyncio.to_thread(check_space, root, needed_bytes(before))
        extra = await warm_repositories(image.name)
        async with asyncio.timeout(image.build_timeout):
            await run_builder(image.name, build_id, formats, extra, debug)
        for format in formats:
            if warning := await make_format(image.name, build_id, format):
                with files.log.open("a") as log:
                    log.write(f"{warning}\n")
        facts = await digest_files(image.name, build_id, formats)
    except BaseException as problem:
        why = "cancelled" if isinstance(problem, asyncio.CancelledError) else str(problem) or "it took too long"
        await asyncio.shield(this.images.end_build(build_id, BuildState.FAILED, {}, why))
        await asyncio.shield(asyncio.to_thread(files.remove))
        if isinstance(problem, BuildFailed):
            await _tell_log(files)
        raise
    last = next((build for build in reversed(before) if build.state in (BuildState.READY, BuildState.DELETED)), None)
    await this.images.end_build(build_id, BuildState.READY, facts)
    await _tell_contents(this, files, last)
    made = await this.images.build(build_id)
    assert made is not None
    return made


@effect(name="remove what is superfluous", retries=1, retry_delay_seconds=5)
async def remove_superfluous() -> int:
    """Old uploads and files that no node uses, of all images; how many. What cannot be removed now is tried again next time."""
    this = await runtime()
    policies = {
        name: Policy(wanted_formats(this, name), image.delete_after_upload, image.keep_formats) for name, image in this.diskimages.items()
    }
    actions = await this.images.superfluous(policies)
    uploads = {upload.id: upload for upload in await this.images.uploads()}
    builds = {build.id: build for build in await this.images.builds()}
    for action in actions:
        if isinstance(action, DeleteUpload):
            await delete_upload(this, action.upload, uploads[action.upload].provider, uploads[action.upload].external_id)
            continue
        build = builds[action.build]
        files = BuildFiles(this.settings.image_directory, build.image, build.id)
        facts = await this.images.files(build.id)
        gone = set(facts) if isinstance(action, DeleteFiles) else {action.format}
        await asyncio.to_thread(files.remove, None if isinstance(action, DeleteFiles) else gone)
        state = BuildState.DELETED if isinstance(action, DeleteFiles) else BuildState.READY
        await this.images.end_build(build.id, state, {name: kept for name, kept in facts.items() if name not in gone})
    for forgotten in await this.images.forget_builds(this.settings.images.logs):
        BuildFiles(this.settings.image_directory, builds[forgotten].image, forgotten).forget()
    return len(actions)


async def delete_upload(this: Runtime, upload_id: str, provider: str, external_id: str) -> None:
    """At its provider too; it is forgotten once nothing is left there."""
    place = this.providers.get(provider)
    if isinstance(place, ImageStore):
        try:
            left = [name for name, mine in (await place.owned_images(this.owner)).items() if mine == upload_id]
            for each in {*left, *([external_id] if external_id else [])}:
                await place.delete_image(each)
        except DestroyFailed:
            return
    await this.images.forget_upload(upload_id)


def _run_name() -> str:
    """The image, and when its run was asked for: `debian-12 2026-11-22 14:14`."""
    context = FlowRunContext.get()
    assert context is not None and context.flow_run is not None and context.parameters is not None
    return f"{context.parameters['image']} {context.flow_run.created or datetime.now(UTC):%Y-%m-%d %H:%M}"


@flow(name="build-image", flow_run_name=_run_name, validate_parameters=False, persist_result=False)
@cancellable
async def build_image(image: str, formats: list[str] | None = None, debug: bool = False, only_if_due: bool = False) -> State[Any]:
    """Build an image, bring it to its providers, prove it, use it. `formats` besides those that are wanted anyway; `debug` traces
    every command; `only_if_due`: unless it is paused or young enough."""
    this = await runtime()
    settings = this.diskimages.get(image)
    if settings is None:
        return Failed(message=f"There is no diskimage {image}; the configuration has {', '.join(sorted(this.diskimages)) or 'none'}.")
    if unknown := sorted(set(formats or ()) - set(FORMATS)):
        return Failed(message=f"{unknown[0]} is no format; there are {', '.join(FORMATS)}.")
    wanted = tuple(sorted({*image_formats(this, settings), *(formats or ())}))
    lease = await Lease.take(this.database_url, f"image {image}")
    if lease is None:
        return Completed(name="Elsewhere", message="Another run builds this image now.")
    try:
        build = await _build(this, settings, wanted, debug, only_if_due)
    except (BuildFailed, NoSpace, TimeoutError) as problem:
        await remove_superfluous()
        return Failed(message=f"{problem or 'It took longer than build-timeout.'} The builds before it are still used.")
    finally:
        await lease.release()
    if isinstance(build, str):
        return Completed(name="Skipped", message=build)
    return await _upload_everywhere(this, build)


async def _build(this: Runtime, image: ImageSettings, wanted: tuple[str, ...], debug: bool, only_if_due: bool) -> Build | str:
    """A build of this run, or why there is none."""
    context = FlowRunContext.get()
    flow_run = str(context.flow_run.id) if context is not None and context.flow_run is not None else ""
    builds = await this.images.builds(image.name)
    mine = [build for build in builds if flow_run and build.flow_run == flow_run and build.state is BuildState.READY]
    if mine:
        return mine[-1]
    going = [build for build in builds if build.state is not BuildState.BUILDING]  # we hold the lease: what seems to go on is lost
    paused = image.pause or image.name in await this.images.paused()
    age = timedelta(seconds=image.rebuild_age)
    if only_if_due and not why_build(going, wanted, age, datetime.now(UTC), paused=paused):
        return "It is paused." if paused else "It is young enough."
    if paused and context is not None and context.flow_run is not None and context.flow_run.auto_scheduled:
        return "It is paused."
    if image.snapshot_of:
        return await begin_snapshots(this, image, new_id(), flow_run)
    return await make_build(this, image, new_id(), wanted, flow_run, debug)


async def _upload_everywhere(this: Runtime, build: Build) -> State[Any]:
    providers = sorted(wanted_formats(this, build.image))
    states = await asyncio.gather(*(upload_image(build.image, build.id, name, return_state=True) for name in providers))
    await remove_superfluous()
    bad = [f"{name}: {state.message}" for name, state in zip(providers, states, strict=True) if not state.is_completed()]
    size = sum(build.sizes.values()) // 1_000_000
    if bad:
        return Failed(message="; ".join(bad))
    where = f" and proved at {', '.join(providers)}" if providers else "; no provider's label starts from it"
    if this.diskimages[build.image].snapshot_of:
        return Completed(message=f"Build {build.id[:12]}, taken{where}.")
    return Completed(message=f"Build {build.id[:12]}, {size} MB of {', '.join(sorted(build.sizes))}{where}.")


def log_path(root: Path, build: Build) -> Path:
    """Where a build's log is."""
    return BuildFiles(root, build.image, build.id).log
