"""The PostgreSQL database: connecting, migrating, leases, and being told instead of polling.

Leases are PostgreSQL's session-level advisory locks: whoever holds one loses it the moment its connection ends, however it died, so
nothing has to expire. Notifications (LISTEN/NOTIFY) are hints to hurry: losing one costs a delay, never a fact.
"""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import asyncpg
from alembic import command
from alembic.config import Config
from alembic.script import ScriptDirectory
from alembic.util.exc import CommandError
from sqlalchemy import Connection, text
from sqlalchemy.ext.asyncio import AsyncEngine, create_async_engine

from headgate.problems import DatabaseProblem

MIGRATIONS = Path(__file__).parent / "migrations"
CHANNEL = "headgate"
SCHEMA = "headgate"
"""Where our tables are, so that Prefect's, of which some have the same names, may be in the same database."""


def asyncpg_url(url: str) -> str:
    """`url` for asyncpg itself (which knows `postgresql://` only)."""
    return url.replace("postgresql+asyncpg://", "postgresql://", 1)


def sqlalchemy_url(url: str) -> str:
    """`url` for SQLAlchemy with the asyncpg driver, whichever of the two forms was given."""
    return asyncpg_url(url).replace("postgresql://", "postgresql+asyncpg://", 1).replace("postgres://", "postgresql+asyncpg://", 1)


def open_engine(url: str, connections: int = 8) -> AsyncEngine:
    """An engine with at most `connections` connections; idle ones are checked before use, as a server may restart."""
    return create_async_engine(
        sqlalchemy_url(url),
        pool_size=connections,
        max_overflow=0,
        pool_pre_ping=True,
        pool_timeout=60,
        connect_args={"server_settings": {"search_path": SCHEMA}},
    )


def lease_key(name: str) -> int:
    """The advisory lock number of a lease called `name`: 63 bits, so that it fits PostgreSQL's bigint."""
    return int.from_bytes(hashlib.sha256(name.encode()).digest()[:8]) >> 1


def _migrate(connection: Connection) -> None:
    config = Config()
    config.set_main_option("script_location", str(MIGRATIONS))
    config.attributes["connection"] = connection
    known = {script.revision for script in ScriptDirectory.from_config(config).walk_revisions()}
    exists = connection.execute(text("select to_regclass('alembic_version')")).scalar()
    current = connection.execute(text("select version_num from alembic_version")).scalar() if exists else None
    if current is not None and current not in known:
        raise DatabaseProblem(
            f"The database is at revision {current}, which this Headgate does not know: it was written by a newer one. "
            "Install that version, or name another database in the configuration file."
        )
    try:
        command.upgrade(config, "head")
    except CommandError as problem:
        raise DatabaseProblem(f"The database could not be brought up to date: {problem}") from problem


async def migrate(engine: AsyncEngine) -> None:
    """Bring the schema up to date; two processes at once wait for each other. Raises `DatabaseProblem`."""
    try:
        async with engine.begin() as connection:
            await connection.execute(text("select pg_advisory_xact_lock(:key)"), {"key": lease_key("migrate")})
            await connection.execute(text(f"create schema if not exists {SCHEMA}"))
            await connection.run_sync(_migrate)
    except (OSError, asyncpg.PostgresError) as problem:
        raise DatabaseProblem(f"The database cannot be reached: {problem}. Check `database:` in the configuration file.") from problem


class Lease:
    """A lease held by a connection of its own. `lost` is set when that connection ends."""

    def __init__(self, name: str, connection: asyncpg.Connection[Any]) -> None:
        self.name = name
        self.lost = asyncio.Event()
        self._connection = connection
        connection.add_termination_listener(lambda _: self.lost.set())

    @classmethod
    async def take(cls, url: str, name: str) -> Lease | None:
        """The lease, or None when somebody else holds it."""
        # keep-alives: a holder whose machine lost its power is noticed by the server after about 15 s
        connection = await asyncpg.connect(
            asyncpg_url(url),
            server_settings={
                "tcp_keepalives_idle": "5",
                "tcp_keepalives_interval": "5",
                "tcp_keepalives_count": "2",
                "application_name": name,
            },
        )
        if await connection.fetchval("select pg_try_advisory_lock($1)", lease_key(name)):
            return cls(name, connection)
        await connection.close()
        return None

    async def release(self) -> None:
        await self._connection.close()


class Listener:
    """Who wants to be told: `async with listener.watch("builds:ID") as changed: ...; await changed.wait()`.

    One connection listens to one channel; payloads are topics. After a lost connection every watcher is woken, because something may
    have been missed.
    """

    def __init__(self, url: str) -> None:
        self._url = url
        self._watchers: dict[str, set[asyncio.Event]] = {}
        self._task: asyncio.Task[None] | None = None
        self._ready = asyncio.Event()

    async def start(self) -> None:
        self._task = asyncio.create_task(self._run(), name="database listener")
        await self._ready.wait()

    async def close(self) -> None:
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)

    async def _run(self) -> None:
        delay = 0.2
        while True:
            try:
                connection = await asyncpg.connect(asyncpg_url(self._url))
                ended = asyncio.Event()
                connection.add_termination_listener(lambda _, ended=ended: ended.set())
                try:
                    await connection.add_listener(CHANNEL, self._told)
                    self._ready.set()
                    self._wake_all()
                    delay = 0.2
                    await ended.wait()
                finally:
                    connection.terminate()
            except (OSError, asyncpg.PostgresError, asyncpg.InterfaceError):
                pass
            await asyncio.sleep(delay)
            delay = min(delay * 2, 5)

    def _told(self, _connection: object, _process: int, _channel: str, payload: str) -> None:
        for event in self._watchers.get(payload, ()):
            event.set()

    def _wake_all(self) -> None:
        for events in self._watchers.values():
            for event in events:
                event.set()

    @asynccontextmanager
    async def watch(self, *topics: str) -> AsyncIterator[asyncio.Event]:
        """An event set whenever one of the topics is notified; clear it before looking."""
        event = asyncio.Event()
        for topic in topics:
            self._watchers.setdefault(topic, set()).add(event)
        try:
            yield event
        finally:
            for topic in topics:
                self._watchers[topic].discard(event)
                if not self._watchers[topic]:
                    del self._watchers[topic]
