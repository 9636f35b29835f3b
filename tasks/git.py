"""One bare cache per project: fetch into it, merge in it without a work tree, read files out of it.

A merge is a function of its inputs: author, committer and times come from the changes themselves, so the same changes merged
onto the same commit give the same commit again, here, after a crash, and on another machine.
"""

from __future__ import annotations

import asyncio
import fcntl
import os
import re
import shutil
import stat
import tempfile
from collections.abc import AsyncIterator, Callable, Iterable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import pygit2
from pygit2.enums import CheckoutStrategy, SortMode

from headgate.problems import Problem
from tasks.processes import communicate, start_process

NAME, EMAIL = "Headgate", "headgate@localhost"
MERGE_MODES = ("merge", "merge-resolve", "merge-recursive", "merge-ort", "cherry-pick", "squash-merge", "rebase", "rebase-first-parent")
_LOCKED = re.compile(r"Unable to create '([^']+\.lock)': File exists")
_COMMIT = re.compile(r"[0-9a-f]{40}")


def kept(buildset_id: str, branch: str) -> str:
    """Under which name a cache keeps what a buildset made of a branch."""
    return f"buildset/{buildset_id}/{branch}"


class GitProblem(Problem):
    """A git operation that did not work, in one sentence naming the project and git's own reason."""


@dataclass(frozen=True, slots=True)
class Merged:
    """The commit that all changes together make, and its tree."""

    commit: str
    tree: str


@dataclass(frozen=True, slots=True)
class Conflict:
    """The changes do not fit. `commit` is the first one that did not, `files` the paths in conflict, sorted."""

    commit: str
    files: tuple[str, ...]


def git_environment(extra: Mapping[str, str] | None = None) -> dict[str, str]:
    """The environment every git of ours runs in: no prompt, nobody's personal configuration, messages in English."""
    keep = {name: os.environ[name] for name in ("PATH", "HOME", "SSH_AUTH_SOCK", "TMPDIR") if name in os.environ}
    ours = {
        "LC_ALL": "C",
        "GIT_TERMINAL_PROMPT": "0",
        "GIT_CONFIG_NOSYSTEM": "1",
        "GIT_CONFIG_GLOBAL": os.devnull,
        "GIT_ALLOW_PROTOCOL": "file:git:http:https:ssh",
    }
    return {**keep, **ours, **(extra or {})}


