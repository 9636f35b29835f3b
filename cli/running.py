"""Verbs that run Headgate: `up` and `worker`."""

from __future__ import annotations

import asyncio
import os
from typing import Annotated

import typer

from cli.options import CONFIG, ConfigOption, log_to_stderr, stop_on_signals


def up(
    config: ConfigOption = CONFIG,
    verbose: Annotated[bool, typer.Option("--verbose", "-v", help="Say more.")] = False,
) -> None:
    """Start everything: database, Prefect server, scheduler, worker, web pages. Ctrl-C stops it; what was under way goes on next time."""
    from services.up import Up
    from tasks.runtime import read_settings

    log_to_stderr(verbose)
    settings = read_settings(config)

    async def run() -> None:
        stop = stop_on_signals()
        await Up(settings, config.absolute(), typer.echo).run(stop, lambda _: typer.echo("ready; Ctrl-C stops."))

    asyncio.run(run())


def worker(
    config: ConfigOption = CONFIG,
    pool: Annotated[list[str] | None, typer.Option("--pool", help="Serve only this work pool (may be repeated).")] = None,
) -> None:
    """Run one more worker against a running installation, on this or another machine that shares its state directory."""
    from services.up import prefect_environment
    from tasks.runtime import read_settings

    log_to_stderr()
    settings = read_settings(config)
    os.environ.update(prefect_environment(settings, None))

    async def run() -> None:
        from services.worker import serve

        stop = stop_on_signals()
        await serve(settings, stop, *([tuple(pool)] if pool else []))

    asyncio.run(run())


def register(app: typer.Typer) -> None:
    app.command()(up)
    app.command()(worker)
