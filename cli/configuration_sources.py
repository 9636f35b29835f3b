"""Configuration files from directories: checkouts, bare repositories, or the layout of Zuul's public test fixtures."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import pygit2
from pygit2.enums import RepositoryOpenFlag

from headgate.configuration import Layout, SourceFile, Tenant, TenantProject, config_paths, load_layout
from headgate.configuration.problems import Problem, nearest

HOSTNAMES = {
    "gerrit": "review.example.com",
    "review_gerrit": "review.example.com",
    "alt_voting_gerrit": "review.example.com",
    "another_gerrit": "another.example.com",
    "github": "github.com",
    "github_ssh": "github.com",
    "github_ro": "github.com",
    "github_ent": "github.enterprise.io",
}
"""Canonical hostnames of the connections that Zuul's fixtures use; any other connection's is its own name."""


def hostname_of(connection: str, given: Mapping[str, str]) -> str:
    return given.get(connection) or HOSTNAMES.get(connection, connection)


@dataclass(frozen=True, slots=True)
class Tree:
    """One branch of one project somewhere on disk: a plain directory, or a commit's tree in a repository."""

    directory: Path
    repository: pygit2.Repository | None = None
    commit: str = ""

    def paths(self) -> list[str]:
        """All paths of files, sorted."""
        if self.repository is None:
            files = (path for path in self.directory.rglob("*") if path.is_file() and ".git" not in path.relative_to(self.directory).parts)
            return sorted(path.relative_to(self.directory).as_posix() for path in files)
        return sorted(_walk(self.repository, self.repository[self.commit].peel(pygit2.Tree), ""))

    def text(self, path: str) -> str:
        """A file's text; bytes that are not UTF-8 become characters that no YAML allows."""
        if self.repository is None:
            data = (self.directory / path).read_bytes()
        else:
            data = self.repository[self.commit].peel(pygit2.Tree)[path].peel(pygit2.Blob).data
        return data.decode("utf8", "surrogateescape")


def _walk(repository: pygit2.Repository, tree: pygit2.Tree, prefix: str) -> Iterable[str]:
    for entry in tree:
        if isinstance(entry, pygit2.Tree):
            yield from _walk(repository, entry, f"{prefix}{entry.name}/")
        elif isinstance(entry, pygit2.Blob):
            yield f"{prefix}{entry.name}"


@dataclass(slots=True)
class Sources:
    """Where projects are: `root` in the layout of Zuul's fixtures, or `named` directories by project, or by `project@branch`."""

    root: Path | None = None
    named: dict[str, Path] = field(default_factory=dict)
    hostnames: Mapping[str, str] = field(default_factory=dict)

    def trees(self, project: TenantProject) -> dict[str, Tree]:
        """The branches of a project, nothing if it is nowhere."""
        canonical = f"{hostname_of(project.connection, self.hostnames)}/{project.name}"
        found: dict[str, Tree] = {}
        for name in (project.name, canonical):
            if name in self.named:
                found |= _branches(self.named[name], project.load_branch)
            found |= {key.removeprefix(f"{name}@"): Tree(directory) for key, directory in self.named.items() if key.startswith(f"{name}@")}
        return found or (self._fixture(project.name) if self.root else {})

    def unread(self, tenant: Tenant) -> list[Problem]:
        """What of a tenant is not looked at, because no directory has it: an error if it is a config-project's only branch that counts."""
        found = []
        for project in tenant.projects:
            trees = self.trees(project) if project.kinds else {project.load_branch: Tree(Path())}
            if not trees:
                message = f"no directory is given for it, nothing of it is read: say --source {project.name}=DIR"
                found.append(Problem("warning", "Project Without Source", message, project.name))
            elif project.trusted and project.load_branch not in trees:
                branch, there = project.load_branch, ", ".join(sorted(trees))
                message = (
                    f"is read from its branch {branch} alone, which its directory has not (it has {there}): nothing of it is read. "
                    f"Correct load-branch in the tenant file, or say --source {project.name}@{branch}=DIR"
                )
                found.append(Problem("error", "Branch Not Found", message, project.name))
        return found

    def _fixture(self, name: str) -> dict[str, Tree]:
        assert self.root is not None
        flat = name.replace("/", "_")
        git = self.root / "git"
        found = {"master": Tree(git / flat)} if (git / flat).is_dir() else {}
        if git.is_dir():
            found |= {each.name.removeprefix(f"{flat}@"): Tree(each) for each in sorted(git.iterdir()) if each.name.startswith(f"{flat}@")}
        return found

    def unknown(self, tenants: Sequence[Tenant]) -> list[str]:
        """A sentence for each named directory that no tenant has a project for."""
        names = {project.name for tenant in tenants for project in tenant.projects}
        canonical = {
            f"{hostname_of(project.connection, self.hostnames)}/{project.name}" for tenant in tenants for project in tenant.projects
        }
        given = ((key, key if key in names | canonical else key.rpartition("@")[0] or key) for key in self.named)
        return [
            f'--source {key}: no tenant has a project "{name}"{nearest(name, names)}'
            for key, name in given
            if name not in names | canonical
        ]

    def layout(self, tenant: Tenant, drivers: Mapping[str, str] | None = None, before: Iterable[Tenant] = ()) -> Layout:
        """A tenant with everything its projects' branches say; `before` are the tenants loaded earlier."""
        files: list[SourceFile] = []
        branches: dict[str, list[str]] = {}
        canonical = {project.connection: hostname_of(project.connection, self.hostnames) for project in tenant.projects}
        for project in tenant.projects:
            name = f"{canonical[project.connection]}/{project.name}"
            trees = self.trees(project)
            branches[name] = list(trees) or ["master"]
            for branch, tree in trees.items():
                files += read_tree(project, name, branch, tree)
        return load_layout(tenant, files, canonical, branches, drivers=drivers, before=before)


def read_tree(project: TenantProject, canonical: str, branch: str, tree: Tree) -> list[SourceFile]:
    """The configuration files of one branch."""
    return [SourceFile(canonical, branch, path, tree.text(path)) for path in config_paths(project, tree.paths())]


def _branches(directory: Path, default: str) -> dict[str, Tree]:
    """A repository's branches; of a checkout's own branch the working tree, so that edits are seen before they are committed.
    A directory that is no repository itself (it may lie within one) is the branch `default`."""
    try:
        repository = pygit2.Repository(str(directory), RepositoryOpenFlag.NO_SEARCH)
    except pygit2.GitError:
        return {default: Tree(directory)}
    found: dict[str, Tree] = {}
    for prefix in ("refs/remotes/origin/", "refs/heads/"):
        for name in repository.references:
            if name.startswith(prefix) and not name.endswith("/HEAD"):
                commit = repository.references[name].peel(pygit2.Commit)
                found[name.removeprefix(prefix)] = Tree(directory, repository, str(commit.id))
    if not repository.is_bare:
        current = default if repository.head_is_unborn or repository.head_is_detached else repository.head.shorthand
        found[current] = Tree(directory)
    return found


def named_sources(given: Iterable[str]) -> dict[str, Path]:
    """`NAME=DIR` and `NAME@BRANCH=DIR` options as a mapping. Raises `ValueError` for what is not such."""
    found = {}
    for each in given:
        name, equals, directory = each.partition("=")
        if not equals or not Path(directory).is_dir():
            raise ValueError(f'"{each}" is not NAME=DIR or NAME@BRANCH=DIR with an existing directory')
        found[name] = Path(directory)
    return found
