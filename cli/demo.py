"""The verb `demo`: Headgate at work on this machine, from the first push to the vote."""

from __future__ import annotations

import asyncio
import shutil
from pathlib import Path
from typing import Annotated

import typer

from cli.options import log_to_file, stop_on_signals


def demo(
    gerrit: Annotated[
        bool, typer.Option("--gerrit", help="Against a real Gerrit, which is downloaded and started (needs Java and Maven).")
    ] = False,
    keep: Annotated[bool, typer.Option("--keep", "-k", help="Keep running afterwards, to look around and push more.")] = False,
    directory: Annotated[Path, typer.Option(help="Where the demo lives; made anew each time.")] = Path(".headgate/demo"),
    port: Annotated[int, typer.Option(help="The port of the web pages; Prefect gets the next one.")] = 8080,
) -> None:
    """Show the main job: two changes are pushed, one good, one that breaks a test; their jobs run; both get their votes."""
    from services.up import Up
    from tasks.runtime import read_settings

    directory = directory.absolute()
    shutil.rmtree(directory / "state", ignore_errors=True)
    directory.mkdir(parents=True, exist_ok=True)
    log_to_file(directory / "headgate.log")

    async def run() -> None:
        from deployments.demo import GerritReviews, LocalReviews, Story

        stop = stop_on_signals()
        typer.secho("Headgate: a change is pushed, its jobs run, it gets its vote.\n", bold=True)
        reviews = GerritReviews(directory, typer.echo) if gerrit else LocalReviews(directory)
        try:
            config = await asyncio.to_thread(reviews.prepare, port)
            up = Up(read_settings(config), config, lambda line: typer.echo(f"  {line}"))
            ready = asyncio.Event()
            running = asyncio.create_task(up.run(stop, lambda _: ready.set()))
            waiting = asyncio.create_task(ready.wait())
            await asyncio.wait([running, waiting], return_when=asyncio.FIRST_COMPLETED)
            if ready.is_set() and up.runtime is not None:
                telling = asyncio.create_task(Story(up.runtime, reviews, typer.echo).tell(config))
                await asyncio.wait([telling, running], return_when=asyncio.FIRST_COMPLETED)
                if telling.done():
                    telling.result()
                    if keep:
                        typer.echo("\nRunning until Ctrl-C.")
                    else:
                        stop.set()
            waiting.cancel()
            await running
        finally:
            await asyncio.to_thread(reviews.close)

    asyncio.run(run())


def register(app: typer.Typer) -> None:
    app.command()(demo)
