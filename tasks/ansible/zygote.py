"""The process that playbooks are forked from: Ansible is imported once, then each playbook costs a fork.

It runs no playbook itself and holds no secret. For every request it forks a child that enters the build's sandbox (namespaces made by
bubblewrap), gives up every capability, and becomes `ansible-playbook` there. So a build can touch neither this process nor another
build's, and a trusted playbook never runs in a process that an untrusted one has seen.

Started as `python -I -m tasks.ansible.zygote SOCKET`; it listens there, says `ready` on stdout, and ends when its stdin is closed.
A request is one connection: the path of a JSON file (see `Request`) and the file descriptors of a terminal; the answer is the exit code.
"""

from __future__ import annotations

import contextlib
import ctypes
import fcntl
import gc
import importlib
import importlib.util
import json
import os
import resource
import select
import shutil
import signal
import socket
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NoReturn, TypedDict

from tasks.ansible import streaming, waiting
from tasks.ansible.early import Telling

CLONE = {
    "mnt": 0x00020000,
    "cgroup": 0x02000000,
    "uts": 0x04000000,
    "ipc": 0x08000000,
    "pid": 0x20000000,
    "net": 0x40000000,
    "user": 0x10000000,
}  # linux/sched.h
NS_GET_USERNS = 0xB701  # linux/nsfs.h
PR_SET_PDEATHSIG, PR_CAPBSET_DROP, PR_SET_NO_NEW_PRIVS = 1, 24, 38  # linux/prctl.h
CAPABILITY_VERSION_3 = 0x20080522  # linux/capability.h
CRASHED = 250  # what ansible-playbook itself ends with after an unexpected exception
OOM_SCORE = 500  # a machine short of memory ends a job before it ends what runs the jobs
PRIVATE = Path("/run/headgate")  # a tmpfs of the sandbox
CACHE = "ansiballz_cache"  # where Ansible keeps packed modules, below its local temporary directory


class Request(TypedDict):
    """`sandbox` is a process inside it; `console` a path outside it; `inventory_vars` (YAML, secrets) exist only for this playbook;
    `processes` is how many there may be in the sandbox, `file_bytes` how long a file may become (0: as it likes); `telling` is the path
    outside it of a pipe for the words of `tasks.ansible.early`, "" if nobody listens, and `failure_output` what they are about."""

    sandbox: int
    arguments: list[str]
    environment: dict[str, str]
    directory: str
    roles: list[str]
    console: str
    processes: int
    file_bytes: int
    redact: list[str]
    homes: dict[str, str]
    inventory: str
    inventory_vars: str
    telling: str
    failure_output: list[str]


def call(name: str, *arguments: Any) -> None:
    """A function of libc; raises `OSError` with its errno."""
    libc = ctypes.CDLL(None, use_errno=True)
    if getattr(libc, name)(*arguments) == -1:
        code = ctypes.get_errno()
        raise OSError(code, f"{name}: {os.strerror(code)}")


def enter(process: int) -> None:
    """Make this process's children part of the sandbox that `process` is in. Its mounts belong to a user namespace around the one
    it is in (bubblewrap's --disable-userns), so that one is entered first, for the right to enter the others. Root becomes before
    whoever the sandbox belongs to."""
    owner = Path(f"/proc/{process}").stat()
    if os.geteuid() == 0 and owner.st_uid != 0:
        os.setgroups([])
        os.setresgid(owner.st_gid, owner.st_gid, owner.st_gid)
        os.setresuid(owner.st_uid, owner.st_uid, owner.st_uid)
    spaces = {kind: os.open(f"/proc/{process}/ns/{kind}", os.O_RDONLY | os.O_CLOEXEC) for kind in CLONE}
    outer = fcntl.ioctl(spaces["mnt"], NS_GET_USERNS)
    call("setns", outer, CLONE["user"])
    shared = {"user": os.fstat(outer), "net": Path("/proc/self/ns/net").stat()}
    for kind, descriptor in spaces.items():
        if kind not in shared or not os.path.samestat(os.fstat(descriptor), shared[kind]):
            call("setns", descriptor, CLONE[kind])
        os.close(descriptor)
    os.close(outer)


