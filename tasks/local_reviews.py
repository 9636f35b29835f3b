"""A code review server made of a directory: bare repositories, and what is known of their changes beside them.

    PATH/org/name.git              a bare repository; refs/changes/NN/N/P is patchset P of change N (NN: N's last two digits)
    PATH/.headgate/reviews.sqlite  changes, patchsets, votes, messages, events
    PATH/.headgate/listeners/      one named pipe for each process that wants to hear of new events

Law: a change, its refs and its events are written inside one transaction, which holds the only write lock; the refs
go first and may be written again. Who commits rings: a byte into every pipe. An event is never lost, because a
listener reads the table by number and the bell only says when to look.

Only the standard library is used here, and `python -S` runs it in 40 ms: git's hooks do so at every push.

    python -m tasks.local_reviews create PATH ORG/NAME     a new repository with an empty first commit on main
    python -m tasks.local_reviews show PATH NUMBER         a change with its votes and messages, as JSON
"""

from __future__ import annotations

import json
import os
import sqlite3
import subprocess
import sys
import uuid
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

LABELS: Mapping[str, range] = {"Verified": range(-2, 3), "Code-Review": range(-2, 3), "Workflow": range(-1, 2)}
"""Labels a change may get and their values, as a Gerrit of OpenStack's has them."""

VERSION = 1
SCHEMA = """
CREATE TABLE changes (
    number INTEGER PRIMARY KEY, project TEXT NOT NULL, branch TEXT NOT NULL, change_id TEXT NOT NULL,
    status TEXT NOT NULL DEFAULT 'NEW', owner TEXT NOT NULL, topic TEXT NOT NULL DEFAULT '', wip INTEGER NOT NULL DEFAULT 0,
    hashtags TEXT NOT NULL DEFAULT '[]');
CREATE INDEX by_change_id ON changes (project, branch, change_id);
CREATE TABLE patchsets (
    number INTEGER NOT NULL, patchset INTEGER NOT NULL, sha TEXT NOT NULL, created TEXT NOT NULL, PRIMARY KEY (number, patchset));
CREATE INDEX by_sha ON patchsets (sha);
CREATE TABLE votes (
    number INTEGER NOT NULL, patchset INTEGER NOT NULL, label TEXT NOT NULL, username TEXT NOT NULL, email TEXT NOT NULL,
    value INTEGER NOT NULL, granted TEXT NOT NULL, PRIMARY KEY (number, patchset, label, username));
CREATE TABLE messages (
    id TEXT PRIMARY KEY, number INTEGER NOT NULL, patchset INTEGER NOT NULL, username TEXT NOT NULL, tag TEXT NOT NULL,
    created TEXT NOT NULL, text TEXT NOT NULL);
CREATE TABLE events (seq INTEGER PRIMARY KEY AUTOINCREMENT, id TEXT NOT NULL UNIQUE, created TEXT NOT NULL, data TEXT NOT NULL);
"""

HOOK = """#!/bin/sh
# Written by Headgate. A push to refs/for/BRANCH is a change: {documentation}
PYTHONPATH='{package}' exec '{python}' -S -P -m tasks.local_receive '{root}' '{project}' {hook}
"""


class Refused(Exception):
    """What was asked cannot be done; one sentence for who asked."""


def git(repository: Path, *arguments: str, stdin: str | None = None) -> str:
    """Output of one git command in `repository`, without the last newline. Raises `Refused` with git's words."""
    done = subprocess.run(["git", "-C", str(repository), *arguments], input=stdin, capture_output=True, text=True, errors="replace")
    if done.returncode:
        raise Refused(f"git {arguments[0]} in {repository} failed: {done.stderr.strip() or done.returncode}")
    return done.stdout.rstrip("\n")


def change_ref(number: int, patchset: int) -> str:
    return f"refs/changes/{number % 100:02d}/{number}/{patchset}"


def utc_now() -> str:
    return datetime.now(UTC).isoformat(timespec="microseconds")


