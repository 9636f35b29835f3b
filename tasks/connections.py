"""What a connection to a code review server must offer, whatever its kind; `tasks/connection_registry.py` has the kinds.

`tests/test_connections.py` is the contract, and every kind passes it.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol

from headgate.changes import Change, Event, Linked
from headgate.problems import Problem
from headgate.records import FileComment


class ConnectionProblem(Problem):
    """The server cannot be used as configured: one sentence for a person, naming the connection and what to do."""


class ReportRefused(Exception):
    """The server understood the report and will never take it (change closed, no permission, submit refused).

    The message is the server's reason in one sentence. Anything else that goes wrong is retried by the caller.
    """


@dataclass(frozen=True, slots=True)
class Report:
    """One report on one change.

    `id` is unique to this report (one word: letters, digits, dashes) and found again in what the server shows of it, so
    that `Connection.report` can be called again after any failure without speaking twice. Where the message has the id
    already, in a link say, nothing is added to it. `notify` is Gerrit's: NONE, OWNER, OWNER_REVIEWERS, ALL.
    """

    id: str
    change: Change
    pipeline: str
    message: str
    labels: Mapping[str, int]
    comments: tuple[FileComment, ...] = ()
    submit: bool = False
    notify: str = ""


class Connection(Protocol):
    """One configured code review server. All methods may be called concurrently from one event loop."""

    name: str
    canonical_hostname: str

    async def check(self) -> None:
        """Can it be reached with these credentials? Raises `ConnectionProblem` if not."""
        ...

    def events(self, since: datetime | None) -> AsyncGenerator[Event, None]:
        """Every event from now on, for ever, reconnecting by itself with back-off; and first, after every (re)connection,
        what happened to changes updated since `since` (or since the last event seen), in order of time. Ids are
        stable between the two ways an event can arrive. Events at `since`, and some seconds before, are told again:
        give the time of the last event kept, and keep events by id. "Now" is when the first event is asked for. Branch and
        tag updates (`ref-updated`) may come live only: after a connection was lost, `branches` tells. Problems are logged,
        not raised."""
        ...

    async def change(self, number: int, patchset: int | None = None) -> Change:
        """The change at `patchset` (the current one if None). Raises `LookupError` when there is none."""
        ...

    async def linked(self, number: int, patchset: int | None = None) -> Linked:
        """The change as `change` has it, how it hangs together with others, and what keeps it from being submitted. Raises
        `LookupError` when there is none."""
        ...

    async def find_change(self, address: str) -> int | None:
        """The number of the change of this server that the address in a `Depends-On:` means; None if it is not this server's.
        There may be no such change (`linked` tells)."""
        ...

    async def with_change_id(self, change_id: str) -> tuple[int, ...]:
        """Open changes with that Change-Id, whatever their project and branch, in order of number."""
        ...

    async def depending_on(self, change: Change) -> tuple[int, ...]:
        """Open changes of this server whose message says `Depends-On` the change, in order of number. For a change of another
        connection, those that may: where the number is part of an address."""
        ...

    async def same_topic(self, topic: str) -> tuple[int, ...]:
        """Open changes with exactly that topic, in order of number."""
        ...

    async def open_changes(self, project: str) -> tuple[int, ...]:
        """Open changes of a project, in order of number."""
        ...

    async def branches(self, project: str) -> Mapping[str, str]:
        """Branch name (without refs/heads/) to commit. Raises `LookupError` for an unknown project."""
        ...

    def git(self, project: str) -> tuple[str, Mapping[str, str]]:
        """The URL to fetch `project` from, and environment variables git needs for it (GIT_SSH_COMMAND, or GIT_CONFIG_COUNT
        and its keys and values, which have the password: give them to that one process only)."""
        ...

    async def report(self, report: Report) -> None:
        """Say it on the change, once: a repeated call with an equal `id` finds the earlier one and does nothing.
        Raises `ReportRefused` when it never will be taken."""
        ...

    async def close(self) -> None: ...
