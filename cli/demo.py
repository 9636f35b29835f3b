"""The verb `demo`: Headgate at work on this machine, from the first push to the vote."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Annotated

import typer

from cli.options import log_to_file
from tasks.installation import read_settings


def demo(
    gerrit: Annotated[bool, typer.Option("--gerrit", help="Against a real Gerrit, which is downloaded and started (needs Java).")] = False,
    keep: Annotated[bool, typer.Option("--keep", "-k", help="Keep running afterwards, to look around and push more.")] = False,
    directory: Annotated[Path, typer.Option(help="Where the demo lives; made anew each time.")] = Path(".headgate/demo"),
    port: Annotated[int, typer.Option(help="The port of the web pages; Prefect gets the next one.")] = 8080,
) -> None:
    """Show the main job: two changes are pushed, one good, one that breaks a test; their jobs run; both get their votes."""
    from deployments.reviews import GerritReviews, LocalReviews
    from services.up import Up

    typer.secho("Headgate: a change is pushed, its jobs run, it gets its vote.\n", bold=True)
    directory = directory.absolute()
    shutil.rmtree(directory / "state", ignore_errors=True)
    directory.mkdir(parents=True, exist_ok=True)
    log_to_file(directory / "headgate.log")
    reviews = GerritReviews(directory, typer.echo) if gerrit else LocalReviews(directory)
    config = reviews.prepare(port)
    settings = read_settings(config)

    async def story(tell: Callable[[str], None]) -> None:
        from deployments.story import tell_story

        def say(text: str) -> None:
            for line in text.split("\n"):
                tell(f"say {line}")

        await tell_story(settings, reviews, say, keep)
        tell("end")

    try:
        Up(settings, config, lambda line: typer.echo(f"  {line}")).run(story, keep)
    finally:
        reviews.close()


def register(app: typer.Typer) -> None:
    app.command()(demo)