async def run_git(*arguments: str, environment: Mapping[str, str] | None = None, cwd: Path | None = None) -> str:
    """Run git and return what it printed; killed with its children when the caller is cancelled.
    Raises `GitProblem` with git's own last words."""
    process = await start_process(
        "git",
        *arguments,
        cwd=cwd,
        env=git_environment(environment),
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    out, err = await communicate(process)
    if process.returncode:
        raise GitProblem(condense(err.decode(errors="replace")) or f"git {arguments[0]} ended with {process.returncode}")
    return out.decode(errors="replace")


def condense(stderr: str) -> str:
    """Git's stderr as one line: what it calls fatal or an error, else its last line; the servers' prose left out."""
    lines = [line.strip() for line in stderr.splitlines() if line.strip()]
    telling = [line for line in lines if line.startswith(("fatal:", "error:", "! [")) or _LOCKED.search(line)] or lines[-1:]
    if any("Could not read from remote repository" in line for line in telling):
        telling = [line for line in lines if not line.startswith(("fatal:", "Please make sure", "and the repository"))][-1:] or telling
    return "; ".join(dict.fromkeys(line.removeprefix("fatal: ").removeprefix("error: ") for line in telling))


class Caches:
    """The bare caches below `root`, one per canonical project name (`review.example.org/org/name`)."""

    def __init__(self, root: Path) -> None:
        self.root = root

    def path(self, project: str) -> Path:
        """Where the cache of `project` is, whether or not it exists yet. Raises `ValueError` for a name that leaves the root."""
        if any(part in ("", ".", "..") for part in project.split("/")):
            raise ValueError(f"project {project!r} is not a name: no empty part, '.' or '..' is allowed")
        return self.root / f"{project}.git"

    @asynccontextmanager
    async def _locked(self, project: str) -> AsyncIterator[Path]:
        """Hold the project's cache for writing refs, against other processes too."""
        path = self.path(project)
        await asyncio.to_thread(path.parent.mkdir, parents=True, exist_ok=True)
        descriptor = os.open(f"{path}.flock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            while True:
                try:
                    fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                    break
                except BlockingIOError:  # waiting in a thread could not be cancelled
                    await asyncio.sleep(0.01)
            yield path
        finally:
            os.close(descriptor)

    async def fetch(
        self,
        project: str,
        url: str,
        environment: Mapping[str, str] | None = None,
        refs: Iterable[str] = (),
        heads: str = "refs/heads/*",
    ) -> None:
        """Bring branches, tags and `refs` (full names, kept under the same names) up to date from `url`. `heads` is where its branches
        are; those that a clone knows of are at `refs/remotes/origin/*`.

        What vanished there vanishes here. Repeatable and safe beside other processes. Raises `GitProblem`."""
        async with self._locked(project) as path:
            if not (path / "HEAD").exists():
                await self._initialise(project, path)
            wanted = [
                f"+{heads}:refs/heads/*",
                *(["^refs/remotes/origin/HEAD"] if "/remotes/" in heads else []),
                "+refs/tags/*:refs/tags/*",
                *(f"+{ref}:{ref}" for ref in dict.fromkeys(refs)),
            ]
            command = ("-C", str(path), "fetch", "--quiet", "--prune", "--no-auto-gc", "--no-write-fetch-head", "--no-tags", url, *wanted)
            try:
                try:
                    await run_git(*command, environment=environment)
                except GitProblem as problem:
                    stale = _LOCKED.search(str(problem))
                    if stale is None:
                        raise
                    Path(stale[1]).unlink(missing_ok=True)  # we hold the cache: whoever left it was killed
                    await run_git(*command, environment=environment)
            except GitProblem as problem:
                raise GitProblem(f"{project}: cannot fetch: {problem}") from None

    async def _initialise(self, project: str, path: Path) -> None:
        temporary = Path(tempfile.mkdtemp(dir=path.parent, prefix=".new-"))
        try:
            await run_git("init", "--quiet", "--bare", "--template=", str(temporary))
            with (temporary / "config").open("a") as config:  # as `git config` would, without another process for each repository
                config.write("[gc]\n\tauto = 0\n")
            temporary.rename(path)
        except OSError as problem:
            raise GitProblem(f"{project}: cannot make its cache {path}: {problem.strerror}") from None
        finally:
            shutil.rmtree(temporary, ignore_errors=True)

    def _open(self, project: str) -> pygit2.Repository:
        try:
            return pygit2.Repository(str(self.path(project)), pygit2.enums.RepositoryOpenFlag.BARE)
        except pygit2.GitError:
            raise GitProblem(f"{project}: never fetched, there is no cache {self.path(project)}") from None

    def _commit(self, repository: pygit2.Repository, project: str, name: str) -> pygit2.Commit:
        """The commit that a full hash, a full ref, a branch or a tag stands for."""
        candidates = (name,) if _COMMIT.fullmatch(name) or name.startswith("refs/") else (f"refs/heads/{name}", f"refs/tags/{name}")
        for candidate in candidates:
            try:
                found = repository.revparse_single(candidate)
                return found.peel(pygit2.Commit)
            except (KeyError, pygit2.GitError, ValueError):
                continue
        raise LookupError(f"{project}: there is no branch, tag, ref or commit {name}")

    async def resolve(self, project: str, name: str) -> str:
        """The commit of a full hash, full ref, branch or tag as last fetched. Raises `LookupError`."""
        return await asyncio.to_thread(lambda: str(self._commit(self._open(project), project, name).id))

    async def branches(self, project: str) -> dict[str, str]:
        """Branch name to commit, as last fetched."""

        def read() -> dict[str, str]:
            repository = self._open(project)
            names = [name for name in repository.references if name.startswith("refs/heads/")]
            return {name.removeprefix("refs/heads/"): str(repository.references[name].peel(pygit2.Commit).id) for name in sorted(names)}

        return await asyncio.to_thread(read)

    async def branches_with(self, project: str, commit: str) -> tuple[str, ...]:
        """The branches that have the commit, sorted."""

        def read() -> tuple[str, ...]:
            repository = self._open(project)
            wanted = self._commit(repository, project, commit).id
            names = sorted(name for name in repository.references if name.startswith("refs/heads/"))
            tips = {name: repository.references[name].peel(pygit2.Commit).id for name in names}
            has = (name for name, tip in tips.items() if tip == wanted or repository.descendant_of(tip, wanted))
            return tuple(name.removeprefix("refs/heads/") for name in has)

        return await asyncio.to_thread(read)

    async def merge(self, project: str, onto: str, changes: Sequence[str], mode: str = "merge", keep: str = "") -> Merged | Conflict:
        """Apply the `changes` (commits or refs already fetched) one after the other to `onto` (branch or commit).

        `mode` is one of `MERGE_MODES`; the merging ones fast-forward where `git merge` would. The result is kept alive as
        `refs/headgate/<keep>` until `forget`. Raises `LookupError` for what is not there and `ValueError` for an unknown mode."""
        if mode not in MERGE_MODES:
            raise ValueError(f"merge-mode {mode!r} is not one of {', '.join(MERGE_MODES)}")
        return await asyncio.to_thread(self._merge, project, onto, tuple(changes), mode, keep)

    def _merge(self, project: str, onto: str, changes: tuple[str, ...], mode: str, keep: str) -> Merged | Conflict:
        repository = self._open(project)
        tip = self._commit(repository, project, onto)
        for name in changes:
            change = self._commit(repository, project, name)
            outcome = _apply(repository, tip, change, mode)
            if isinstance(outcome, tuple):
                return Conflict(str(change.id), outcome)
            tip = outcome
        if keep:
            repository.references.create(f"refs/headgate/{keep}", tip.id, force=True)
        return Merged(str(tip.id), str(tip.tree_id))

    async def forget(self, project: str, keep: str) -> None:
        """Let go of what `merge` kept under this name. An unknown name is no error."""

        def delete() -> None:
            repository = self._open(project)
            if f"refs/headgate/{keep}" in repository.references:
                repository.references.delete(f"refs/headgate/{keep}")

        await asyncio.to_thread(delete)

    async def list_paths(self, project: str, commit: str) -> tuple[str, ...]:
        """Every file of the commit, sorted by path."""

        def read() -> tuple[str, ...]:
            repository = self._open(project)
            return tuple(sorted(path for path, _ in _walk(self._commit(repository, project, commit).tree)))

        return await asyncio.to_thread(read)

    async def read_files(self, project: str, commit: str, wanted: Iterable[str] | Callable[[str], bool]) -> dict[str, str]:
        """Path to text for the wanted paths (or those the predicate accepts) that are files there; undecodable bytes replaced."""

        def read() -> dict[str, str]:
            repository = self._open(project)
            tree = self._commit(repository, project, commit).tree
            if callable(wanted):
                return {path: blob.data.decode(errors="replace") for path, blob in _walk(tree) if wanted(path)}
            found: dict[str, str] = {}
            for path in wanted:
                entry = tree[path] if path and path in tree else None
                if isinstance(entry, pygit2.Blob):
                    found[path] = entry.data.decode(errors="replace")
            return found

        return await asyncio.to_thread(read)

    async def changed_files(self, project: str, base: str, tip: str) -> tuple[str, ...]:
        """Paths that differ between where `tip` left `base` (their merge base) and `tip`, sorted; a rename counts as both its paths."""

        def read() -> tuple[str, ...]:
            repository = self._open(project)
            first, second = self._commit(repository, project, base), self._commit(repository, project, tip)
            ancestor = repository.merge_base(first.id, second.id)
            start = ancestor if ancestor is not None else repository.TreeBuilder().write()
            difference = repository[start].peel(pygit2.Tree).diff_to_tree(second.tree)
            return tuple(sorted({file.path for delta in difference.deltas for file in (delta.old_file, delta.new_file) if file.path}))

        return await asyncio.to_thread(read)

    async def export(self, project: str, commit: str, directory: Path) -> Path:
        """The files of `commit` (a full hash) in `directory`/<project>/<commit>, made once and then shared: callers only read it."""
        target = directory / project / commit
        if not target.exists():
            await asyncio.to_thread(self._export, project, commit, target)
        return target

    def _export(self, project: str, commit: str, target: Path) -> None:
        repository = self._open(project)
        found = self._commit(repository, project, commit)
        target.parent.mkdir(parents=True, exist_ok=True)
        temporary = Path(tempfile.mkdtemp(dir=target.parent, prefix=".new-"))
        try:
            strategy = CheckoutStrategy.FORCE | CheckoutStrategy.DONT_UPDATE_INDEX | CheckoutStrategy.DONT_WRITE_INDEX
            repository.checkout_tree(found, directory=str(temporary), strategy=strategy)  # type: ignore[no-untyped-call]  # pygit2 has no types for it
            temporary.chmod(stat.S_IRWXU | stat.S_IRGRP | stat.S_IXGRP | stat.S_IROTH | stat.S_IXOTH)
            temporary.rename(target)
        except OSError:
            if not target.exists():  # otherwise another build was faster with the same files
                raise
        finally:
            shutil.rmtree(temporary, ignore_errors=True)


def _walk(tree: pygit2.Tree, prefix: str = "") -> Iterable[tuple[str, pygit2.Blob]]:
    for entry in tree:
        if isinstance(entry, pygit2.Tree):
            yield from _walk(entry, f"{prefix}{entry.name}/")
        elif isinstance(entry, pygit2.Blob):
            yield f"{prefix}{entry.name}", entry


def _apply(repository: pygit2.Repository, tip: pygit2.Commit, change: pygit2.Commit, mode: str) -> pygit2.Commit | tuple[str, ...]:
    """One change on top of `tip`: the new tip, or the paths in conflict."""
    base = repository.merge_base(tip.id, change.id)
    if base == change.id:
        return tip
    if mode.startswith("merge"):
        if base == tip.id:
            return change
        index = repository.merge_commits(tip, change)
        return _write(repository, index, tip, change, (tip.id, change.id), f"Merge commit '{change.id}'\n")
    if mode == "squash-merge":
        index = repository.merge_commits(tip, change)
        return _write(repository, index, tip, change, (tip.id,), change.message)
    if mode == "cherry-pick":
        return _pick(repository, tip, change)
    if base == tip.id and mode == "rebase":
        return change
    walker = repository.walk(change.id, SortMode.TOPOLOGICAL | SortMode.REVERSE)
    if base is not None:
        walker.hide(base)
    if mode == "rebase-first-parent":
        walker.simplify_first_parent()
    for commit in list(walker):
        if len(commit.parents) > 1:
            continue
        picked = _pick(repository, tip, commit)
        if isinstance(picked, tuple):
            return picked
        tip = picked
    return tip


def _pick(repository: pygit2.Repository, tip: pygit2.Commit, change: pygit2.Commit) -> pygit2.Commit | tuple[str, ...]:
    if change.parent_ids[:1] == [tip.id]:
        return change
    before = change.parents[0].tree_id if change.parents else repository.TreeBuilder().write()
    index = repository.merge_trees(before, tip.tree_id, change.tree_id)
    return _write(repository, index, tip, change, (tip.id,), change.message)


def _write(
    repository: pygit2.Repository,
    index: pygit2.Index,
    tip: pygit2.Commit,
    change: pygit2.Commit,
    parents: tuple[pygit2.Oid, ...],
    message: str,
) -> pygit2.Commit | tuple[str, ...]:
    if index.conflicts is not None:
        sides = (side for conflict in index.conflicts for side in conflict if side is not None)
        return tuple(sorted({side.path for side in sides}))
    tree = index.write_tree(repository)
    when = max(tip.committer.time, change.committer.time)
    committer = pygit2.Signature(NAME, EMAIL, when, 0)
    author = committer if len(parents) > 1 else change.author
    return repository[repository.create_commit(None, author, committer, message, tree, list(parents))].peel(pygit2.Commit)
