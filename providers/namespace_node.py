"""Starts one node of driver `namespace`: a program of its own, run as root, that ends once the node lives.

    python -I -S namespace_node.py < ORDER > LOG        # JSON, as providers.namespace writes it; the node's own output goes to LOG

The node is a tree of files under an overlay, in user, mount, process, network, host name, IPC and cgroup namespaces of its own. Its root
is nobody outside: the tree is mounted with its owners shifted to a range of user ids that no other node has, so that nothing in it is
root on this machine, and none of its processes has a capability here. Who was killed half-way leaves nothing that runs: the node's first
process waits for a word of this one, and ends when the pipe does.

Only the standard library, and little of it, since it starts for every node.
"""

from __future__ import annotations

import ctypes
import json
import os
import platform
import resource
import signal
import socket
import struct
import sys
from typing import Any, NoReturn

NEW_MOUNT, NEW_CGROUP, NEW_UTS, NEW_IPC = 0x00020000, 0x02000000, 0x04000000, 0x08000000
NEW_USER, NEW_PID, NEW_NET = 0x10000000, 0x20000000, 0x40000000
READ_ONLY, NO_SUID, NO_DEVICES, NO_EXECUTE, BIND, RECURSIVE, PRIVATE = 1, 2, 4, 8, 4096, 16384, 1 << 18
DETACH = 2
OPEN_TREE, MOVE_MOUNT, MOUNT_SETATTR = 428, 429, 442  # the same on every architecture
PIVOT_ROOT = {"x86_64": 155, "aarch64": 41}
JOIN_SESSION_KEYRING = {"x86_64": 250, "aarch64": 219}
AT_CURRENT, AT_EMPTY_PATH, CLONE_TREE, FROM_EMPTY_PATH, ID_MAPPED, MAPPED_NO_DEVICES = -100, 0x1000, 1, 4, 0x00100000, 4
SECONDS = 30
"""After that this program gives up by itself: it has inherited the node's lock, which keeps others from the node until it ends."""
IDS = 65536
"""User ids in a node: 0 to 65535."""
DEVICES = ("null", "zero", "full", "random", "urandom", "tty")

libc = ctypes.CDLL(None, use_errno=True)


class Failed(Exception):
    """One sentence."""


def call(what: str, result: int) -> int:
    if result < 0:
        raise Failed(f"{what}: {os.strerror(ctypes.get_errno())}")
    return result


def mount(source: str, target: str, kind: str = "", flags: int = 0, options: str = "") -> None:
    call(
        f"mount {kind or source} on {target}",
        libc.mount(source.encode(), target.encode(), kind.encode() or None, flags, options.encode() or None),
    )


def mount_shifted(tree: str, target: str, namespace: int) -> None:
    """`tree` at `target` with its owners shifted as the user namespace maps them."""
    clone = call(f"clone the mount of {tree}", libc.syscall(OPEN_TREE, AT_CURRENT, tree.encode(), CLONE_TREE))
    attributes = ctypes.create_string_buffer(struct.pack("QQQQ", ID_MAPPED | MAPPED_NO_DEVICES, 0, 0, namespace))
    shifted = libc.syscall(MOUNT_SETATTR, clone, b"", AT_EMPTY_PATH, attributes, len(attributes.raw) - 1)
    call(f"shift the owners of {tree} (Linux 5.19 and a file system that can are needed)", shifted)
    call(f"mount {tree}", libc.syscall(MOVE_MOUNT, clone, b"", AT_CURRENT, target.encode(), FROM_EMPTY_PATH))


def run_ip(lines: list[str], forgive: bool = False) -> None:
    """`ip -batch` of these lines; with `forgive`, what exists already is no error."""
    inlet, outlet = os.pipe()
    os.write(outlet, "".join(f"{line}\n" for line in lines).encode())
    os.close(outlet)
    said = os.memfd_create("ip")
    actions = [(os.POSIX_SPAWN_DUP2, inlet, 0), (os.POSIX_SPAWN_DUP2, said, 1), (os.POSIX_SPAWN_DUP2, said, 2)]
    child = os.posix_spawnp("ip", ["ip", *(["-force"] if forgive else []), "-batch", "-"], os.environ, file_actions=actions)
    os.close(inlet)
    status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    os.lseek(said, 0, os.SEEK_SET)
    text = os.read(said, 4096).decode(errors="replace").strip()
    os.close(said)
    if status and not forgive:
        raise Failed(f"ip: {text.splitlines()[0] if text else status}")


