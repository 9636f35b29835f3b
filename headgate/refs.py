"""Branches and tags under test: a moved ref, or a branch whose timer fired, in the form of a change.

Law: one ref at one commit is one thing: its key is made of what it is, so that whoever hears of it names it alike, and it is in a
pipeline once. A timer that does not name a commit means the branch, whatever its head: it does not enter while it is still there.
"""

from __future__ import annotations

from hashlib import sha256

from headgate.changes import Change, Event

NOWHERE = "0" * 40
"""The commit of a ref that is not there: before it was made, after it was deleted."""
BITS = 60
"""Of a ref's number: it fits a database's bigint, and two refs of one connection have the same once in a thousand million."""


def change_of_ref(event: Event) -> Change:
    """What a `ref-updated` or `timer` event is about. `commit` is what the ref points to now ("" if the event does not say), the
    only one of `parents` what it pointed to before."""
    connection = event.connection
    said = "\0".join((connection, event.project, event.ref, event.new_commit))
    number = int.from_bytes(sha256(said.encode()).digest()[:8]) >> (64 - BITS)
    return Change(
        connection=connection,
        project=event.project,
        branch=event.branch,
        number=-1 - number,
        patchset=0,
        ref=event.ref,
        commit=event.new_commit,
        parents=(event.old_commit,) if event.old_commit else (),
        subject=event.ref,
        open=False,
        merged=True,
    )


def is_ref(key: tuple[str, int, int]) -> bool:
    """Is that the key of a branch or tag, and not of a review? A review's patchsets begin at 1."""
    return key[2] == 0


def is_deleted(change: Change) -> bool:
    """Was the ref deleted? There is nothing to check out then: jobs that want to know run on the project's default branch."""
    return change.is_ref and change.commit == NOWHERE
