"""The web process: the pages served by uvicorn, in the loop it is called in."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Iterator

import uvicorn

from services.finger import finger_server
from services.store_reader import StoreReader
from services.web.app import WebSettings, create_app
from services.web.home import HomeDoor
from tasks.home import secret_file
from tasks.home_requests import make_secret
from tasks.runtime import Runtime

LINGER_SECONDS = 1
"""How long open streams may hold up a stop; their readers connect again by themselves."""


class _Server(uvicorn.Server):
    """Leaves signals to whoever runs this process."""

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


async def serve_web(runtime: Runtime) -> None:
    """Serve until cancelled."""
    settings = runtime.settings
    reader = StoreReader(runtime)
    door = HomeDoor(reader, settings.state, make_secret(secret_file(settings)))
    app = create_app(reader, WebSettings(prefect_url=settings.prefect_ui), door.routes())
    config = uvicorn.Config(
        app,
        host=settings.web.host,
        port=settings.web.port,
        log_level="warning",
        access_log=False,
        timeout_graceful_shutdown=LINGER_SECONDS,
    )
    server = _Server(config)
    async with finger_server(reader, settings.web.host, settings.web.finger_port):
        serving = asyncio.create_task(server.serve())
        try:
            await asyncio.shield(serving)
        except asyncio.CancelledError:
            server.should_exit = True
            await serving
            raise