class Starting:
    """This program's side: everything that takes the machine's root."""

    def __init__(self, order: dict[str, Any]) -> None:
        self.order = order
        self.directory: str = order["directory"]
        self.root = f"{self.directory}/root"

    def run(self) -> None:
        call("unshare", libc.unshare(NEW_MOUNT))
        mount("none", "/", flags=RECURSIVE | PRIVATE)
        to_node, from_node = os.pipe(), os.pipe()
        first = os.fork()
        if first == 0:
            os.close(to_node[1])
            os.close(from_node[0])
            Node(self.order, to_node[0], from_node[1]).run()
        os.close(to_node[0])
        os.close(from_node[1])
        self._expect(from_node[0], b"u")
        for kind in ("uid", "gid"):
            with open(f"/proc/{first}/{kind}_map", "w") as table:
                table.write(f"0 {self.order['first_id']} {IDS}\n")
        self._mount(os.open(f"/proc/{first}/ns/user", os.O_RDONLY))
        os.write(to_node[1], b"m")
        self._expect(from_node[0], b"p")
        pid = struct.unpack("i", os.read(from_node[0], 4))[0]
        os.waitpid(first, 0)
        self._record(pid)
        self._connect(pid)
        os.write(to_node[1], b"n")
        if problem := os.read(from_node[0], 4096):
            raise Failed(problem.decode(errors="replace"))

    @staticmethod
    def _expect(pipe: int, word: bytes) -> None:
        said = os.read(pipe, 1)
        if said != word:
            raise Failed((said + os.read(pipe, 4096)).decode(errors="replace") or "the node's first process ended at once")

    def _mount(self, namespace: int) -> None:
        first, lower = self.order["first_id"], f"{self.directory}/tree"
        mount_shifted(self.order["tree"], lower, namespace)
        os.chmod(self.directory, 0o711)
        for name in ("upper", "work"):
            os.chown(f"{self.directory}/{name}", first, first)
        os.chmod(f"{self.directory}/upper", 0o755)
        mount("overlay", self.root, "overlay", 0, f"lowerdir={lower},upperdir={self.directory}/upper,workdir={self.directory}/work")
        mount("tmpfs", f"{self.root}/dev", "tmpfs", NO_SUID | NO_EXECUTE, f"mode=755,uid={first},gid={first},size=64k")
        for name in DEVICES:
            with open(f"{self.root}/dev/{name}", "w"):
                pass
            mount(f"/dev/{name}", f"{self.root}/dev/{name}", flags=BIND)

    def _record(self, pid: int) -> None:
        """Who the node is, before it may do anything: the process and when it started, because numbers are used again."""
        with open(f"/proc/{pid}/stat") as stat:
            started = int(stat.read().rpartition(")")[2].split()[19])
        with open(f"{self.directory}/process.new", "w") as file:
            json.dump({"pid": pid, "started": started}, file)
        os.replace(f"{self.directory}/process.new", f"{self.directory}/process.json")

    def _connect(self, pid: int) -> None:
        link, bridge, order = self.order["link"], self.order["bridge"], self.order
        run_ip([f"link del {link}"], forgive=True)
        run_ip([f"link add {bridge} type bridge", f"addr add {order['gateway']}/{order['prefix']} dev {bridge}"], forgive=True)
        run_ip(
            [
                f"link set {bridge} up",
                f"link add {link} type veth peer name eth0 netns {pid}",
                f"link set {link} master {bridge} up",
            ]
        )
        with open(f"/proc/{pid}/ns/net") as network:
            call("enter the node's network", libc.setns(network.fileno(), NEW_NET))
        run_ip(
            [
                "link set lo up",
                f"addr add {order['address']}/{order['prefix']} dev eth0",
                "link set eth0 up",
                f"route add default via {order['gateway']}",
            ]
        )


