"""A build's repositories, as merged for it, where its playbooks find them: below `work/src` on the executor and below `~/src` on each node.

Nothing is copied that is there already: on this machine repositories borrow the objects of the bare caches, and to a node goes only what
it lacks, by one connection. The executor's own copies have no files unless the job asks for them.
"""

from __future__ import annotations

import asyncio
import shlex
import shutil
import tempfile
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import pygit2
from pygit2.enums import CheckoutStrategy

from providers.base import Node
from tasks.git import Caches, GitProblem, git_environment, run_git
from tasks.processes import communicate, start_process

CACHES = "/build/caches"
"""Where the caches of a build's projects are inside its sandbox, read-only."""

PUSHES_AT_ONCE = 4
NODE_CACHES = "/opt/git"
"""Where images keep clones of repositories, by canonical name."""


class NodeUnreachable(Exception):
    """A node does not let us in or went away; one sentence with ssh's reason."""


class WorkspaceProblem(Exception):
    """The node is there, but the repositories cannot be put on it; one sentence."""


@dataclass(frozen=True, slots=True)
class Checkout:
    """One repository of the workspace: `commit` is what `branch` is in this build; `path` is relative, `src/...`. With `is_tag` it is a
    tag's name, and no branch is checked out."""

    project: str
    branch: str
    commit: str
    path: str
    is_tag: bool = False


def borrow(caches: Caches, checkout: Checkout, root: Path, files: bool) -> None:
    """Make the repository of `checkout` below `root`, borrowing the objects of its cache; with its files if wanted. Made again from nothing
    when it is there already; never through a link. Outside the sandbox it is complete only while this runs: its objects are at their path
    inside. Raises `WorkspaceProblem`."""
    directory = root / checkout.path
    for path in (directory, *directory.parents):
        if path.is_relative_to(root) and path.is_symlink():
            link = path.relative_to(root)
            raise WorkspaceProblem(f"{checkout.project} cannot be put at {checkout.path}: another repository has a link at {link}")
    shutil.rmtree(directory, ignore_errors=True)
    cache = caches.path(checkout.project)
    repository = pygit2.init_repository(str(directory), initial_head=checkout.branch)
    alternates = directory / ".git/objects/info/alternates"
    alternates.write_text(f"{cache}/objects\n")
    source = pygit2.Repository(str(cache), pygit2.enums.RepositoryOpenFlag.BARE)
    refs = {name: str(source.references[name].target) for name in source.references if name.startswith(("refs/heads/", "refs/tags/"))}
    refs |= {
        name.replace("refs/heads/", "refs/remotes/origin/", 1): commit for name, commit in refs.items() if name.startswith("refs/heads/")
    }
    if checkout.is_tag:
        (directory / ".git/HEAD").write_text(f"{checkout.commit}\n")
    else:
        refs[f"refs/heads/{checkout.branch}"] = checkout.commit
    (directory / ".git/packed-refs").write_text("".join(f"{commit} {name}\n" for name, commit in sorted(refs.items())))
    repository = pygit2.Repository(str(directory))
    repository.remotes.create("origin", "file:///dev/null")
    if files:
        repository.checkout_head(strategy=CheckoutStrategy.FORCE)  # type: ignore[no-untyped-call]  # pygit2 has no types for it
    alternates.write_text(f"{CACHES}/{checkout.project}.git/objects\n")


async def make_workspace(caches: Caches, checkouts: Sequence[Checkout], root: Path, files: bool) -> None:
    """The repositories below a directory of this machine: the executor's own work, or the home of a `local` node."""
    for checkout in sorted(checkouts, key=lambda one: one.path):  # one inside another comes after it
        try:
            await asyncio.to_thread(borrow, caches, checkout, root, files)
        except (pygit2.GitError, KeyError) as problem:
            raise WorkspaceProblem(f"{checkout.project} at {checkout.commit} cannot be put into the workspace: {problem}") from None


@dataclass(frozen=True, slots=True)
class NodeShell:
    """One multiplexed ssh connection to a node."""

    node: Node
    options: tuple[str, ...]
    directory: Path

    @property
    def ssh(self) -> list[str]:
        return ["ssh", *self.options]

    async def run(self, script: str) -> str:
        """Run a shell script on the node. Raises `NodeUnreachable` or `WorkspaceProblem`."""
        process = await start_process(
            *(*self.ssh, "-p", str(self.node.port), f"{self.node.username}@{self.node.host}", "sh", "-s"),
            env=git_environment(),
            cwd=self.directory,
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
        )
        out, err = await communicate(process, (BEGIN + script).encode())
        last = (err.decode(errors="replace").strip().splitlines() or ["no reason given"])[-1]
        if process.returncode == 255:
            raise NodeUnreachable(f"node {self.node.id} at {self.node.host}:{self.node.port} cannot be reached: {last}")
        if process.returncode:
            raise WorkspaceProblem(f"node {self.node.id}: {last}")
        return out.decode(errors="replace")


