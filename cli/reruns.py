"""The verbs `rerun`: run jobs of a change again, as Retry in Prefect's UI does; and `flaky`: which jobs come to something else then."""

from __future__ import annotations

import asyncio
import os
from datetime import UTC, datetime, timedelta
from typing import Annotated

import typer

from cli.options import CONFIG, ConfigOption
from headgate.reruns import flakiness
from tasks.installation import database_url, prefect_environment, read_settings


def rerun(
    what: Annotated[str, typer.Argument(help="A build's id (or its beginning), or a change's number: then its jobs that did not succeed.")],
    reason: Annotated[str, typer.Option("--reason", help="Why; `headgate flaky` counts it.")] = "",
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
            for build in await again(runtime, what, reason):
                typer.echo(f"{build.job}: runs again; it was {build.result}.")
        finally:
            await runtime.close()

    asyncio.run(run())


def flaky(
    job: Annotated[str, typer.Argument(help="Only this job.")] = "",
    days: Annotated[int, typer.Option("--days", min=1, help="Of reruns in so many days.")] = 30,
    config: ConfigOption = CONFIG,
) -> None:
    """List the jobs that were run again on the same merged commit: how often, how often they came to something else, and why they ran.

    A job that passes and fails on the same commit is flaky; the worst are first.
    """
    settings = read_settings(config)
    database_url(settings)
    os.environ.update(prefect_environment(settings))

    async def run() -> None:
        from tasks.runtime import Runtime

        runtime = await Runtime.open(settings)
        try:
            builds = await runtime.store.rerun_builds(datetime.now(UTC) - timedelta(days=days), job)
        finally:
            await runtime.close()
        found = flakiness(builds)
        for each in found:
            typer.echo(f"{each.job}: {each.changed} of {each.reruns} reruns came to something else ({each.share:.0%})")
            for why, count in each.reasons:
                typer.echo(f"    {count} x {why}")
        if not found:
            typer.echo(f"No job was run again in {days} days.")

    asyncio.run(run())


def register(app: typer.Typer) -> None:
    app.command()(rerun)
    app.command()(flaky)
