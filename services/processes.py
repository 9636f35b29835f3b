"""The bodies of the processes that `headgate up` forks, and what they share by being imported here once."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Callable

from deployments.definitions import apply, apply_images
from headgate.settings import Settings
from services.prefect_server import wait_for_prefect
from services.scheduler import Scheduler
from services.web.server import serve_web
from services.worker import serve
from tasks.database import migrate, open_engine
from tasks.runtime import Runtime, open_connections, open_providers, set_runtime
from tasks.tenants import check_tenant_file

Tell = Callable[[str], None]
"""Sends one line to the supervisor: `part TEXT`, `say TEXT`, `ready` or `end`."""


def stop_on_signals() -> asyncio.Event:
    """An event set by Ctrl-C or SIGTERM."""
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, stop.set)
    return stop


async def migrate_database(url: str) -> None:
    """Bring our schema up to date. Raises `DatabaseProblem`."""
    engine = open_engine(url)
    try:
        await migrate(engine)
    finally:
        await engine.dispose()


async def check_settings(settings: Settings) -> None:
    """Is all that is configured right, and can every connection be used? Raises `Problem` saying what to mend."""
    connections = open_connections(settings)
    try:
        open_providers(settings)
        check_tenant_file(settings.tenant_file, connections)
        await asyncio.gather(*(connection.check() for connection in connections.values()))
    finally:
        for connection in connections.values():
            await connection.close()


async def scheduler(settings: Settings, tell: Tell) -> None:
    """The scheduler and the web pages, until a signal."""
    stop = stop_on_signals()
    await wait_for_prefect(settings)
    tell(f"part Prefect            {settings.prefect_ui}")
    runtime = await Runtime.open(settings)
    set_runtime(runtime)
    try:
        await apply(runtime.prefect)
        await apply_images(runtime.prefect, runtime.diskimages)
        working = Scheduler(runtime, lambda line: tell(f"say {line}"))
        loops: list[asyncio.Task[object]] = [
            asyncio.create_task(working.run(), name="scheduler"),
            asyncio.create_task(serve_web(runtime), name="web"),
        ]
        waiting = asyncio.create_task(stop.wait(), name="stop")
        begun = asyncio.create_task(working.ready.wait(), name="ready")
        try:
            done, _ = await asyncio.wait([*loops, waiting, begun], return_when=asyncio.FIRST_COMPLETED)
            if begun in done:
                tell(f"part web                {settings.web_url}")
                tell("ready")
                done, _ = await asyncio.wait([*loops, waiting], return_when=asyncio.FIRST_COMPLETED)
            for task in done:
                task.result()
        finally:
            for task in [*loops, waiting, begun]:
                task.cancel()
            await asyncio.gather(*loops, waiting, begun, return_exceptions=True)
    finally:
        await runtime.close()


async def worker(settings: Settings) -> None:
    """One worker for every pool, until a signal."""
    await serve(settings, stop_on_signals())