class Node:
    """The node's side: from a process without any namespace to its first process."""

    def __init__(self, order: dict[str, Any], words: int, answers: int) -> None:
        self.order = order
        self.words = words
        self.answers = answers

    def run(self) -> NoReturn:
        try:
            self._unshare()
        except (Failed, OSError) as problem:
            os.write(self.answers, f" {problem}".encode())
        os._exit(1)

    def _wait(self, word: bytes) -> None:
        if os.read(self.words, 1) != word:
            os._exit(1)  # who started us is gone, or said why

    def _unshare(self) -> None:
        os.setsid()
        os.chdir(self.order["directory"])  # while we may: the node's root has no way to here
        call("unshare users", libc.unshare(NEW_USER))
        os.write(self.answers, b"u")
        self._wait(b"m")
        os.setgroups([])
        os.setresgid(0, 0, 0)
        os.setresuid(0, 0, 0)
        call("unshare", libc.unshare(NEW_MOUNT | NEW_NET | NEW_PID | NEW_UTS | NEW_IPC | NEW_CGROUP))
        first = os.fork()
        if first:
            os.write(self.answers, b"p" + struct.pack("i", first))
            os._exit(0)
        self._wait(b"n")
        self._enter()
        self._become()

    def _enter(self) -> None:
        root = "root"
        mount(root, root, flags=BIND | RECURSIVE)  # a mount of our own: those that came with the namespace cannot be moved
        mount("proc", f"{root}/proc", "proc", NO_SUID | NO_DEVICES | NO_EXECUTE)
        mount("sysfs", f"{root}/sys", "sysfs", NO_SUID | NO_DEVICES | NO_EXECUTE | READ_ONLY)
        mount("tmpfs", f"{root}/run", "tmpfs", NO_SUID | NO_DEVICES, "mode=755")
        for name, options in (("pts", "newinstance,ptmxmode=666,mode=620,gid=5"), ("shm", "mode=1777"), ("mqueue", "")):
            os.mkdir(f"{root}/dev/{name}")
            mount(name, f"{root}/dev/{name}", {"pts": "devpts", "shm": "tmpfs", "mqueue": "mqueue"}[name], NO_SUID, options)
        os.symlink("pts/ptmx", f"{root}/dev/ptmx")
        for name, target in (("fd", ""), ("stdin", "/0"), ("stdout", "/1"), ("stderr", "/2")):
            os.symlink(f"/proc/self/fd{target}", f"{root}/dev/{name}")
        os.chdir(root)
        machine = platform.machine()
        call("pivot_root", libc.syscall(PIVOT_ROOT[machine], b".", b"."))
        call("leave the old root", libc.umount2(b".", DETACH))
        os.chdir("/")
        call("session keyring", libc.syscall(JOIN_SESSION_KEYRING[machine], 1, None))

    def _become(self) -> NoReturn:
        """Everything that makes it this node and no other, then its SSH server."""
        socket.sethostname(self.order["hostname"])
        os.makedirs("/run/sshd", 0o755, exist_ok=True)
        for file in self.order["files"]:
            self._write(**file)
        _unlock("/etc/shadow", self.order["username"])
        limit = self.order["processes"]
        hard = resource.getrlimit(resource.RLIMIT_NPROC)[1]
        limit = limit if hard == resource.RLIM_INFINITY else min(limit, hard)
        resource.setrlimit(resource.RLIMIT_NPROC, (limit, limit))
        os.dup2(os.open("/dev/null", os.O_RDWR), 0)
        os.dup2(1, 2)
        signal.signal(signal.SIGPIPE, signal.SIG_DFL)
        environment = {"PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "LANG": "C.UTF-8"}
        os.execve(self.order["command"][0], self.order["command"], environment)

    @staticmethod
    def _write(path: str, text: str, mode: int, owner: int, group: int) -> None:
        directory = os.path.dirname(path)
        if not os.path.isdir(directory):
            os.mkdir(directory, 0o700 if owner else 0o755)
            os.chown(directory, owner, group)
        if os.path.lexists(path):
            os.unlink(path)  # /etc/resolv.conf is often a link to what is not there
        handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode)
        os.write(handle, text.encode())
        os.fchmod(handle, mode)
        os.fchown(handle, owner, group)
        os.close(handle)


def _unlock(path: str, username: str) -> None:
    """sshd refuses an account whose password is locked by `!`, also to keys; `*` means that no password fits."""
    if not os.path.exists(path):
        return
    with open(path) as file:
        old = file.read()
    lines = [line.split(":") for line in old.splitlines()]
    for fields in lines:
        if fields[0] == username and fields[1].startswith("!"):
            fields[1] = "*"
    new = "".join(":".join(fields) + "\n" for fields in lines)
    if new != old:
        with open(path, "w") as file:
            file.write(new)


def main() -> int:
    signal.alarm(SECONDS)
    order = json.load(sys.stdin)
    os.set_inheritable(order["lock"], False)
    try:
        Starting(order).run()
    except (Failed, OSError) as problem:
        print(str(problem).strip(), file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
