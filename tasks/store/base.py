"""What every part of the store stands on: the engine, and telling whoever watches."""

from __future__ import annotations

import uuid
from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from datetime import UTC, datetime
from typing import Any

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from tasks.database import CHANNEL, Listener, lease_key

FACTS = "facts"
"""Told whenever something happened that a pass has to take in."""


def new_id() -> str:
    """A fresh unique name, 32 hexadecimal digits, as Zuul writes its ids."""
    return uuid.uuid4().hex


def utc_now() -> datetime:
    return datetime.now(UTC)


class StoreBase:
    """One engine and one listener for all parts."""

    def __init__(self, engine: AsyncEngine, listener: Listener) -> None:
        self._engine = engine
        self._listener = listener

    def watch(self, *topics: str) -> AbstractAsyncContextManager[Any]:
        """An `asyncio.Event` set whenever something under one of `topics` changed; it may also be set without need."""
        return self._listener.watch(*topics)

    async def close(self) -> None:
        await self._listener.close()
        await self._engine.dispose()

    async def tell(self, *topics: str) -> None:
        """Wake the watchers of `topics` everywhere."""
        async with self._engine.begin() as connection:
            await self._tell(connection, *topics)

    @staticmethod
    async def _tell(connection: AsyncConnection, *topics: str) -> None:
        for topic in topics:
            await connection.execute(sa.select(sa.func.pg_notify(CHANNEL, topic)))

    @asynccontextmanager
    async def alone(self, name: str) -> AsyncIterator[None]:
        """Only one coroutine of all processes is inside for `name`. It keeps one connection of this process's few: no long work in it."""
        async with self._engine.begin() as connection:
            await connection.execute(sa.select(sa.func.pg_advisory_xact_lock(lease_key(name))))
            yield
