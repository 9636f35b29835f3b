"""`headgate up`: everything of one installation, started in order, watched, and stopped in order.

Processes: PostgreSQL (embedded), Prefect's server, one worker, and this one with the scheduler and the web pages.
"""

from __future__ import annotations

import asyncio
import fcntl
import json
import logging
import os
import socket
import sys
import time
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path

import httpx

from headgate.problems import Problem
from headgate.settings import Settings
from services.child import Child
from services.postgres import EmbeddedPostgres
from tasks.database import migrate, open_engine
from tasks.runtime import CONFIG_VARIABLE, Runtime, address_file, set_runtime

logger = logging.getLogger("headgate.up")

Say = Callable[[str], None]
"""Called with one line for a person whenever a part is ready."""
PREFECT_START_SECONDS = 120.0


def prefect_environment(settings: Settings, database: str | None) -> dict[str, str]:
    """The settings every process of ours gives Prefect."""
    environment = {
        "PREFECT_API_URL": settings.prefect_url,
        "PREFECT_HOME": str(settings.state / "prefect"),
        "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
        "PREFECT_SERVER_EPHEMERAL_ENABLED": "false",
        "PREFECT_SERVER_LOGGING_LEVEL": "WARNING",
        # the console of a job is its own file; a run's log in Prefect is short
        "PREFECT_LOGGING_TO_API_BATCH_INTERVAL": "1",
        "PREFECT_SERVER_SERVICES_DB_VACUUM_ENABLED": "events,flow_runs",
        "PREFECT_WORKER_QUERY_SECONDS": "10",
        "DO_NOT_TRACK": "1",
    }
    if settings.prefect.auth:
        environment["PREFECT_SERVER_API_AUTH_STRING"] = settings.prefect.auth
        environment["PREFECT_API_AUTH_STRING"] = settings.prefect.auth
    if database is not None:
        environment["PREFECT_API_DATABASE_CONNECTION_URL"] = database.replace("postgresql://", "postgresql+asyncpg://", 1)
    return environment


def is_loopback(host: str) -> bool:
    return host == "localhost" or host.startswith("127.") or host == "::1"


def check_binding(settings: Settings) -> None:
    """Refuse what would be open to the world. Raises `Problem`."""
    if settings.prefect.url is None and not is_loopback(settings.prefect.host) and not settings.prefect.auth:
        raise Problem(
            f"Prefect would answer anybody on {settings.prefect.host}: set `prefect.auth: USER:PASSWORD`, "
            "or leave `prefect.host` at 127.0.0.1."
        )


def check_port(host: str, port: int, key: str) -> None:
    """Is the port free? Raises `Problem` naming the key to change."""
    with socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except PermissionError:
            raise Problem(
                f"Port {port} may not be used by this user: choose one above 1023 with `{key}:` in the configuration file."
            ) from None
        except OSError:
            raise Problem(f"Port {port} on {host} is taken by another program: stop it, or choose another with `{key}:`.") from None


@asynccontextmanager
async def _only_one(state: Path) -> AsyncIterator[None]:
    try:
        state.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(state / "lock", os.O_RDWR | os.O_CREAT, 0o600)
    except OSError as problem:
        raise Problem(f"The state directory {state} cannot be used: {problem.strerror}. Choose another with `state-dir:`.") from problem
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        owner = os.read(descriptor, 20).decode().strip()
        os.close(descriptor)
        raise Problem(f"Headgate is running in {state} already (process {owner}).") from None
    try:
        os.ftruncate(descriptor, 0)
        os.pwrite(descriptor, str(os.getpid()).encode(), 0)
        yield
    finally:
        os.close(descriptor)


async def _wait_for_prefect(settings: Settings, child: Child | None) -> None:
    """Until its API answers. It says so to nobody, so this asks, ten times a second."""
    deadline = time.monotonic() + PREFECT_START_SECONDS
    auth = tuple(settings.prefect.auth.split(":", 1)) if settings.prefect.auth else None
    async with httpx.AsyncClient(timeout=2, auth=auth) as client:  # type: ignore[arg-type]  # split gives two
        while time.monotonic() < deadline:
            try:
                if (await client.get(f"{settings.prefect_url}/health")).status_code == 200:
                    return
            except httpx.HTTPError:
                pass
            if child is not None and child.process is not None:
                try:
                    async with asyncio.timeout(0.1):
                        code = await child.ended()
                except TimeoutError:
                    continue
                raise Problem(f"Prefect's server ended with {code}: {child.last_words(1)}. Its log is {child.log}.")
            await asyncio.sleep(0.1)
    raise Problem(f"Prefect does not answer at {settings.prefect_url}.")


