"""diskimage-builder as a process, and everything of it gone afterwards however it ended.

Each build has a directory of its own below `tmp/`, locked as long as the process that builds lives. Run as root, a build has its own mounts
and processes, which the kernel ends with it; loop devices and files that a killed build leaves are swept when the next one begins.
"""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from headgate.diskimages import Command
from headgate.image_log import BuildLog
from tasks.processes import kill_group, start_process

TOOLS = Path(__file__).parent / "diskimage_tools"
ELEMENTS = Path(__file__).parent.parent / "elements"
PASSED = ("HOME", "LANG", "TZ", "http_proxy", "https_proxy", "no_proxy", "HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY")
PASSED_PREFIXES = ("PIP_", "SSL_CERT_", "REQUESTS_CA_", "CURL_CA_", "GIT_SSL_", "GIT_HTTP_")
"""What a build gets of the worker's environment: how to reach mirrors, and nothing that could be a secret of Headgate's."""

END_SECONDS = 10.0
"""How long a build that is told to stop may tidy up by itself."""


class BuildFailed(Exception):
    """The image could not be built; one sentence naming the element's script and what it said."""


def has_device_mapper() -> bool:
    """Whether this kernel can map partitions; the node /dev/mapper/control alone proves nothing, libdm makes it."""
    try:
        return "device-mapper" in Path("/proc/misc").read_text()
    except OSError:
        return False


def build_environment(command: Command) -> dict[str, str]:
    """The whole environment of a build."""
    passed = {name: value for name, value in os.environ.items() if name in PASSED or name.startswith(PASSED_PREFIXES)}
    tools = [*([TOOLS / "root"] if os.geteuid() == 0 else []), *([] if has_device_mapper() else [TOOLS / "no-device-mapper"])]
    standard = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
    path = ":".join([*map(str, tools), str(Path(sys.executable).parent), standard])
    return {**passed, **command.environment, "PATH": path, "LC_ALL": "C"}


def separated() -> tuple[str, ...]:
    """What a build is started by, so that its mounts and processes are its own and end with it, and it ends with us."""
    if os.geteuid() != 0:
        return ()
    return ("setpriv", "--pdeathsig", "KILL", "unshare", "--mount", "--pid", "--fork", "--kill-child", "--mount-proc", "--")


async def run_build(command: Command, log: Path, told: Callable[[BuildLog], Awaitable[None]]) -> None:
    """Run the command, its output into the file `log`; `told` whenever a phase begins. Raises `BuildFailed`. Cancelled, it stops the build
    and waits until it has ended."""
    for directory in (command.environment["DIB_IMAGE_CACHE"], command.environment["DIB_LOCKFILES"], str(log.parent)):
        Path(directory).mkdir(parents=True, exist_ok=True)
    heard = BuildLog()
    with log.open("ab", buffering=0) as output:
        try:
            process = await start_process(
                *separated(),
                *command.arguments,
                env=build_environment(command),
                cwd=command.environment["TMP_DIR"],
                stdin=asyncio.subprocess.DEVNULL,
                stdout=asyncio.subprocess.PIPE,
                stderr=asyncio.subprocess.STDOUT,
                limit=1 << 20,
            )
        except FileNotFoundError as problem:
            raise BuildFailed(f"{problem.filename} is not installed: it is needed to build images.") from problem
        assert process.stdout is not None
        try:
            async for line in _lines(process.stdout):
                output.write(line)
                if heard.feed(line.decode(errors="replace")):
                    await told(heard)
            code = await process.wait()
        except BaseException:
            await asyncio.shield(_stop(process))
            raise
        output.write(f"Exit code: {code}\n".encode())
    if code:
        raise BuildFailed(heard.failure(code))


async def _lines(stream: asyncio.StreamReader) -> AsyncIterator[bytes]:
    """Line by line; what is longer than the stream's limit comes in pieces."""
    while True:
        try:
            line = await stream.readuntil(b"\n")
        except asyncio.IncompleteReadError as end:
            if end.partial:
                yield end.partial
            return
        except asyncio.LimitOverrunError as long:
            line = await stream.readexactly(long.consumed)
        yield line


async def _stop(process: asyncio.subprocess.Process) -> None:
    if process.returncode is not None:
        return
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGTERM)
    try:
        async with asyncio.timeout(END_SECONDS if os.geteuid() else 1):
            await process.wait()
    except TimeoutError:
        kill_group(process)
        await process.wait()


# ---- what a build leaves


@contextmanager
def build_directory(root: Path, build_id: str) -> Iterator[Path]:
    """The build's own directory below `root/tmp`, locked until it is swept at the end."""
    directory = root / "tmp" / build_id
    directory.mkdir(parents=True, exist_ok=True, mode=0o755)
    with (root / "tmp" / f"{build_id}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        try:
            yield directory
        finally:
            clear(directory)
            Path(lock.name).unlink(missing_ok=True)


def sweep(root: Path) -> list[str]:
    """Clear every build's directory that no living process holds; the ids of the builds."""
    swept = []
    for directory in sorted(path for path in (root / "tmp").glob("*") if path.is_dir()):
        with directory.with_name(f"{directory.name}.lock").open("w") as lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                continue
            clear(directory)
            Path(lock.name).unlink(missing_ok=True)
            swept.append(directory.name)
    return swept


def clear(directory: Path) -> None:
    """Unmount what is mounted below `directory`, detach the loop devices of files in it, remove it."""
    directory = directory.resolve()
    for place in sorted(mounts_below(directory), key=len, reverse=True):
        _run("umount", "--lazy", place)
    for device in loops_below(directory):
        _run("partx", "--delete", device)
        for link in Path("/dev/mapper").glob(f"{Path(device).name}p*"):
            if has_device_mapper():
                _run("dmsetup", "remove", link.name)
            elif link.is_symlink():
                link.unlink(missing_ok=True)
        _run("losetup", "--detach", device)
    if os.geteuid() == 0:
        shutil.rmtree(directory, ignore_errors=True)
    else:
        _run("rm", "-rf", "--one-file-system", str(directory))


def mounts_below(directory: Path) -> list[str]:
    """Mount points at or below `directory`, of this process's view."""
    lines = Path("/proc/self/mountinfo").read_text().splitlines()
    points = [line.split()[4].encode().decode("unicode_escape") for line in lines]
    return [point for point in points if Path(point).is_relative_to(directory)]


def loops_below(directory: Path) -> list[str]:
    """Loop devices whose file is, or was, below `directory`."""
    done = subprocess.run(["losetup", "--list", "--json", "--output", "NAME,BACK-FILE"], capture_output=True, text=True)
    if done.returncode or not done.stdout.strip():
        return []
    listed = json.loads(done.stdout)["loopdevices"]
    return [each["name"] for each in listed if Path((each["back-file"] or "").removesuffix(" (deleted)")).is_relative_to(directory)]


def _run(*command: str) -> None:
    """As root, or by sudo; what does not work is left to the next sweep."""
    asked = command if os.geteuid() == 0 else ("sudo", "-n", *command)
    with contextlib.suppress(FileNotFoundError):
        subprocess.run(asked, capture_output=True)
