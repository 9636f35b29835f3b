"""`headgate images`: what is built and used, and the verbs to build, boot, promote, roll back, delete, pause and read about an image."""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Awaitable, Callable, Collection
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from cli.options import CONFIG, ConfigOption
from headgate.image_overview import BuildOverview, overview
from headgate.images import UNDER_WAY, BuildState, UploadState, current
from headgate.problems import Problem
from tasks.installation import database_url, prefect_environment, read_settings

if TYPE_CHECKING:
    from tasks.runtime import Runtime

ImageArgument = Annotated[str, typer.Argument(metavar="IMAGE", help="A diskimage of the configuration.")]
PROMOTABLE = frozenset({UploadState.READY, UploadState.WITHDRAWN, UploadState.REFUSED})
images = typer.Typer(name="images", help="Images: build, prove, use.", invoke_without_command=True, no_args_is_help=False)


def _with_runtime(config: Path, work: Callable[[Runtime], Awaitable[None]]) -> None:
    settings = read_settings(config)
    database_url(settings)  # says so if there is no installation to work for
    os.environ.update(prefect_environment(settings))

    async def run() -> None:
        from tasks.runtime import Runtime, set_runtime

        runtime = await Runtime.open(settings)
        set_runtime(runtime)
        try:
            await work(runtime)
        finally:
            set_runtime(None)
            await runtime.close()

    asyncio.run(run())


def known(names: Collection[str], image: str) -> None:
    """Raises `Problem` for a name that no image has."""
    if image not in names:
        raise Problem(f"There is no diskimage {image}; the configuration has {', '.join(sorted(names)) or 'none'}.")


def _age(moment: datetime) -> str:
    seconds = int((datetime.now(UTC) - moment).total_seconds())
    return f"{seconds // 86400} d" if seconds >= 172800 else f"{seconds // 3600} h" if seconds >= 7200 else f"{max(seconds, 0) // 60} min"


@images.callback()
def show(context: typer.Context, config: ConfigOption = CONFIG) -> None:
    """List builds and uploads with their state, age, size and the nodes that run on them."""
    if context.invoked_subcommand is not None:
        return

    async def work(this: Runtime) -> None:
        records = this.images
        builds, uploads, users, paused = await records.builds(), await records.uploads(), await records.users(), await records.paused()
        for image in overview(this.diskimages, builds, uploads, users, paused):
            typer.echo(f"{image.name}  ({image.schedule}{', paused' if image.paused else ''})")
            for build in image.builds:
                _show_build(build)
            if not image.builds:
                typer.echo(f"  no build yet; `headgate images build {image.name}` makes one now")
        if not this.diskimages and not builds:
            typer.echo("There is no diskimage in the configuration.")

    _with_runtime(config, work)


def _show_build(row: BuildOverview) -> None:
    build = row.build
    size = f"{row.size // 1_000_000} MB {','.join(sorted(build.sizes))}" if build.sizes else ""
    typer.echo(f"  {build.id[:12]}  {build.state:9} {_age(build.created):>7}  {size}  {build.message}".rstrip())
    for each in row.uploads:
        upload = each.upload
        nodes = f"{each.nodes} node{'s' if each.nodes > 1 else ''}" if each.nodes else ""
        said = "  ".join(filter(None, ("in use" if each.used else "", nodes, upload.message)))
        typer.echo(f"    {upload.id[:12]}  {upload.provider:12} {upload.format:6} {upload.state:10} {said}".rstrip())


@images.command()
def build(
    image: ImageArgument,
    debug: Annotated[bool, typer.Option("--debug", help="Build on this terminal; a shell opens where an element fails.")] = False,
    tmp_dir: Annotated[Path | None, typer.Option("--tmp-dir", help="With --debug: where to build, without tmpfs.")] = None,
    password: Annotated[str, typer.Option("--password", envvar="HEADGATE_DEVUSER_PASSWORD", help="With --debug: of a user devuser.")] = "",
    config: ConfigOption = CONFIG,
) -> None:
    """Build an image now, by a run of its flow, whatever its age; or, with --debug, here."""
    if debug:
        from cli.image_terminal import build_here

        build_here(read_settings(config), image, tmp_dir, password)
        return

    async def work(this: Runtime) -> None:
        from tasks.prefect_api import create_run, runs_topic
        from tasks.store import new_id

        known(this.diskimages, image)
        run = await create_run(
            this.prefect, "build-image/build-image", name=image, parameters={"image": image}, key=new_id(), tags=["headgate"]
        )
        await this.store.tell(runs_topic("images"))
        typer.echo(f"{this.settings.prefect_ui}/runs/flow-run/{run.id}")

    _with_runtime(config, work)


@images.command()
def boot(
    image: ImageArgument,
    file: Annotated[
        Path | None, typer.Option("--file", exists=True, dir_okay=False, help="This file instead of the newest build's.")
    ] = None,
    key: Annotated[
        Path | None,
        typer.Option("--key", exists=True, dir_okay=False, help="A public key that may log in, as root too."),
    ] = None,
    port: Annotated[int, typer.Option("--port", help="Of this machine, forwarded to its SSH server; 0 for none.")] = 2222,
    config: ConfigOption = CONFIG,
) -> None:
    """Boot an image here with QEMU and a config-drive, its console on this terminal. Nothing is written to the image. Ctrl-A X ends it."""
    from cli.image_terminal import boot_newest

    raise typer.Exit(boot_newest(read_settings(config), image, file, key, port))


def _one(kind: str, names: list[str], asked: str) -> str:
    found = [name for name in names if name.startswith(asked)]
    if len(found) != 1:
        raise Problem(f"'{asked}' is {'no' if not found else 'the beginning of more than one'} {kind}; `headgate images` lists them.")
    return found[0]


