"""A tenant's layout read anew from the simulated repositories, as after a merged change of its configuration."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from headgate.configuration import Layout, SourceFile, config_paths, load_layout
from headgate.simulation.repositories import Commit, Place
from headgate.simulation.texts import FileTree


@dataclass(slots=True)
class Loader:
    """What the configuration was read from, by branch: as with Zuul, one is read again only when a change of it is said to be merged."""

    trees: dict[Place, FileTree]

    @classmethod
    def of(cls, trees: Mapping[str, Mapping[str, FileTree]]) -> Loader:
        return cls({(project, branch): tree for project, branches in trees.items() for branch, tree in branches.items()})

    def read_again(self, place: Place, tree: FileTree) -> None:
        self.trees[place] = tree

    def move(self, place: Place, head: Commit | None) -> bool:
        """A branch was moved or made, or is there no more. Is anything other than it was?"""
        before, now = self.trees.get(place), head.tree if head is not None else None
        if now is None:
            self.trees.pop(place, None)
        else:
            self.trees[place] = now
        return before != now

    def layout(self, former: Layout) -> Layout:
        """The tenant of `former` with what its branches say now."""
        known = former.projects.by_canonical
        canonical = {each.settings.connection: name.partition("/")[0] for name, each in known.items()}
        branches = {name: [branch for project, branch in self.trees if project == name] or ["master"] for name in known}
        files = [
            SourceFile(project, branch, path, tree[path])
            for (project, branch), tree in self.trees.items()
            if project in known
            for path in config_paths(known[project].settings, tree)
        ]
        return load_layout(former.tenant, files, canonical, branches)
