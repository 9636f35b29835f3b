"""The sandbox a build's playbooks run in, made by bubblewrap: nothing of this machine but the system's programs and what is bound.

Namespaces of its own for users, processes, mounts, IPC and names (the network is shared: nodes must be reached); no capability, no way
to new user namespaces, a cleared environment. It lives until it is killed or the process that started it ends, and all in it ends with it.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import shutil
import signal
import sys
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from tasks.account import Account
from tasks.outside import Outside, OutsideProblem, Reach
from tasks.processes import ended_process, kill_group, start_process

SYSTEM_FILES = (
    "alternatives",
    "ca-certificates",
    "hosts",
    "ld.so.cache",
    "ld.so.conf",
    "ld.so.conf.d",
    "localtime",
    "nsswitch.conf",
    "pki",
    "protocols",
    "resolv.conf",
    "services",
    "ssl",
)
"""What of /etc is the same for everybody and no secret."""

FIRST_PROCESS = 'echo ready; if [ $# != 0 ]; then "$@" < /dev/null & fi; exec cat > /dev/null'
"""What keeps a sandbox open: it ends, and all with it, when its stdin does, that is also when the executor is killed."""

START_SECONDS = 30.0
LARGEST_MEMORY = 2 << 30
"""Bytes in each of the directories in memory, such as /tmp."""


class SandboxProblem(Exception):
    """No sandbox can be made here; one sentence with what to do."""


@dataclass(frozen=True, slots=True)
class Bind:
    """`source` of this machine appears as `target` inside."""

    source: Path
    target: str
    writable: bool = False

    def arguments(self) -> list[str]:
        return ["--bind" if self.writable else "--ro-bind", str(self.source), self.target]


def interpreter_paths() -> tuple[Path, ...]:
    """The directories of this Python environment and of the Python it is made from, which a playbook needs and may read."""
    paths = dict.fromkeys(Path(path).resolve() for path in (sys.base_prefix, sys.base_exec_prefix, sys.prefix, sys.exec_prefix))
    return tuple(path for path in paths if not path.is_relative_to("/usr"))


def memory(path: str) -> tuple[str, ...]:
    """A directory in memory that cannot take all of it."""
    return ("--size", str(LARGEST_MEMORY), "--tmpfs", path)


STAGE = "/tmp"  # noqa: S108 - in a mount namespace of its own


def staged(binds: Sequence[Bind]) -> tuple[list[str], tuple[Bind, ...]]:
    """For an account that may not pass through directories of root's (a home, the state directory): arguments of an outer bubblewrap,
    run by root, that shows the sources of `binds` in one directory, and the binds from there."""
    outer = ["--dev-bind", "/", "/", "--tmpfs", STAGE]
    moved = []
    for number, bind in enumerate(binds):
        place = f"{STAGE}/{number}"
        outer += Bind(bind.source, place, bind.writable).arguments()
        moved.append(Bind(Path(place), bind.target, bind.writable))
    return [*outer, "--chdir", "/"], tuple(moved)


def arguments(binds: Iterable[Bind], network: bool = True) -> list[str]:
    """The bubblewrap arguments up to the command. `binds` are made in order, after the system's. Inside, everybody is user 1000; outside
    that is whoever runs bubblewrap. Without `network` there is only a loopback of its own."""
    system = ["--ro-bind", "/usr", "/usr"]
    for name in ("bin", "sbin", "lib", "lib32", "lib64"):
        path = Path("/", name)
        if path.is_symlink():
            system += ["--symlink", str(path.readlink()), str(path)]
        elif path.exists():
            system += ["--ro-bind", str(path), str(path)]
    for name in SYSTEM_FILES:
        system += ["--ro-bind-try", f"/etc/{name}", f"/etc/{name}"]
    return [
        *("--unshare-all", "--unshare-user", "--disable-userns", "--die-with-parent", "--new-session"),
        *(("--share-net",) if network else ()),
        *("--uid", "1000", "--gid", "1000", "--hostname", "headgate", "--clearenv"),
        *system,
        *("--proc", "/proc", "--dev", "/dev", *memory("/tmp"), *memory("/var/tmp"), *memory("/run/headgate")),  # noqa: S108 - its own
        *(argument for bind in binds for argument in bind.arguments()),
        *("--chdir", "/"),
    ]


def environment(user: str, home: str, extra: Mapping[str, str] | None = None) -> dict[str, str]:
    """All that a program in a sandbox gets to know from its environment."""
    path = f"{Path(sys.executable).parent}:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
    return {"PATH": path, "HOME": home, "USER": user, "LOGNAME": user, "LANG": "C.UTF-8", "LC_ALL": "C.UTF-8", **(extra or {})}


def write_accounts(directory: Path, user: str, home: str) -> tuple[Bind, ...]:
    """/etc/passwd and /etc/group with this one user, kept in `directory`."""
    (directory / "passwd").write_text(f"root:x:0:0:root:/nonexistent:/usr/sbin/nologin\n{user}:x:1000:1000:{user}:{home}:/bin/bash\n")
    (directory / "group").write_text(f"root:x:0:\n{user}:x:1000:\n")
    return (Bind(directory / "passwd", "/etc/passwd"), Bind(directory / "group", "/etc/group"))


def in_memory(words: Iterable[str]) -> int:
    """A file in memory with arguments for bubblewrap: inside, everybody can read the command line of the first process."""
    descriptor = os.memfd_create("arguments")
    os.write(descriptor, b"".join(os.fsencode(word) + b"\0" for word in words))
    os.lseek(descriptor, 0, os.SEEK_SET)
    return descriptor


@dataclass(slots=True)
class Sandbox:
    """A running sandbox. `pid` is, outside, its first process; whoever enters its namespaces is in it."""

    process: asyncio.subprocess.Process
    pid: int
    descriptor: int = field(repr=False)
    outside: Outside | None = None

    @classmethod
    async def start(
        cls, binds: Iterable[Bind], command: Iterable[str] = (), account: Account | None = None, reach: Reach | None = None
    ) -> Sandbox:
        """Start one and return when it is complete. `command` runs in it from the start, beside what is brought in later. For root,
        `account` is whose its processes are. With `reach` it has a network of its own, and no more than that outside of it.
        Raises `SandboxProblem`."""
        everything = (*(Bind(path, str(path)) for path in interpreter_paths()), *binds)
        starting = asyncio.ensure_future(cls._start(everything, tuple(command), account, reach))
        try:
            sandbox = await asyncio.shield(starting)
            if reach is not None:
                await sandbox._open_to(reach, account)
            return sandbox
        except asyncio.CancelledError:
            with contextlib.suppress(SandboxProblem):  # while bubblewrap sets up (10 ms), killing it would leave a part of it behind
                await (await starting).kill()
            raise

    @classmethod
    async def _start(cls, binds: tuple[Bind, ...], command: tuple[str, ...], account: Account | None, reach: Reach | None) -> Sandbox:
        program = shutil.which("bwrap")
        if program is None:
            raise SandboxProblem("bubblewrap is not installed, and jobs run in nothing else: apt install bubblewrap, or your system's way")
        receive, send = os.pipe()
        descriptors = [send]
        before: tuple[str, ...] = ()
        try:
            if account is not None:
                outer, binds = staged(binds)
                descriptors.append(in_memory(outer))
                before = (program, "--args", str(descriptors[-1]), *account.command)
            descriptors.append(in_memory(arguments(binds, network=reach is None)))
            inner = ("--info-fd", str(send), "--args", str(descriptors[-1]))
            process = await start_process(
                *(*before, program, *inner, "/bin/sh", "-c", FIRST_PROCESS, "sandbox", *command),
                env={"PATH": os.defpath},
                stdin=asyncio.subprocess.PIPE,
                stdout=asyncio.subprocess.PIPE,
                stderr=asyncio.subprocess.STDOUT,
                pass_fds=tuple(descriptors),
            )
            os.close(descriptors.pop(0))
            async with asyncio.timeout(START_SECONDS):
                assert process.stdout is not None
                said = await process.stdout.readline()
                if said != b"ready\n":
                    said += await process.stdout.read()
                    reason = " ".join(said.decode(errors="replace").split()) or f"bwrap ended with {await process.wait()}"
                    await ended_process(process)
                    raise SandboxProblem(f"bubblewrap cannot make a sandbox here: {reason.removeprefix('bwrap: ')}")
            pid = json.loads(os.read(receive, 4096))["child-pid"]  # written before anything ran inside
            return cls(process, pid, os.pidfd_open(pid))
        except TimeoutError:
            kill_group(process)
            await ended_process(process)
            raise SandboxProblem(f"bubblewrap has not made a sandbox within {START_SECONDS:.0f} s: is this machine overloaded?") from None
        finally:
            for descriptor in (receive, *descriptors):
                os.close(descriptor)

    async def _open_to(self, reach: Reach, account: Account | None) -> None:
        try:
            self.outside = await Outside.open(self.pid, reach, account)
        except OutsideProblem as problem:
            await self.kill()
            raise SandboxProblem(str(problem)) from None

    def kill_now(self) -> None:
        """End everything in it, without waiting. Repeatable."""
        if self.outside is not None:
            self.outside.close_now()
        kill_group(self.process)
        with contextlib.suppress(ProcessLookupError):
            if self.descriptor >= 0:
                signal.pidfd_send_signal(self.descriptor, signal.SIGKILL)

    async def kill(self) -> None:
        """End everything in it, and return when it has ended. Repeatable."""
        self.kill_now()
        descriptor, self.descriptor = self.descriptor, -1
        if descriptor < 0:
            return
        if self.outside is not None:
            await self.outside.close()
        loop = asyncio.get_running_loop()
        ended = asyncio.Event()
        loop.add_reader(descriptor, ended.set)  # the first process of a pid namespace ends last
        try:
            await ended.wait()
            await ended_process(self.process)
        finally:
            loop.remove_reader(descriptor)
            os.close(descriptor)