class Reviews:
    """The reviews of one directory. Every method is one transaction, and may be called from several processes at once."""

    def __init__(self, root: Path) -> None:
        self.root = root.absolute()
        self.home = self.root / ".headgate"

    @property
    def listeners(self) -> Path:
        return self.home / "listeners"

    def make_home(self) -> None:
        """Raises `FileNotFoundError` when there is no directory to have one in: a mistyped path is not made."""
        self.home.mkdir(exist_ok=True)
        self.listeners.mkdir(exist_ok=True)

    @contextmanager
    def transaction(self, write: bool = True) -> Iterator[sqlite3.Connection]:
        """The database, locked for writing if `write`; kept if the block succeeds, else as before. Rings after a write."""
        self.make_home()
        database = sqlite3.connect(self.home / "reviews.sqlite", timeout=30, isolation_level=None)
        database.row_factory = sqlite3.Row
        try:
            database.execute("PRAGMA journal_mode=WAL")
            database.execute("PRAGMA synchronous=NORMAL")
            version = database.execute("PRAGMA user_version").fetchone()[0]
            if version > VERSION:
                raise Refused(f"{self.home / 'reviews.sqlite'} has version {version}, this Headgate knows {VERSION}: use a newer Headgate")
            database.execute("BEGIN IMMEDIATE" if write or not version else "BEGIN")
            if not database.execute("PRAGMA user_version").fetchone()[0]:
                for statement in SCHEMA.split(";"):
                    database.execute(statement)
                database.execute(f"PRAGMA user_version = {VERSION}")
            try:
                yield database
            except BaseException:
                database.execute("ROLLBACK")
                raise
            database.execute("COMMIT")
        finally:
            database.close()
        if write:
            self.ring()

    def ring(self) -> None:
        """Wakes every listener. A pipe nobody reads any more is left alone: its owner may be about to open it."""
        for pipe in self.listeners.iterdir():
            with suppress(OSError):
                descriptor = os.open(pipe, os.O_WRONLY | os.O_NONBLOCK)
                try:
                    os.write(descriptor, b"\n")
                finally:
                    os.close(descriptor)

    def repository(self, project: str) -> Path:
        """Raises `LookupError` for an unknown project."""
        path = (self.root / f"{project}.git").resolve()
        if not path.is_relative_to(self.root.resolve()) or not (path / "HEAD").is_file():
            raise LookupError(f"no project {project!r} in {self.root}")
        return path

    def create_project(self, project: str, branch: str = "main") -> Path:
        """The bare repository of `project`, made if needed, with an empty first commit on `branch`, and its hooks as of now."""
        path = self.root / f"{project}.git"
        if not (path / "HEAD").is_file():
            path.mkdir(parents=True, exist_ok=True)
            git(path, "init", "-q", "--bare", f"--initial-branch={branch}", ".")
        if not git(path, "for-each-ref", "--count=1", "refs/heads/"):
            tree = git(path, "mktree", stdin="")
            who = ("-c", "user.name=Headgate", "-c", "user.email=headgate@localhost")
            commit = git(path, *who, "commit-tree", tree, "-m", "Initial empty repository")
            git(path, "update-ref", f"refs/heads/{branch}", commit)
        git(path, "config", "--replace-all", "receive.procReceiveRefs", "refs/for")
        for protected in ("refs/changes", "refs/notes"):
            git(path, "config", "--add", "receive.procReceiveRefs", protected)
        git(path, "config", "receive.advertisePushOptions", "true")
        package = Path(__file__).resolve().parent.parent
        for hook in ("proc-receive", "post-receive"):
            text = HOOK.format(documentation=package / "tasks" / "local_receive.py", package=package, python=sys.executable,
                               root=self.root, project=project, hook=hook)  # fmt: skip
            written = path / "hooks" / f"{hook}.new"
            written.parent.mkdir(exist_ok=True)
            written.write_text(text)
            written.chmod(0o755)
            written.rename(path / "hooks" / hook)
        return path

    def record(self, database: sqlite3.Connection, type: str, **facts: Any) -> None:
        """Adds an event. `facts` are fields of `headgate.changes.Event`, as JSON."""
        database.execute("INSERT INTO events (id, created, data) VALUES (?, ?, ?)",
                         (uuid.uuid4().hex, utc_now(), json.dumps({"type": type, **facts})))  # fmt: skip

    def event_facts(self, row: Mapping[str, Any], patchset: int, username: str, email: str) -> dict[str, Any]:
        """The fields every event about a change has; `row` is one of `changes`."""
        return {"project": row["project"], "branch": row["branch"], "change": row["number"], "patchset": patchset,
                "ref": change_ref(row["number"], patchset), "username": username, "email": email}  # fmt: skip

    def speak(
        self, database: sqlite3.Connection, number: int, patchset: int, username: str, email: str,
        text: str = "", votes: Mapping[str, int] | None = None, tag: str = "", message_id: str = "",
    ) -> None:  # fmt: skip
        """A message on a patchset, with votes. Raises `Refused`, having changed nothing, for what may not be voted."""
        row = self.row(database, number)
        if votes and row["status"] == "ABANDONED":
            raise Refused(f"change {number} is abandoned and takes no votes")
        for label, value in (votes or {}).items():
            if value not in LABELS.get(label, ()):
                allowed = ", ".join(f"{name} {values[0]:+d}..{values[-1]:+d}" for name, values in LABELS.items())
                raise Refused(f"{label}{value:+d} is no vote here (allowed: {allowed})")
        for label, value in (votes or {}).items():
            database.execute("INSERT OR REPLACE INTO votes VALUES (?, ?, ?, ?, ?, ?, ?)",
                             (number, patchset, label, username, email, value, utc_now()))  # fmt: skip
        database.execute("INSERT INTO messages VALUES (?, ?, ?, ?, ?, ?, ?)",
                         (message_id or uuid.uuid4().hex, number, patchset, username, tag, utc_now(), text))  # fmt: skip
        header = "".join(f" {label}{value:+d}" for label, value in (votes or {}).items())
        self.record(database, "comment-added", **self.event_facts(row, patchset, username, email),
                    comment=f"Patch Set {patchset}:{header}\n\n{text}", approvals=list((votes or {}).items()))  # fmt: skip

    def set_status(self, database: sqlite3.Connection, number: int, status: str, patchset: int, username: str, email: str) -> None:
        """`NEW`, `ABANDONED` or `MERGED`. Raises `Refused` when it cannot become so from what it is."""
        row = self.row(database, number)
        if (row["status"], status) not in {("NEW", "ABANDONED"), ("NEW", "MERGED"), ("ABANDONED", "NEW")}:
            raise Refused(f"change {number} is {row['status'].lower()}")
        database.execute("UPDATE changes SET status = ? WHERE number = ?", (status, number))
        type = {"ABANDONED": "change-abandoned", "MERGED": "change-merged", "NEW": "change-restored"}[status]
        self.record(database, type, **self.event_facts(row, patchset, username, email))

    def row(self, database: sqlite3.Connection, number: int) -> dict[str, Any]:
        """The row of one change. Raises `LookupError` when there is none."""
        found = database.execute("SELECT * FROM changes WHERE number = ?", (number,)).fetchone()
        if found is None:
            raise LookupError(f"no change {number} in {self.root}")
        return dict(found)

    def read(self, number: int) -> dict[str, Any]:
        """A change whole: its row, with `patchsets`, `votes` and `messages` as lists of rows in order of time."""
        with self.transaction(write=False) as database:
            result = self.row(database, number)
            for table in ("patchsets", "votes", "messages"):
                rows = database.execute(f"SELECT * FROM {table} WHERE number = ? ORDER BY rowid", (number,))  # noqa: S608 - our own names
                result[table] = [dict(row) for row in rows]
        return result

    def events_after(self, seq: int) -> list[tuple[int, str, str, dict[str, Any]]]:
        """(seq, id, created, facts) of every event after that number."""
        with self.transaction(write=False) as database:
            rows = database.execute("SELECT * FROM events WHERE seq > ? ORDER BY seq", (seq,)).fetchall()
        return [(row["seq"], row["id"], row["created"], json.loads(row["data"])) for row in rows]

    def last_seq(self, before: datetime | None = None) -> int:
        """The number of the last event, or of the last one earlier than `before`; 0 if none."""
        limit = before.astimezone(UTC).isoformat(timespec="microseconds") if before else "9"
        with self.transaction(write=False) as database:
            return int(database.execute("SELECT coalesce(max(seq), 0) FROM events WHERE created < ?", (limit,)).fetchone()[0])


def main(arguments: list[str]) -> int:
    match arguments:
        case ["create", path, project]:
            print(Reviews(Path(path)).create_project(project))
        case ["show", path, number]:
            print(json.dumps(Reviews(Path(path)).read(int(number)), indent=2))
        case _:
            print((__doc__ or "").split("\n\n")[-1], file=sys.stderr)
            return 2
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
