"""`headgate up`: everything of one installation, started in order, watched, and stopped in order.

Processes: PostgreSQL (embedded), Prefect's server, the scheduler with the web pages, one worker, and this one, which only supervises.
"""

from __future__ import annotations

import asyncio
import fcntl
import importlib
import json
import os
import socket
import sys
import time
from collections.abc import Callable, Coroutine, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

from headgate.problems import Problem
from headgate.settings import Settings
from services.postgres import EmbeddedPostgres
from services.supervisor import Part, Supervisor
from tasks.installation import CONFIG_VARIABLE, address_file, prefect_environment

Say = Callable[[str], None]
"""Called with one line for a person whenever a part is ready."""
READY = "ready"
Story = Callable[[Say], Coroutine[Any, Any, None]]
"""Given how to tell the supervisor a line (`say TEXT`, `end`), what to do once everything is ready."""


def is_loopback(host: str) -> bool:
    return host == "localhost" or host.startswith("127.") or host == "::1"


def check_binding(settings: Settings) -> None:
    """Refuse what would be open to the world, and what is no home. Raises `Problem`."""
    if settings.worker.home is not None:
        raise Problem("`worker.home` is for `headgate worker` on another machine; `headgate up` is where home is: leave it out.")
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
            raise Problem(f"Port {port} may not be used by this user: choose one above 1023 with `{key}:`.") from None
        except OSError:
            raise Problem(f"Port {port} on {host} is taken by another program: stop it, or choose another with `{key}:`.") from None


@contextmanager
def only_one(state: Path) -> Iterator[None]:
    """Hold the state directory. Raises `Problem` when it cannot be used, or somebody else holds it."""
    try:
        state.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(state / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
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


class Up:
    """One running installation."""

    def __init__(self, settings: Settings, config: Path, say: Say) -> None:
        self._settings = settings
        self._config = config
        self._say = say
        self._began = time.monotonic()

    def _ready(self, what: str) -> None:
        self._say(f"{time.monotonic() - self._began:5.1f} s  {what}")

    def run(self, story: Story | None = None, keep: bool = True) -> None:
        """Start everything and stay until a signal. Once it is ready, `story` runs in a process of its own; with `keep` false its end
        ends everything. Raises a `Problem` when something cannot be started."""
        settings = self._settings
        check_binding(settings)
        with ExitStack() as stack:
            stack.enter_context(only_one(settings.state))
            if settings.prefect.url is None:
                check_port(settings.prefect.host, settings.prefect.port, "prefect.port")
            check_port(settings.web.host, settings.web.port, "web.port")
            database, prefect_database = self._database(stack)
            os.environ[CONFIG_VARIABLE] = str(self._config)
            os.environ.update(prefect_environment(settings, prefect_database))
            supervisor = stack.enter_context(Supervisor())
            if settings.prefect.url is None:
                command = [sys.executable, "-m", "prefect", "server", "start"]
                command += ["--host", settings.prefect.host, "--port", str(settings.prefect.port)]
                supervisor.start(Part("Prefect server", settings.state / "logs" / "prefect.log", command))
            # Prefect and all that needs it takes seconds to import: that is done once, while the server starts, and shared by forking
            processes = importlib.import_module("services.processes")
            asyncio.run(processes.check_settings(settings))
            asyncio.run(processes.migrate_database(database))
            self._write_addresses(stack, {"database": database, "prefect": settings.prefect_url, "web": settings.web_url})
            logs = settings.state / "logs"
            supervisor.start(Part("scheduler", logs / "scheduler.log", body=lambda: processes.scheduler(settings, supervisor.tell)))
            supervisor.start(Part("worker", logs / "worker.log", body=lambda: processes.worker(settings)))
            self._follow(supervisor, story, keep)
            self._say("         stopping" + ("; what is under way goes on with the next `headgate up`" if keep else ""))

    def _follow(self, supervisor: Supervisor, story: Story | None, keep: bool) -> None:
        def heard(line: str) -> bool:
            kind, _, text = line.partition(" ")
            if kind == "part":
                self._ready(text)
            elif kind == "say":
                self._say(text)
            if kind == READY:
                supervisor.endure()
            if kind == READY and story is not None:
                supervisor.start(Part("story", self._settings.state / "logs" / "story.log", body=lambda: story(supervisor.tell), once=True))
            elif kind == READY:
                self._say("ready; Ctrl-C stops.")
            return kind == "end" and not keep

        supervisor.watch(heard)

    def _database(self, stack: ExitStack) -> tuple[str, str | None]:
        """The URL of our database, and of Prefect's if its server is ours."""
        settings = self._settings
        if settings.database != "embedded":
            return settings.database, settings.database
        postgres = EmbeddedPostgres(settings.state / "postgres")
        postgres.start()
        stack.callback(postgres.stop)
        asyncio.run(postgres.create_databases())
        self._ready(f"database           {settings.state / 'postgres'}")
        return postgres.url("headgate"), postgres.url("prefect")

    def _write_addresses(self, stack: ExitStack, addresses: dict[str, object]) -> None:
        path = address_file(self._settings)
        path.touch(mode=0o600)  # it may hold a password
        path.write_text(json.dumps({**addresses, "process": os.getpid()}))
        stack.callback(path.unlink, missing_ok=True)
