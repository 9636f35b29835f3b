"""Changes and events as values.

A `Change` is one patchset of one review; an `Event` is one thing a connection told us. Both are facts: they are never
edited, and equal facts compare equal. Everything a rule may need to know of the outside arrives in these two.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime


@dataclass(frozen=True, slots=True)
class Approval:
    """One vote on a change as its server reports it. In an event, `changed` says that it was another one before."""

    label: str
    value: int
    username: str = ""
    email: str = ""
    granted: datetime | None = None
    changed: bool = False


@dataclass(frozen=True, slots=True)
class Change:
    """One patchset of a change, as read from its connection.

    `number` and `patchset` are as the server numbers them; `ref` is fetchable from the project's repository and
    resolves to `commit`. `files` are paths touched against the first parent, `()` when not known.

    A moved branch or tag is tested in the same form (`headgate.refs`): patchset 0, a negative number.
    """

    connection: str
    project: str
    branch: str
    number: int
    patchset: int
    ref: str
    commit: str
    change_id: str = ""
    parents: tuple[str, ...] = ()
    subject: str = ""
    message: str = ""
    owner: str = ""
    url: str = ""
    topic: str = ""
    files: tuple[str, ...] = ()
    open: bool = True
    merged: bool = False
    current: bool = True
    wip: bool = False
    hashtags: tuple[str, ...] = ()
    approvals: tuple[Approval, ...] = ()

    @property
    def key(self) -> tuple[str, int, int]:
        """What identifies this patchset among all connections."""
        return (self.connection, self.number, self.patchset)

    @property
    def is_ref(self) -> bool:
        """A branch or tag at one commit, no review."""
        return self.patchset == 0

    def __str__(self) -> str:
        if self.is_ref:
            return self.ref
        return f"{self.number},{self.patchset}"


@dataclass(frozen=True, slots=True)
class Linked:
    """One patchset, how it hangs together with others of its server in git, and what keeps it from being submitted.

    `git_needs` are (number, patchset) of its direct git parents that are changes and not merged, as they were pushed;
    `needed_by` of its direct git children that are open, where that is their current patchset. Both are empty for a closed
    change. `missing_labels` are not at their maximum or have a veto; `unsatisfied` are the expressions of submit
    requirements that are not met (they may be about the same labels).
    """

    change: Change
    git_needs: tuple[tuple[int, int], ...] = ()
    needed_by: tuple[tuple[int, int], ...] = ()
    missing_labels: frozenset[str] = frozenset()
    unsatisfied: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Event:
    """One event from a connection.

    `id` is equal whenever the same happening is delivered again (by stream and by a later catch-up read, say), so
    storing by id makes twice once. `type` is the connection's own name of it (`patchset-created`, `comment-added`,
    `change-abandoned`, `change-restored`, `change-merged`, `ref-updated`, ...).

    `pipeline` and `time` are told by what Headgate itself emits: the pipeline that a `timer` is for, or in which a parent was
    enqueued (connection `zuul`); and the timer's line.
    """

    id: str
    connection: str
    type: str
    created: datetime
    project: str = ""
    branch: str = ""
    ref: str = ""
    change: int | None = None
    patchset: int | None = None
    username: str = ""
    email: str = ""
    comment: str = ""
    approvals: tuple[Approval, ...] = ()
    old_commit: str = ""
    new_commit: str = ""
    added: tuple[str, ...] = field(default=())
    removed: tuple[str, ...] = field(default=())
    pipeline: str = ""
    time: str = ""
