"""Fixtures for every test: a real PostgreSQL, started once, with a fresh database for whoever asks; a real Gerrit."""

from __future__ import annotations

import asyncio
import os
import shutil
import tempfile
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
from hypothesis import settings
from sqlalchemy import text
from sqlalchemy.ext.asyncio import create_async_engine

from deployments.gerrit import Gerrit
from services.postgres import EmbeddedPostgres
from tasks.connection_registry import open_connection
from tasks.connections import Connection
from tasks.database import Listener, migrate, open_engine, sqlalchemy_url
from tasks.store import Store, new_id
from tests.services.author import Author
from tests.services.gerrit import GerritServer
from tests.services.review import LocalGitServer, ReviewServer
from tests.services.workshop import Workshop

settings.register_profile("ci", derandomize=True, deadline=None)
if os.environ.get("CI"):
    settings.load_profile("ci")  # what a person's change is judged by must not depend on luck; elsewhere new examples are looked for


@pytest.fixture(scope="session")
def postgres() -> Iterator[EmbeddedPostgres]:
    """A server of this test run's own, in memory-like speed: nothing in it has to survive."""
    directory = Path(tempfile.mkdtemp(prefix="headgate-postgres-"))
    server = EmbeddedPostgres(directory / "data")
    server.start()
    asyncio.run(_template(server))
    yield server
    server.stop()
    shutil.rmtree(directory, ignore_errors=True)


async def _execute(server: EmbeddedPostgres, statement: str) -> None:
    engine = create_async_engine(sqlalchemy_url(server.url("postgres")), isolation_level="AUTOCOMMIT")
    async with engine.connect() as connection:
        await connection.execute(text(statement))
    await engine.dispose()


async def _template(server: EmbeddedPostgres) -> None:
    await _execute(server, "create database template_headgate")
    engine = open_engine(server.url("template_headgate"))
    await migrate(engine)
    await engine.dispose()


@pytest.fixture
async def database(postgres: EmbeddedPostgres) -> AsyncIterator[str]:
    """The URL of a database with our schema and nothing in it."""
    name = f"test_{new_id()[:12]}"
    await _execute(postgres, f"create database {name} template template_headgate")
    yield postgres.url(name)
    await _execute(postgres, f"drop database {name} with (force)")


@pytest.fixture
async def store(database: str) -> AsyncIterator[Store]:
    listener = Listener(database)
    await listener.start()
    store = Store(open_engine(database, connections=4), listener)
    yield store
    await store.close()


@pytest.fixture(scope="session")
def gerrit(tmp_path_factory: pytest.TempPathFactory) -> Iterator[GerritServer]:
    """A running Gerrit; `with_new_project` gives each test its own project. Only for tests marked slow."""
    server = Gerrit(tmp_path_factory.mktemp("gerrit") / "site")
    server.start()
    yield GerritServer(server)
    server.stop()


@pytest.fixture(params=["git", pytest.param("gerrit", marks=pytest.mark.slow)])
def server(request: pytest.FixtureRequest, tmp_path: Path) -> ReviewServer:
    """A review server with one project, of each kind in turn."""
    if request.param == "gerrit":
        return request.getfixturevalue("gerrit").with_new_project()
    return LocalGitServer(tmp_path / "repositories")


@pytest.fixture
async def connection(server: ReviewServer) -> AsyncIterator[Connection]:
    opened = open_connection(server.settings())
    yield opened
    await opened.close()


@pytest.fixture
def alice(server: ReviewServer, tmp_path: Path) -> Author:
    return server.author(tmp_path / "alice")


@pytest.fixture
def workshop(tmp_path: Path) -> Workshop:
    return Workshop(tmp_path)
