"""Simulated repositories: commits that never change, and the heads of branches."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from headgate.simulation.texts import FileTree, merge_trees

Place = tuple[str, str]
"""A canonical project and a branch."""
Heads = Mapping[Place, "Commit"]


@dataclass(frozen=True, slots=True, eq=False)
class Commit:
    """Compared by identity, as commits are by hash."""

    message: str
    tree: FileTree
    parents: tuple[Commit, ...] = ()

    def ancestry(self) -> list[Commit]:
        """This commit and all before it, each once, newer ones first."""
        found: dict[int, Commit] = {}
        waiting = [self]
        while waiting:
            commit = waiting.pop(0)
            if id(commit) not in found:
                found[id(commit)] = commit
                waiting += commit.parents
        return list(found.values())


def merge(head: Commit, commit: Commit) -> Commit:
    """`head` with `commit` merged into it. Raises `Conflict`."""
    mine, theirs = head.ancestry(), commit.ancestry()
    if commit in mine:
        return head
    if head in theirs:
        return commit
    base = next((each for each in mine if each in theirs), None)
    tree = merge_trees(base.tree if base is not None else {}, head.tree, commit.tree)
    return Commit(f"Merge {commit.message}", tree, (head, commit))


@dataclass(slots=True)
class Repositories:
    """All repositories. `initial` is what a change without a parent starts from, per project."""

    heads: dict[Place, Commit] = field(default_factory=dict)
    initial: dict[str, Commit] = field(default_factory=dict)
    _named: dict[int, tuple[str, Commit]] = field(default_factory=dict)

    @classmethod
    def of(cls, trees: Mapping[str, Mapping[str, FileTree]]) -> Repositories:
        """From the trees of each project's branches."""
        made = cls()
        for project, branches in trees.items():
            first = branches.get("master") or next(iter(branches.values()), {})
            made.initial[project] = Commit("initial commit", first)
            for branch, tree in branches.items():
                same = tree == first
                made.heads[(project, branch)] = made.initial[project] if same else Commit(f"on {branch}", tree, (made.initial[project],))
        return made

    def head(self, place: Place) -> Commit:
        """A branch's head; one nobody made is where the project began."""
        project = place[0]
        return self.heads.get(place) or self.initial.setdefault(project, Commit("initial commit", {}))

    def name(self, commit: Commit) -> str:
        """The commit's hash, as long as a real one."""
        return self._named.setdefault(id(commit), (f"{len(self._named) + 1:040x}", commit))[0]