def limit(request: Request) -> None:
    """What one process of the playbook can take of this machine."""
    limits = {resource.RLIMIT_CORE: 0, resource.RLIMIT_NPROC: request["processes"], resource.RLIMIT_FSIZE: request["file_bytes"] or -1}
    for kind, wanted in limits.items():
        hard = resource.getrlimit(kind)[1]
        value = wanted if hard == resource.RLIM_INFINITY else hard if wanted == resource.RLIM_INFINITY else min(wanted, hard)
        resource.setrlimit(kind, (value, value))


def give_up_capabilities() -> None:
    """Entering a user namespace grants every capability in it; a playbook needs none."""
    call("prctl", PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)
    last = int(Path("/proc/sys/kernel/cap_last_cap").read_text())
    for capability in range(last + 1):
        call("prctl", PR_CAPBSET_DROP, capability, 0, 0, 0)
    header = (ctypes.c_uint32 * 2)(CAPABILITY_VERSION_3, 0)
    call("capset", header, (ctypes.c_uint32 * 6)())


@contextlib.contextmanager
def temporary_directory() -> Iterator[Path]:
    """Ansible's for this playbook, inside the sandbox, with the modules packed before. Those of ansible-core are kept for the next
    playbook; others are not, because two roles may have different ones by one name."""
    from ansible import constants

    seed = Path(constants.DEFAULT_LOCAL_TMP) / CACHE
    kept = PRIVATE / CACHE
    kept.mkdir(mode=0o700, exist_ok=True)
    directory = Path(tempfile.mkdtemp(dir=PRIVATE, prefix="ansible-"))
    constants.DEFAULT_LOCAL_TMP = str(directory)
    cache = directory / CACHE
    cache.mkdir(mode=0o700)
    for packed in (*seed.iterdir(), *kept.iterdir()):
        with contextlib.suppress(FileExistsError):
            (cache / packed.name).symlink_to(packed)
    try:
        yield directory
    finally:
        for packed in cache.glob("ansible.modules.*"):
            if not packed.is_symlink() and packed.suffix != ".lock":
                packed.rename(kept / packed.name)
        shutil.rmtree(directory, ignore_errors=True)


def inventory_arguments(request: Request, directory: Path) -> list[str]:
    """An inventory of this playbook's own, with its secrets, where Ansible looks for variables of all hosts: above those of the job."""
    if not request["inventory"]:
        return []
    (directory / "inventory.yaml").write_text(request["inventory"])
    (directory / "group_vars").mkdir()
    (directory / "group_vars/all.yaml").write_text(request["inventory_vars"])
    return ["-i", str(directory / "inventory.yaml")]


def play(request: Request, console: int, telling: int) -> int:
    """Be ansible-playbook; returns its exit code."""
    from ansible import constants
    from ansible.cli.playbook import PlaybookCLI

    os.environ.clear()
    os.environ.update(request["environment"])
    tempfile.tempdir = None
    constants.DEFAULT_ROLES_PATH = request["roles"]
    (PRIVATE / "cp").mkdir(mode=0o700, exist_ok=True)
    ear = Telling(telling, request["failure_output"])
    streaming.use(streaming.Console(console, request["redact"], request["homes"], ear))
    for stream in (sys.stdout, sys.stderr):
        stream.reconfigure(line_buffering=True)  # type: ignore[union-attr]  # it is a text stream here, not any object a program may put there
    os.chdir(request["directory"])
    with temporary_directory() as directory:
        program, *arguments = request["arguments"]
        sys.argv = [program, *inventory_arguments(request, directory), *arguments]
        try:
            PlaybookCLI.cli_executor(sys.argv)
        except SystemExit as end:
            return end.code if isinstance(end.code, int) else 0 if end.code is None else 1
    return 0


