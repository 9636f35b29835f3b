"""The connection to a directory of bare repositories: a code review server with no process of its own.

People push with plain git (tasks.local_receive says how); the votes are in `git notes` of the commit, under
refs/notes/review. What is kept, and where, is in tasks.local_reviews.
"""

from __future__ import annotations

import asyncio
import json
import logging
import os
import sqlite3
import uuid
from collections.abc import AsyncGenerator, Callable, Iterator, Mapping
from contextlib import contextmanager
from datetime import datetime
from typing import Any, TypeVar

import pygit2

from headgate.changes import Approval, Change, Event, Linked
from tasks import local_links
from tasks.connection_settings import LocalGitSettings
from tasks.connections import ConnectionProblem, Report, ReportRefused
from tasks.local_reviews import Refused, Reviews, change_ref

T = TypeVar("T")
log = logging.getLogger(__name__)

RETRY = 5
"""Seconds after which a directory that could not be read is read again."""


class LocalGitConnection:
    """See `tasks.connections.Connection`. Submits by fast-forward or, where that cannot be, by a merge commit."""

    def __init__(self, settings: LocalGitSettings) -> None:
        self.name = settings.name
        self.canonical_hostname = settings.canonical_hostname
        self.user = settings.user
        self.reviews = Reviews(settings.path)

    async def check(self) -> None:
        if not self.reviews.root.is_dir():
            raise ConnectionProblem(
                f"connection {self.name}: {self.reviews.root} is no directory; make it with a first repository by: "
                f"python -m tasks.local_reviews create {self.reviews.root} ORG/NAME"
            )
        await self._do(self.reviews.last_seq)

    async def close(self) -> None:
        """Nothing is open between calls."""

    async def _do(self, work: Callable[..., T], *arguments: Any) -> T:
        """`work` in a thread, because it may wait for a push to let go of the lock; a broken database in one sentence."""
        try:
            return await asyncio.to_thread(work, *arguments)
        except (OSError, Refused, sqlite3.Error) as problem:
            raise ConnectionProblem(f"connection {self.name}: {self.reviews.root}: {problem}") from problem

    async def events(self, since: datetime | None) -> AsyncGenerator[Event, None]:
        seq: int | None = None
        while True:
            try:
                with _bell(self.reviews) as bell:
                    seq = await self._do(self.reviews.last_seq, since) if seq is None else seq
                    while True:
                        bell.clear()
                        for number, id, created, facts in await self._do(self.reviews.events_after, seq):
                            seq = number
                            yield self._event(id, created, facts)
                        await bell.wait()
            except (ConnectionProblem, OSError) as problem:  # the disk is full, say; what was pushed waits in the table
                log.warning("connection %s: %s; looking again in %s s", self.name, problem, RETRY)
            await asyncio.sleep(RETRY)

    def _event(self, id: str, created: str, facts: dict[str, Any]) -> Event:
        approvals = tuple(Approval(label, value, facts["username"], facts["email"]) for label, value in facts.pop("approvals", ()))
        return Event(id=f"{self.name}:{id}", connection=self.name, created=datetime.fromisoformat(created), approvals=approvals, **facts)

    async def change(self, number: int, patchset: int | None = None) -> Change:
        return await self._do(self._change, number, patchset)

    def _change(self, number: int, patchset: int | None) -> Change:
        facts = self.reviews.read(number)
        last = facts["patchsets"][-1]["patchset"]
        patchset = patchset or last
        if not 1 <= patchset <= last:
            raise LookupError(f"change {number} has no patchset {patchset} (it has {last})")
        repository = pygit2.Repository(str(self.reviews.repository(facts["project"])))
        sha = facts["patchsets"][patchset - 1]["sha"]
        commit = repository[sha].peel(pygit2.Commit)
        before = commit.parents[0].tree if commit.parents else None
        diff = before.diff_to_tree(commit.tree) if before is not None else commit.tree.diff_to_tree(swap=True)
        paths = {path for delta in diff.deltas for path in (delta.old_file.path, delta.new_file.path)}
        return Change(
            connection=self.name, project=facts["project"], branch=facts["branch"], number=number, patchset=patchset,
            ref=change_ref(number, patchset), commit=sha, change_id=facts["change_id"],
            parents=tuple(str(parent) for parent in commit.parent_ids), subject=commit.message.split("\n", 1)[0],
            message=commit.message, owner=facts["owner"], url=f"file://{repository.path}#{change_ref(number, patchset)}",
            topic=facts["topic"], files=tuple(sorted(paths)), open=facts["status"] == "NEW", merged=facts["status"] == "MERGED",
            current=patchset == last, wip=bool(facts["wip"]), hashtags=tuple(json.loads(facts["hashtags"])),
            approvals=tuple(Approval(vote["label"], vote["value"], vote["username"], vote["email"], datetime.fromisoformat(vote["granted"]))
                            for vote in facts["votes"] if vote["patchset"] == patchset and vote["value"]),
        )  # fmt: skip

    async def linked(self, number: int, patchset: int | None = None) -> Linked:
        return await self._do(lambda: local_links.links(self.reviews, self._change(number, patchset)))

    async def find_change(self, address: str) -> int | None:
        return await self._do(local_links.find_change, self.reviews, self.name, address)

    async def with_change_id(self, change_id: str) -> tuple[int, ...]:
        return await self._do(local_links.with_change_id, self.reviews, change_id)

    async def depending_on(self, change: Change) -> tuple[int, ...]:
        return await self._do(local_links.depending_on, self.reviews, self.name, change)

    async def same_topic(self, topic: str) -> tuple[int, ...]:
        return await self._do(local_links.same_topic, self.reviews, topic)

    async def open_changes(self, project: str) -> tuple[int, ...]:
        return await self._do(local_links.open_changes, self.reviews, project)

    async def branches(self, project: str) -> Mapping[str, str]:
        return await self._do(self._branches, project)

    def _branches(self, project: str) -> dict[str, str]:
        repository = pygit2.Repository(str(self.reviews.repository(project)))
        return {name: str(repository.branches.local[name].target) for name in repository.branches.local}

    def git(self, project: str) -> tuple[str, Mapping[str, str]]:
        return str(self.reviews.repository(project)), {}

    async def report(self, report: Report) -> None:
        await self._do(self._report, report)

    def _report(self, report: Report) -> None:
        change = report.change
        email = f"{self.user}@localhost"
        try:
            with self.reviews.transaction() as database:
                if not database.execute("SELECT 1 FROM messages WHERE id = ?", (report.id,)).fetchone():
                    inline = (f"{comment.path}:{comment.line or 0}: {comment.message}" for comment in report.comments)
                    text = "\n".join([report.message, *inline])
                    self.reviews.speak(database, change.number, change.patchset, self.user, email, text, report.labels,
                                       f"autogenerated:headgate:{report.pipeline}", report.id)  # fmt: skip
                if report.submit and self.reviews.row(database, change.number)["status"] != "MERGED":
                    old, new = self._merge(change)
                    self.reviews.set_status(database, change.number, "MERGED", change.patchset, self.user, email)
                    self.reviews.record(database, "ref-updated", project=change.project, ref=f"refs/heads/{change.branch}",
                                        branch=change.branch, username=self.user, old_commit=old, new_commit=new)  # fmt: skip
        except Refused as refused:
            raise ReportRefused(str(refused)) from refused
        self._write_note(change)

    def _merge(self, change: Change) -> tuple[str, str]:
        """Moves the branch to have the change in it; its tip before and after. Raises `Refused` on a conflict.

        A crash between this and the commit of the transaction leaves a branch that has the change, found so next time.
        """
        repository = pygit2.Repository(str(self.reviews.repository(change.project)))
        name = f"refs/heads/{change.branch}"
        tip, ours = repository.references[name].target, pygit2.Oid(hex=change.commit)
        if tip == ours or repository.descendant_of(tip, ours):
            return str(tip), str(tip)
        if repository.descendant_of(ours, tip):
            new = ours
        else:
            index = repository.merge_commits(tip, ours)
            if index.conflicts is not None:
                paths = sorted({side.path for entry in index.conflicts for side in entry if side})
                raise Refused(f"change {change} does not merge into {change.branch}: conflict in {', '.join(paths)}")
            who = pygit2.Signature(self.user, f"{self.user}@localhost")
            message = f'Merge "{change.subject}"\n'
            new = repository.create_commit(None, who, who, message, index.write_tree(repository), [tip, ours])
        repository.references[name].set_target(new, f"submit {change}")
        return str(tip), str(new)

    def _write_note(self, change: Change) -> None:
        """The patchset's votes and messages as the commit's note, written anew from what is kept."""
        who = pygit2.Signature(self.user, f"{self.user}@localhost")
        with self.reviews.transaction():  # two writers of one notes tree would lose a note
            facts = self.reviews.read(change.number)
            votes, messages = ([row for row in facts[kind] if row["patchset"] == change.patchset] for kind in ("votes", "messages"))
            lines = [f"Change {change}", *(f"{vote['label']}{vote['value']:+d} by {vote['username']}" for vote in votes)]
            lines += [f"\n{message['created']} {message['username']}:\n{message['text'].rstrip()}" for message in messages]
            repository = pygit2.Repository(str(self.reviews.repository(change.project)))
            repository.create_note("\n".join(lines) + "\n", who, who, change.commit, "refs/notes/review", True)


@contextmanager
def _bell(reviews: Reviews) -> Iterator[asyncio.Event]:
    """An event that is set whenever something was written to the reviews; several listeners may exist.

    A named pipe, opened before it gets its final name, so that nobody finds one that cannot be rung.
    """
    loop = asyncio.get_running_loop()
    rung = asyncio.Event()
    reviews.make_home()
    pipe = reviews.listeners / f"{os.getpid()}-{uuid.uuid4().hex}"
    hidden = reviews.home / f"{pipe.name}.new"
    os.mkfifo(hidden, 0o600)
    descriptor = os.open(hidden, os.O_RDWR | os.O_NONBLOCK)  # for writing too: else it would look ended whenever no ringer has it open
    hidden.rename(pipe)

    def ring() -> None:
        os.read(descriptor, 65536)
        rung.set()

    loop.add_reader(descriptor, ring)
    try:
        yield rung
    finally:
        loop.remove_reader(descriptor)
        os.close(descriptor)
        pipe.unlink(missing_ok=True)
