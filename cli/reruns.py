"""The verb `rerun`: run jobs of a change again, as Retry in Prefect's UI does."""

from __future__ import annotations

import asyncio
import os
from typing import Annotated

import typer

from cli.options import CONFIG, ConfigOption
from tasks.installation import database_url, prefect_environment, read_settings


def rerun(
    what: Annotated[str, typer.Argument(help="A build's id (or its beginning), or a change's number: then its jobs that did not succeed.")],
    config: ConfigOption = CONFIG,
) -> None:
    """Run one build, or all failed builds of a change, again on the same merged commit. The vote follows."""

    settings = read_settings(config)
    database_url(settings)  # says so if there is no installation to work for
    os.environ.update(prefect_environment(settings))

    async def run() -> None:
        from services.reruns import rerun as again
        from tasks.runtime import Runtime

        runtime = await Runtime.open(settings)
        try:
            for build in await again(runtime, what):
                typer.echo(f"{build.job}: runs again; it was {build.result}.")
        finally:
            await runtime.close()

    asyncio.run(run())


def register(app: typer.Typer) -> None:
    app.command()(rerun)