def serve(connection: socket.socket) -> NoReturn:
    """In a fresh child: read one request, play it in a grandchild inside its sandbox, answer with the exit code."""
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    message, terminal, _, _ = socket.recv_fds(connection, 4096, 3)
    for number, descriptor in enumerate(terminal):
        os.dup2(descriptor, number)
        os.close(descriptor)
    with contextlib.suppress(OSError):
        sooner = Path("/proc/self/oom_score_adj")
        sooner.write_text(str(min(1000, int(sooner.read_text()) + OOM_SCORE)))
    try:
        request: Request = json.loads(Path(message.decode()).read_bytes())
        console = os.open(request["console"], os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o640)
        telling = os.open(request["telling"], os.O_WRONLY | os.O_NONBLOCK | os.O_CLOEXEC) if request["telling"] else -1
        enter(request["sandbox"])
    except (OSError, ValueError) as problem:
        print(f"the sandbox is gone: {problem}", flush=True)
        os._exit(CRASHED)
    child = os.fork()
    if child == 0:
        code = CRASHED
        try:
            connection.close()
            call("prctl", PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
            os.setsid()
            limit(request)
            give_up_capabilities()
            code = play(request, console, telling)
        finally:
            with contextlib.suppress(OSError):
                sys.stdout.flush()
                sys.stderr.flush()
            os._exit(code)
    os.close(console)
    _, status = os.waitpid(child, 0)
    code = os.waitstatus_to_exitcode(status)
    with contextlib.suppress(OSError):
        connection.send(str(code if code >= 0 else 128 - code).encode())
    os._exit(0)


def write_command_module(library: Path) -> None:
    """ansible-core's own `command` module with our hook behind it; `shell` is the same module."""
    found = importlib.util.find_spec("ansible.modules.command")
    assert found is not None and found.origin is not None
    module, main = Path(found.origin).read_text().rsplit("\nif __name__ == '__main__':", 1)
    hook = Path(__file__).with_name("command_hook.py").read_text()
    library.mkdir(exist_ok=True)
    (library / "command.py").write_text(f"{module}\n\n{hook}\n\nif __name__ == '__main__':{main}")


def preload(home: Path) -> None:
    """Import what a playbook imports. What that is a child finds out by running one; only names come back from it, and the packed
    `command` module, which every playbook may then use."""
    from ansible import constants
    from ansible.cli.playbook import PlaybookCLI
    from ansible.plugins.loader import become_loader, cache_loader, connection_loader, inventory_loader, shell_loader

    constants.DEFAULT_LOCAL_TMP = str(home / "packed")
    playbook = home / "warm.yaml"
    playbook.write_text(
        "- hosts: all\n  gather_facts: false\n  tasks: [{command: 'true'}, {debug: {msg: '{{ inventory_hostname }}'}, when: true}]\n"
    )
    inventory = home / "warm-inventory.yaml"
    inventory.write_text(f"all: {{hosts: {{warm: {{ansible_connection: local, ansible_python_interpreter: {sys.executable}}}}}}}\n")
    receive, send = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            nothing = os.open(os.devnull, os.O_RDWR)
            for number in (0, 1, 2):
                os.dup2(nothing, number)
            os.environ["AWX_ISOLATED_DATA_DIR"] = str(home)
            with contextlib.suppress(SystemExit):
                PlaybookCLI.cli_executor(["ansible-playbook", "-i", str(inventory), str(playbook)])
            with open(send, "w") as out:
                out.write("\n".join(sys.modules))
        finally:
            os._exit(0)
    os.close(send)
    with open(receive) as names:
        wanted = names.read().split("\n")
    os.waitpid(child, 0)
    for name in wanted:
        if name and name not in sys.modules and not name.startswith(("ansible.plugins.callback.", "ansible_collections", "__")):
            with contextlib.suppress(ImportError):
                importlib.import_module(name)
    for loader in (connection_loader, shell_loader, become_loader):  # every playbook asks for the options of all of these
        list(loader.all(class_only=True))
    inventory_loader.get("yaml", class_only=True)
    cache_loader.get("jsonfile", class_only=True)


def main() -> None:
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    listener.bind(sys.argv[1])
    listener.listen(128)
    home = Path(sys.argv[1]).parent
    write_command_module(home / "library")
    preload(home)
    streaming.install()
    waiting.install()
    gc.collect()
    gc.freeze()
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # children are not waited for: each answers for itself
    print("ready", flush=True)
    while True:
        readable, _, _ = select.select([listener.fileno(), 0], [], [])
        if 0 in readable:
            break
        connection, _ = listener.accept()
        if os.fork() == 0:
            listener.close()
            serve(connection)
        connection.close()
    shutil.rmtree(home, ignore_errors=True)  # whoever started this is gone, perhaps without a chance to tidy up


if __name__ == "__main__":
    main()
