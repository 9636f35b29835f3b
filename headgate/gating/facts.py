"""What a pass may ask about changes and configuration: answered from memory, the same for the whole pass."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from headgate.changes import Change
from headgate.configuration import Layout, Queue
from headgate.gating.state import Key


@dataclass(frozen=True, slots=True)
class Known:
    """A patchset as it is known, and how it hangs together with others.

    `needs` are, in order, the git parent, the `Depends-On` and the changes of its topic if topics count; merged ones may be among them.
    `needed_by` are its git children. `missing_labels` keep it from merging; `unsatisfied` are submit requirements' expressions.
    """

    change: Change
    git_needs: tuple[Key, ...] = ()
    needs: tuple[Key, ...] = ()
    needed_by: tuple[Key, ...] = ()
    missing_labels: frozenset[str] = frozenset()
    unsatisfied: tuple[str, ...] = ()

    @property
    def key(self) -> Key:
        return self.change.key


class Facts(Protocol):
    """`project` names are canonical."""

    @property
    def layout(self) -> Layout: ...

    @property
    def web_root(self) -> str:
        """Where the tenant's pages are, with a slash at the end; "" for nowhere."""
        ...

    def known(self, key: Key) -> Known:
        """What is known of a patchset. Every key that a `Known` mentions can be asked for."""
        ...

    def project(self, key: Key) -> str:
        """Canonical name of a patchset's project."""
        ...

    def depending_on(self, key: Key, projects: tuple[str, ...]) -> tuple[Key, ...]:
        """Changes that say `Depends-On` it, in the order their server finds them, from servers of these projects."""
        ...

    def queue_of(self, project: str, branch: str) -> Queue | None:
        """The tenant's shared queue of a project and branch."""
        ...

    def takes_part(self, project: str, pipeline: str) -> bool:
        """Does any stanza of the project name the pipeline, whatever the branch?"""
        ...

    def change_takes_part(self, key: Key, pipeline: str) -> bool:
        """Does the project-pipeline exist for this change's branch?"""
        ...

    def semaphore_limit(self, name: str) -> int:
        """How many may hold it at once; 1 for one that is not defined."""
        ...