@asynccontextmanager
async def node_shell(node: Node, known_hosts: Path, keys: Sequence[Path], directory: Path) -> AsyncIterator[NodeShell]:
    """A connection that is opened by its first use and closed at the end. `directory` is where ssh runs, `keys` are private key files."""
    control = tempfile.mkdtemp(prefix="headgate-ssh-")  # short: the path of a socket has at most 107 bytes
    options = {
        "BatchMode": "yes",
        "ConnectTimeout": "10",
        "ControlMaster": "auto",
        "ControlPath": f"{control}/%C",
        "ControlPersist": "30",
        "GlobalKnownHostsFile": "none",
        "IdentitiesOnly": "yes",
        "IdentityAgent": "none",
        "LogLevel": "ERROR",
        "ServerAliveInterval": "15",
        "StrictHostKeyChecking": "yes",
        "UserKnownHostsFile": str(known_hosts.absolute()),
    }
    flags = ("-F", "none", *(word for name, value in options.items() for word in ("-o", f"{name}={value}")))
    identities = (word for key in keys for word in ("-i", str(key.absolute())))
    shell = NodeShell(node, (*flags, *identities), directory)
    try:
        yield shell
    finally:
        for socket in Path(control).iterdir():
            end = ("ssh", "-F", "none", "-o", f"ControlPath={socket}", "-O", "exit", "node")
            leave = await start_process(*end, stdout=asyncio.subprocess.DEVNULL, stderr=asyncio.subprocess.DEVNULL)
            await leave.wait()
        shutil.rmtree(control, ignore_errors=True)


BEGIN = """\
set -e
trap '[ $? = 0 ] || exit 1' EXIT  # 255 is what ssh itself ends with when there is no connection
"""

PREPARE = f"""\
command -v git >/dev/null || {{ echo no-git; exit 0; }}
prepare() {{
    mkdir -p "$HOME/$1"; cd "$HOME/$1"
    [ -d .git ] || git init -q .
    grep -qs '^# by headgate' .git/config || cat >> .git/config << END
# by headgate: one process less for each setting
[receive]
	denyCurrentBranch = ignore
	autogc = false
[remote "origin"]
	url = file:///dev/null
END
    rm -f .git/index.lock
    for cache in "{NODE_CACHES}/$2/.git/objects" "{NODE_CACHES}/$2.git/objects" "{NODE_CACHES}/$2/objects"; do
        if [ -d "$cache" ]; then echo "$cache" > .git/objects/info/alternates; break; fi
    done
}}
"""

FINISH = """\
finish() {
    cd "$HOME/$1"
    if [ "$4" = tag ]; then git checkout -q -f --detach "$3"; else git checkout -q -f -B "$2" "$3"; fi
    shift 4
    git clean -ffdxq "$@"
}
finished() { for one in $started; do wait "$one"; done; started=; }
"""


async def push_workspace(caches: Caches, checkouts: Sequence[Checkout], shell: NodeShell) -> bool:
    """Bring the repositories to a node over `shell` and check them out there. False, and nothing done, when the node has no git.
    Raises `NodeUnreachable` or `WorkspaceProblem`."""
    calls = "".join(f"prepare {shlex.quote(one.path)} {shlex.quote(one.project)}\n" for one in checkouts)
    if (await shell.run(PREPARE + calls)).strip() == "no-git":
        return False
    room = asyncio.Semaphore(PUSHES_AT_ONCE)
    async with asyncio.TaskGroup() as pushes:
        for checkout in checkouts:
            pushes.create_task(_push(caches, checkout, shell, room))
    ends = [
        f"finish {shlex.quote(one.path)} {shlex.quote(one.branch)} {one.commit} {'tag' if one.is_tag else 'branch'}"
        f" {_within(one, checkouts)} &\n"
        'started="$started $!"\n'
        for one in checkouts
    ]
    for start in range(PUSHES_AT_ONCE, len(ends), PUSHES_AT_ONCE):
        ends[start] = f"finished\n{ends[start]}"
    await shell.run(f"{FINISH}{''.join(ends)}finished\n")
    return True


def _within(outer: Checkout, checkouts: Sequence[Checkout]) -> str:
    """What spares other repositories that are inside this one when it is cleaned."""
    inner = (one.path.removeprefix(f"{outer.path}/") for one in checkouts if one.path.startswith(f"{outer.path}/"))
    return shlex.join(word for path in inner for word in ("-e", f"/{path}"))


async def _push(caches: Caches, checkout: Checkout, shell: NodeShell, room: asyncio.Semaphore) -> None:
    node = shell.node
    url = f"ssh://{node.username}@{f'[{node.host}]' if ':' in node.host else node.host}:{node.port}/~/{checkout.path}"
    branches = await caches.branches(checkout.project)
    if not checkout.is_tag:
        branches[checkout.branch] = checkout.commit
    wanted = ("+refs/tags/*:refs/tags/*", *(f"+{commit}:refs/heads/{name}" for name, commit in branches.items()))
    environment = git_environment({"GIT_SSH_COMMAND": shlex.join(shell.ssh)})
    async with room:
        try:
            command = (f"--git-dir={caches.path(checkout.project).absolute()}", "push", "--quiet", "--force", "--no-verify", url, *wanted)
            await run_git(*command, environment=environment, cwd=shell.directory)
        except GitProblem as problem:
            raise WorkspaceProblem(f"node {node.id}: {checkout.project} cannot be pushed: {problem}") from None