@images.command()
def promote(
    upload: Annotated[str, typer.Argument(metavar="UPLOAD", help="An upload's id, or its beginning.")], config: ConfigOption = CONFIG
) -> None:
    """Let nodes start from this upload from now on, also one that was withdrawn."""

    async def work(this: Runtime) -> None:
        uploads = {each.id: each for each in await this.images.uploads()}
        chosen = uploads[_one("upload", list(uploads), upload)]
        if not chosen.external_id or chosen.state not in PROMOTABLE:
            why = "wait until that is over" if chosen.state in UNDER_WAY else "there is nothing to start nodes from"
            raise Problem(f"The upload {chosen.id[:12]} is {chosen.state}: {why}.")
        await this.images.promote(chosen.id, "promoted by hand")
        typer.echo(f"Nodes of {chosen.image} at {chosen.provider} start from {chosen.id[:12]} now.")

    _with_runtime(config, work)


@images.command()
def rollback(
    image: ImageArgument,
    provider: Annotated[str, typer.Option("--provider", help="Only there.")] = "",
    config: ConfigOption = CONFIG,
) -> None:
    """Withdraw what nodes start from, for the one before it; where there is none, nothing is changed."""

    async def work(this: Runtime) -> None:
        uploads = await this.images.uploads(image)
        if not uploads:
            known(this.diskimages, image)
            raise Problem(f"No provider has an upload of {image} yet: there is nothing to go back to.")
        places = {each.provider for each in uploads}
        if provider and provider not in places:
            raise Problem(f"There is no upload of {image} at a provider {provider}, but at {', '.join(sorted(places))}.")
        for name in sorted(places & {provider} if provider else places):
            used = current(uploads, image, name)
            before = current([each for each in uploads if each != used], image, name)
            if used is None or before is None:
                typer.echo(f"{name}: there is nothing to go back to.")
                continue
            await this.images.set_upload(used.id, UploadState.WITHDRAWN, "rolled back by hand")
            typer.echo(f"{name}: nodes start from {before.id[:12]} instead of {used.id[:12]}.")

    _with_runtime(config, work)


@images.command()
def delete(
    which: Annotated[str, typer.Argument(metavar="BUILD", help="A build's id, or its beginning.")], config: ConfigOption = CONFIG
) -> None:
    """Delete a build: its files and its uploads. One that nodes run on, or start from, is refused."""

    async def work(this: Runtime) -> None:
        from flows.build_image import delete_upload
        from tasks.image_files import BuildFiles

        builds = {each.id: each for each in await this.images.builds()}
        chosen = builds[_one("build", list(builds), which)]
        uploads, users = await this.images.uploads(chosen.image), await this.images.users()
        mine = [each for each in uploads if each.build == chosen.id]
        if chosen.state is BuildState.BUILDING:
            raise Problem("It is being built: cancel its run in Prefect's UI.")
        if busy := [each for each in mine if each.id in users or current(uploads, each.image, each.provider) == each]:
            raise Problem(f"The upload {busy[0].id[:12]} at {busy[0].provider} is in use: roll back first, and wait for its nodes.")
        for each in mine:
            await this.images.set_upload(each.id, UploadState.DELETING)
            await delete_upload(this, each.id, each.provider, each.external_id)
        BuildFiles(this.settings.image_directory, chosen.image, chosen.id).remove()
        await this.images.end_build(chosen.id, BuildState.DELETED, {}, "deleted by hand")
        typer.echo(f"{chosen.image} {chosen.id[:12]} is deleted; its log is kept.")
        for each in (each for each in await this.images.uploads(chosen.image) if each.build == chosen.id):
            typer.echo(f"What {each.provider} has of it cannot be deleted now; the next run of a build tries again.")

    _with_runtime(config, work)


@images.command()
def pause(
    image: ImageArgument,
    end: Annotated[bool, typer.Option("--end", help="End the pause.")] = False,
    config: ConfigOption = CONFIG,
) -> None:
    """Build the image no more by its schedule, only when somebody asks for it."""

    async def work(this: Runtime) -> None:
        known(this.diskimages, image)
        if end and this.diskimages[image].pause:
            raise Problem(f"{image} is paused by the configuration file: take `pause` out of its diskimage.")
        await this.images.pause(image, not end)
        typer.echo(f"{image} is {'built by its schedule again' if end else 'paused'}.")

    _with_runtime(config, work)


@images.command()
def log(
    which: Annotated[str, typer.Argument(metavar="IMAGE|BUILD", help="A build's id or its beginning, or an image: its newest build.")],
    follow: Annotated[bool, typer.Option("--follow", "-f", help="Go on until the build ends.")] = False,
    config: ConfigOption = CONFIG,
) -> None:
    """Print what diskimage-builder said."""

    async def work(this: Runtime) -> None:
        from flows.build_image import log_path

        build = await this.images.find_build(which)
        if build is None:
            raise Problem(f"'{which}' is no image that was built, nor the beginning of one build's id; `headgate images` lists them.")
        path = log_path(this.settings.image_directory, build)
        if not path.exists():
            raise Problem(f"There is no log {path}: it was forgotten, or the build ran on another machine.")
        with path.open(errors="replace") as file:
            going = True
            while going:
                found = await this.images.build(build.id)
                going = follow and found is not None and found.state is BuildState.BUILDING
                typer.echo(file.read(), nl=False)
                if going:
                    await asyncio.to_thread(time.sleep, 0.5)

    _with_runtime(config, work)


def register(app: typer.Typer) -> None:
    app.add_typer(images)
