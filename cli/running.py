"""Verbs that run Headgate: `up` and `worker`."""

from __future__ import annotations

import asyncio
import os
from typing import Annotated

import typer

from cli.options import CONFIG, ConfigOption, log_to_stderr
from headgate.problems import Problem
from tasks.installation import database_url, prefect_environment, read_settings


def up(
    config: ConfigOption = CONFIG,
    verbose: Annotated[bool, typer.Option("--verbose", "-v", help="Say more.")] = False,
) -> None:
    """Start everything: database, Prefect server, scheduler, worker, web pages. Ctrl-C stops it; what was under way goes on next time."""
    from services.up import Up

    log_to_stderr(verbose)
    Up(read_settings(config), config.absolute(), typer.echo).run()


def worker(
    config: ConfigOption = CONFIG,
    pool: Annotated[list[str] | None, typer.Option("--pool", help="Serve only this work pool (may be repeated).")] = None,
) -> None:
    """Run one more worker against a running installation, on this machine or (with `worker.home`) on another one."""
    log_to_stderr()
    settings = read_settings(config)
    database_url(settings)  # says so if there is no installation to work for
    try:
        settings.state.mkdir(parents=True, exist_ok=True)
    except OSError as problem:
        raise Problem(
            f"The state directory {settings.state} cannot be used: {problem.strerror}. Choose another with `state-dir:`."
        ) from problem
    os.environ.update(prefect_environment(settings))

    async def run() -> None:
        from services.processes import stop_on_signals
        from services.worker import serve

        await serve(settings, stop_on_signals(), *([tuple(pool)] if pool else []))

    asyncio.run(run())


def register(app: typer.Typer) -> None:
    app.command()(up)
    app.command()(worker)
