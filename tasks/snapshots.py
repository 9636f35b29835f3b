"""A checkout as it is now, uncommitted changes included, as a commit in our cache. The checkout itself is left as it was.

Its index is copied and its objects are borrowed: what is new (a few files, usually) is written to our cache only. What git ignores is left
out. A plain directory, or one inside somebody's repository, becomes a repository of one commit.
"""

from __future__ import annotations

import configparser
import shutil
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from tasks.git import EMAIL, NAME, Caches, GitProblem, run_git

WHO = {
    "GIT_AUTHOR_NAME": NAME,
    "GIT_AUTHOR_EMAIL": EMAIL,
    "GIT_COMMITTER_NAME": NAME,
    "GIT_COMMITTER_EMAIL": EMAIL,
}
LOCAL, REMOTE = "refs/heads/*", "refs/remotes/origin/*"


@dataclass(frozen=True, slots=True)
class Snapshot:
    """`commit` is what `branch` would be with the checkout merged into it; `branches` all branches there are, that one with it.
    `uncommitted` is the number of files that are in no commit."""

    branch: str
    commit: str
    branches: Mapping[str, str]
    uncommitted: int = 0


async def take_snapshot(caches: Caches, project: str, directory: Path, branch: str = "", plain_branch: str = "master") -> Snapshot:
    """The project's state in `directory` (a checkout, a bare repository or a plain directory), in its cache. `branch` is the one that
    the checkout is meant for, if it is not to be found out; `plain_branch` the only one of a plain directory. Raises `GitProblem`."""
    directory = directory.resolve()
    if not await _is_repository(directory):
        return await _plain(caches, project, directory, branch or plain_branch)
    remote = bool((await _git(directory, "for-each-ref", "--count=1", "refs/remotes/origin")).strip())
    await caches.fetch(project, str(directory), heads=REMOTE if remote else LOCAL)
    branches = await caches.branches(project)
    branch = branch or await _target(directory, branches)
    commit, uncommitted = await _commit_of(caches, project, directory)
    if not commit:
        commit = branches.get(branch, "")
    if not commit:
        raise GitProblem(f"{project}: {directory} has no commit and no branch {branch}")
    return Snapshot(branch, commit, {**branches, branch: commit}, uncommitted)


async def _git(directory: Path, *arguments: str, environment: Mapping[str, str] | None = None) -> str:
    return await run_git(*arguments, environment=environment, cwd=directory)


async def _is_repository(directory: Path) -> bool:
    """Is it a repository itself, rather than somewhere inside one?"""
    try:
        return not (await _git(directory, "rev-parse", "--show-prefix")).strip()
    except GitProblem:
        return False


async def _target(directory: Path, branches: Mapping[str, str]) -> str:
    """The branch that what is checked out is meant for: the one it is on or follows, else the one git-review would propose it to."""
    candidates = []
    for question in (("symbolic-ref", "--short", "HEAD"), ("rev-parse", "--abbrev-ref", "@{upstream}")):
        try:
            candidates.append((await _git(directory, *question)).strip().removeprefix("origin/"))
        except GitProblem:  # detached, or it follows none
            continue
    review = configparser.ConfigParser()
    try:
        review.read(directory / ".gitreview")
        candidates.append(review.get("gerrit", "defaultbranch", fallback=""))
    except (configparser.Error, UnicodeDecodeError):
        candidates.append("")
    candidates += ["master", "main"]
    return next((name for name in candidates if name in branches), candidates[0] or "master")


async def _commit_of(caches: Caches, project: str, directory: Path) -> tuple[str, int]:
    """A commit of the files as they are, on top of what is checked out, and how many of them are in no commit; "" for none."""
    if (await _git(directory, "rev-parse", "--is-bare-repository")).strip() == "true":
        return "", 0
    paths = "--path-format=absolute"
    objects = (await _git(directory, "rev-parse", paths, "--git-path", "objects")).strip()
    index = Path((await _git(directory, "rev-parse", paths, "--git-path", "index")).strip())
    try:
        head = (await _git(directory, "rev-parse", "--verify", "--quiet", "HEAD^{commit}")).strip()
    except GitProblem:
        head = ""
    else:  # it may be on no branch that was fetched
        keep = ("fetch", "--quiet", "--no-write-fetch-head", "--no-tags", str(directory), "+HEAD:refs/headgate/checkout")
        await run_git(f"--git-dir={caches.path(project)}", *keep)
    with tempfile.TemporaryDirectory(prefix="headgate-") as name:
        if index.exists():
            shutil.copy2(index, Path(name, "index"))
        environment = {
            **WHO,
            "GIT_INDEX_FILE": f"{name}/index",
            "GIT_OBJECT_DIRECTORY": str(caches.path(project).absolute() / "objects"),
            "GIT_ALTERNATE_OBJECT_DIRECTORIES": objects,
        }
        await _git(directory, "add", "--all", environment=environment)
        changed = await _git(directory, "diff-index", "--cached", "--name-only", head, environment=environment) if head else ""
        if head and not changed:
            return head, 0
        tree = (await _git(directory, "write-tree", environment=environment)).strip()
        parents = ("-p", head) if head else ()
        message = "What is in the checkout and in no commit yet"
        commit = (await _git(directory, "commit-tree", tree, *parents, "-m", message, environment=environment)).strip()
        return commit, len(changed.splitlines())


async def _plain(caches: Caches, project: str, directory: Path, branch: str) -> Snapshot:
    with tempfile.TemporaryDirectory(prefix="headgate-") as name:
        git = (f"--git-dir={name}", f"--work-tree={directory}")
        await run_git("init", "--quiet", "--bare", "--template=", name)
        try:
            files = await _git(directory, "ls-files", "-z", "--cached", "--others", "--exclude-standard", ".")
        except GitProblem:  # in no repository at all
            await run_git(*git, "add", "--all", cwd=directory)
        else:
            there = [file for file in files.split("\0") if (file and (directory / file).is_symlink()) or (directory / file).is_file()]
            Path(name, "files").write_text("".join(f"{file}\0" for file in there))
            await run_git(*git, "add", "--force", f"--pathspec-from-file={name}/files", "--pathspec-file-nul", cwd=directory)
        tree = (await run_git(*git, "write-tree", cwd=directory)).strip()
        commit = (await run_git(*git, "commit-tree", tree, "-m", f"{directory}", environment=WHO, cwd=directory)).strip()
        await run_git(f"--git-dir={name}", "update-ref", f"refs/heads/{branch}", commit)
        await caches.fetch(project, name)
    return Snapshot(branch, commit, {branch: commit})
