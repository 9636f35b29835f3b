"""How the changes of a directory of repositories hang together (tasks.local_reviews), read from its database and commits.

Law: a label of OpenStack's (`tasks.local_reviews.LABELS`) is there when somebody votes its maximum and nobody its minimum, as a
Gerrit's MaxWithBlock is; so a gate wants Code-Review+2, Workflow+1 and, unless it votes that itself, Verified+2. A check asks for none.
"""

from __future__ import annotations

import re
import sqlite3
from collections.abc import Iterator, Mapping
from pathlib import Path
from urllib.parse import urlsplit

import pygit2

from headgate.changes import Change, Linked
from headgate.depends_on import addresses_in
from tasks.local_reviews import LABELS, Reviews

CURRENT = "SELECT changes.*, max(patchset) AS patchset, sha FROM changes JOIN patchsets USING (number) WHERE status = 'NEW'"
"""Open changes at their current patchsets, to be followed by more conditions and `GROUP BY number`."""


def links(reviews: Reviews, change: Change) -> Linked:
    """See `tasks.connections.Connection.linked`. Related are changes of one project and branch, as in Gerrit."""
    missing = missing_labels(change)
    if not change.open:
        return Linked(change, missing_labels=missing)
    place = (change.project, change.branch)
    with reviews.transaction(write=False) as database:
        needs = [each for parent in change.parents for each in _needed(database, parent, place)]
        others = database.execute(f"{CURRENT} AND project = ? AND branch = ? GROUP BY number", place).fetchall()
    repository = pygit2.Repository(str(reviews.repository(change.project)))
    children = (row for row in others if change.commit in map(str, _commit(repository, row["sha"]).parent_ids))
    return Linked(change, tuple(needs), tuple((row["number"], row["patchset"]) for row in children), missing)


def _needed(database: sqlite3.Connection, sha: str, place: tuple[str, str]) -> list[tuple[int, int]]:
    rows = database.execute(
        "SELECT number, patchset FROM patchsets JOIN changes USING (number) "
        "WHERE sha = ? AND project = ? AND branch = ? AND status != 'MERGED'", (sha, *place))  # fmt: skip
    return [(row["number"], row["patchset"]) for row in rows]


def _commit(repository: pygit2.Repository, sha: str) -> pygit2.Commit:
    return repository[sha].peel(pygit2.Commit)


def missing_labels(change: Change) -> frozenset[str]:
    """Labels that are vetoed or that nobody gave their maximum."""
    missing = set()
    for label, values in LABELS.items():
        given = {approval.value for approval in change.approvals if approval.label == label}
        if values[-1] not in given or values[0] in given:
            missing.add(label)
    return frozenset(missing)


def find_change(reviews: Reviews, name: str, address: str) -> int | None:
    """`NAME:7`, or a change's own address: `file:///PATH/org/name.git/#refs/changes/07/7/1`, with or without the patchset."""
    if short := re.fullmatch(rf"{re.escape(name)}:([0-9]{{1,18}})", address):
        row = _row(reviews, int(short[1]))
        return int(short[1]) if row else None
    try:
        parts = urlsplit(address)
    except ValueError:
        return None
    ref = re.fullmatch(r"refs/changes/[0-9]{2}/([0-9]{1,18})(?:/[0-9]+)?", parts.fragment)
    row = _row(reviews, int(ref[1])) if ref and parts.scheme == "file" else None
    if row is None:
        return None
    repository = reviews.root / f"{row['project']}.git"
    is_there = Path(parts.path) in (repository, repository.resolve())
    return int(row["number"]) if is_there else None


def _row(reviews: Reviews, number: int) -> Mapping[str, int | str] | None:
    try:
        with reviews.transaction(write=False) as database:
            return reviews.row(database, number)
    except LookupError:
        return None


def with_change_id(reviews: Reviews, change_id: str) -> tuple[int, ...]:
    return _open_changes(reviews, "change_id = ?", change_id)


def same_topic(reviews: Reviews, topic: str) -> tuple[int, ...]:
    return _open_changes(reviews, "topic = ?", topic)


def open_changes(reviews: Reviews, project: str) -> tuple[int, ...]:
    return _open_changes(reviews, "project = ?", project)


def _open_changes(reviews: Reviews, condition: str, value: str) -> tuple[int, ...]:
    query = f"SELECT number FROM changes WHERE status = 'NEW' AND {condition} ORDER BY number"  # noqa: S608 - one of a few conditions
    with reviews.transaction(write=False) as database:
        rows = database.execute(query, (value,)).fetchall()
    return tuple(row["number"] for row in rows)


def depending_on(reviews: Reviews, name: str, change: Change) -> tuple[int, ...]:
    """See `tasks.connections.Connection.depending_on`."""
    return tuple(number for number, addresses in _said(reviews) if any(_means(reviews, name, address, change) for address in addresses))


def _means(reviews: Reviews, name: str, address: str, change: Change) -> bool:
    if change.connection != name:
        return re.search(rf"(?<![0-9]){change.number}(?![0-9])", address) is not None
    return bool(change.change_id and address == change.change_id) or find_change(reviews, name, address) == change.number


def _said(reviews: Reviews) -> Iterator[tuple[int, tuple[str, ...]]]:
    """Every open change whose message depends on something, in order of number, with the addresses."""
    with reviews.transaction(write=False) as database:
        rows = database.execute(f"{CURRENT} GROUP BY number ORDER BY number").fetchall()
    repositories: dict[str, pygit2.Repository] = {}
    for row in rows:
        project = row["project"]
        if project not in repositories:
            repositories[project] = pygit2.Repository(str(reviews.repository(project)))
        addresses = addresses_in(_commit(repositories[project], row["sha"]).message)
        if addresses:
            yield row["number"], addresses