class Up:
    """One running installation."""

    def __init__(self, settings: Settings, config: Path, say: Say) -> None:
        self._settings = settings
        self._config = config
        self._say = say
        self._began = time.monotonic()
        self.runtime: Runtime | None = None

    def _ready(self, what: str) -> None:
        self._say(f"{time.monotonic() - self._began:5.1f} s  {what}")

    async def run(self, stop: asyncio.Event, ready: Callable[[Runtime], None] = lambda _: None) -> None:
        """Start everything, call `ready`, and stay until `stop` is set. Raises a `Problem` when something cannot be started."""
        settings = self._settings
        check_binding(settings)
        async with AsyncExitStack() as stack:
            await stack.enter_async_context(_only_one(settings.state))
            if settings.prefect.url is None:
                check_port(settings.prefect.host, settings.prefect.port, "prefect.port")
            check_port(settings.web.host, settings.web.port, "web.port")
            database, prefect_database = await self._database(stack)
            environment = prefect_environment(settings, prefect_database)
            os.environ.update(environment)
            server = await self._prefect(stack, environment)
            worker = Child(
                "worker",
                [sys.executable, "-m", "cli.main", "worker", "--config", str(self._config)],
                {CONFIG_VARIABLE: str(self._config)},
                settings.state / "logs" / "worker.log",
            )
            addresses = {"database": database, "prefect": settings.prefect_url, "web": settings.web_url, "process": os.getpid()}
            self._write_addresses(stack, addresses)
            engine = open_engine(database)
            await migrate(engine)
            await engine.dispose()
            stack.push_async_callback(worker.stop)
            await worker.start()
            await _wait_for_prefect(settings, server)
            self._ready(f"Prefect            {settings.prefect_ui}")
            await self._serve(stack, stop, worker, server, ready)

    async def _database(self, stack: AsyncExitStack) -> tuple[str, str | None]:
        """The URL of our database, and of Prefect's if its server is ours."""
        settings = self._settings
        if settings.database != "embedded":
            engine = open_engine(settings.database)
            await migrate(engine)
            await engine.dispose()
            self._ready("database           (your server)")
            return settings.database, settings.database
        postgres = EmbeddedPostgres(settings.state / "postgres")
        await asyncio.to_thread(postgres.start)
        stack.push_async_callback(asyncio.to_thread, postgres.stop)
        await postgres.create_databases()
        self._ready(f"database           {settings.state / 'postgres'}")
        return postgres.url("headgate"), postgres.url("prefect")

    async def _prefect(self, stack: AsyncExitStack, environment: dict[str, str]) -> Child | None:
        settings = self._settings
        if settings.prefect.url is not None:
            return None
        command = [
            sys.executable,
            "-m",
            "prefect",
            "server",
            "start",
            "--host",
            settings.prefect.host,
            "--port",
            str(settings.prefect.port),
        ]
        server = Child("Prefect server", command, environment, settings.state / "logs" / "prefect.log")
        stack.push_async_callback(server.stop)
        await server.start()
        return server

    def _write_addresses(self, stack: AsyncExitStack, addresses: dict[str, object]) -> None:
        path = address_file(self._settings)
        path.touch(mode=0o600)  # it may hold a password
        path.write_text(json.dumps(addresses))
        stack.callback(path.unlink, missing_ok=True)

    async def _serve(
        self, stack: AsyncExitStack, stop: asyncio.Event, worker: Child, server: Child | None, ready: Callable[[Runtime], None]
    ) -> None:
        # imported only now: Prefect reads its settings from the environment when it is first imported
        from deployments.definitions import apply
        from services.scheduler import Scheduler
        from services.web.server import serve_web

        settings = self._settings
        runtime = self.runtime = await Runtime.open(settings)
        stack.push_async_callback(runtime.close)
        set_runtime(runtime)
        await apply(runtime.prefect)
        scheduler = Scheduler(runtime)
        loops = [
            asyncio.create_task(scheduler.run(), name="scheduler"),
            asyncio.create_task(serve_web(runtime), name="web"),
            asyncio.create_task(worker.keep(scheduler.reconciler.hurry.set), name="worker"),
        ]
        if server is not None:
            loops.append(asyncio.create_task(server.keep(lambda: None), name="Prefect server"))
        waiting = asyncio.create_task(stop.wait(), name="stop")
        begun = asyncio.create_task(scheduler.ready.wait(), name="ready")
        try:
            done, _ = await asyncio.wait([*loops, waiting, begun], return_when=asyncio.FIRST_COMPLETED)
            if begun in done:
                self._ready(f"web                {settings.web_url}")
                ready(runtime)
                done, _ = await asyncio.wait([*loops, waiting], return_when=asyncio.FIRST_COMPLETED)
            for task in done:
                task.result()
        finally:
            for task in [*loops, waiting, begun]:
                task.cancel()
            await asyncio.gather(*loops, waiting, begun, return_exceptions=True)
            self._say("       stopping: jobs under way start again with the next `headgate up`")
            await worker.stop()
