"""What a story needs of a code review server, whichever it is, and the one without a process."""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Protocol

from headgate.changes import Event
from tasks.connection_settings import ConnectionSettings, LocalGitSettings
from tasks.connections import Connection
from tasks.local_reviews import Reviews, change_ref
from tests.services.author import Author


class ReviewServer(Protocol):
    """A running server with one project. Verbs on a change are done by a person, not by the CI account."""

    project: str

    def settings(self) -> ConnectionSettings: ...

    def now(self) -> datetime:
        """The server's clock, not later than anything that will happen from now on."""
        ...

    def author(self, clone: Path) -> Author: ...

    def push(self, author: Author, target: str = "main") -> int:
        """Pushes what the author has to a branch, with options as Gerrit has them behind it (`main%topic=NAME`); answers the
        number of the (last) change."""
        ...

    def comment(self, author: Author, number: int, text: str) -> None: ...
    def vote(self, author: Author, number: int, label: str, value: int) -> None: ...
    def abandon(self, author: Author, number: int) -> None: ...
    def restore(self, author: Author, number: int) -> None: ...
    def messages(self, number: int) -> list[str]:
        """Everything said on the change, oldest first."""
        ...


class LocalGitServer:
    """A directory of bare repositories."""

    def __init__(self, root: Path, project: str = "org/demo") -> None:
        self.root, self.project = root, project
        self.reviews = Reviews(root)
        self.reviews.create_project(project)

    def settings(self) -> LocalGitSettings:
        return LocalGitSettings(name="review", path=self.root)

    def now(self) -> datetime:
        return datetime.now(UTC)

    def author(self, clone: Path) -> Author:
        return Author(str(self.reviews.repository(self.project)), clone)

    def push(self, author: Author, target: str = "main") -> int:
        return int(re.findall(r"Change (\d+),", author.push(target))[-1])

    def _option(self, author: Author, number: int, option: str) -> None:
        last = self.reviews.read(number)["patchsets"][-1]
        author.git("fetch", "-q", "origin", change_ref(number, last["patchset"]))
        author.git("push", "-o", option, "origin", f"{last['sha']}:refs/for/{self.reviews.read(number)['branch']}")

    def comment(self, author: Author, number: int, text: str) -> None:
        self._option(author, number, f"comment={text}")

    def vote(self, author: Author, number: int, label: str, value: int) -> None:
        self._option(author, number, f"vote={label}{value:+d}")

    def abandon(self, author: Author, number: int) -> None:
        self._option(author, number, "abandon")

    def restore(self, author: Author, number: int) -> None:
        self._option(author, number, "restore")

    def messages(self, number: int) -> list[str]:
        return [str(message["text"]) for message in self.reviews.read(number)["messages"]]


class Heard:
    """The events a connection gave so far."""

    def __init__(self) -> None:
        self.events: list[Event] = []
        self.more = asyncio.Condition()

    def of(self, type: str, number: int | None = None) -> list[Event]:
        return [event for event in self.events if event.type == type and number in (None, event.change)]

    async def wait(self, type: str, number: int | None = None, count: int = 1) -> Event:
        """The `count`th such event."""
        async with self.more, asyncio.timeout(30):
            await self.more.wait_for(lambda: len(self.of(type, number)) >= count)
        return self.of(type, number)[count - 1]


@asynccontextmanager
async def listening(connection: Connection, since: datetime | None) -> AsyncIterator[Heard]:
    """Listens as long as the block lasts."""
    heard = Heard()

    async def listen() -> None:
        async for event in connection.events(since):
            async with heard.more:
                heard.events.append(event)
                heard.more.notify_all()

    async with asyncio.TaskGroup() as group:
        task = group.create_task(listen())
        try:
            yield heard
        finally:
            task.cancel()
