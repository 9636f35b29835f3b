"""What a machine of driver `qemu` has for the internet: passt in a network namespace of its own, and pasta, which leads out of there.

    python -I -S qemu_network.py PASST PASTA SOCKET PORT

passt turns the guest's packets, which come by the connected SOCKET (a file descriptor), into connections of its own. Some releases of it
do so with packets to 127.0.0.1, too: so the loopback interface that it has is that of its namespace, where nobody listens. From there
pasta, which gets nothing but what the kernel has routed, goes on to what this machine reaches. PORT of this machine's loopback interface
leads to the guest's SSH server. This process becomes passt. pasta ends with it, and it ends when QEMU does.

No privileges are needed; root's give way to nobody's. Only the standard library, and nothing imported late, since nobody may not be able to
read it.
"""

from __future__ import annotations

import ctypes
import fcntl
import os
import select
import signal
import socket
import struct
import sys

NOBODY = 65534
INSIDE = 1000
"""Whoever runs this is so called in the namespace: not root, whom passt would not be."""
PR_SET_PDEATHSIG, PR_SET_DUMPABLE = 1, 4
CLONE_NEWUSER, CLONE_NEWNET = 0x10000000, 0x40000000
SIOCSIFFLAGS, IFF_UP = 0x8914, 0x1
RTMGRP_IPV4_ROUTE = 0x40
OWN, GATEWAY, RESOLVER = "198.18.0.2", "198.18.0.1", "198.18.0.3"
"""In the namespace (RFC 2544), where only passt and pasta see them."""
SSH = 2222
"""The namespace's port that leads to the guest's SSH server."""
QUIET = ("--foreground", "--quiet", "--ipv4-only", "--no-map-gw")
GUEST = ("--address", "10.0.2.15", "--netmask", "24", "--gateway", "10.0.2.2", "--mac-addr", "52:55:0a:00:02:02", "--mtu", "1500")
"""The addresses of QEMU's own network."""
_libc = ctypes.CDLL(None, use_errno=True)


def call(name: str, *arguments: int) -> None:
    if getattr(_libc, name)(*arguments) != 0:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))


def write(path: str, text: str) -> None:
    handle = os.open(path, os.O_WRONLY)
    os.write(handle, text.encode())
    os.close(handle)


def become_nobody() -> None:
    os.setgroups([])
    os.setgid(NOBODY)
    os.setuid(NOBODY)
    call("prctl", PR_SET_DUMPABLE, 1, 0, 0, 0)  # else what /proc has of this process stays root's


def enter_namespaces() -> None:
    user, group = os.getuid(), os.getgid()
    call("unshare", CLONE_NEWUSER | CLONE_NEWNET)
    write("/proc/self/setgroups", "deny")
    write("/proc/self/uid_map", f"{INSIDE} {user} 1")
    write("/proc/self/gid_map", f"{INSIDE} {group} 1")
    with socket.socket() as any_socket:
        fcntl.ioctl(any_socket, SIOCSIFFLAGS, struct.pack("16sh14x", b"lo", IFF_UP))


def has_default_route() -> bool:
    handle = os.open("/proc/self/net/route", os.O_RDONLY)
    lines = os.read(handle, 1 << 16).decode().splitlines()
    os.close(handle)
    return any(line.split()[1] == "00000000" for line in lines[1:])


def lead_out(pasta: str, port: str, namespaces: str, begin: int) -> None:
    """Become pasta when there is something to read at `begin`, and end with the parent."""
    call("prctl", PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    if not os.read(begin, 1):
        os._exit(1)
    words = [*QUIET, "--config-net", "-I", "outside", "-a", OWN, "-n", "29", "-g", GATEWAY, "--dns-forward", RESOLVER]
    words += ["-t", f"127.0.0.1/{port}:{SSH}", "-u", "none", "-T", "none", "-U", "none"]
    os.execv(pasta, ["pasta", *words, "--userns", f"{namespaces}/user", "--netns", f"{namespaces}/net"])


def refuse(problem: OSError) -> None:
    sys.exit(
        f"this machine lets its users make no network namespaces ({problem.strerror}), without which guests would reach its loopback "
        "interface: allow user namespaces (user.max_user_namespaces, kernel.unprivileged_userns_clone, "
        "kernel.apparmor_restrict_unprivileged_userns), or set internet: false"
    )


def main() -> None:
    passt, pasta, guest, port = sys.argv[1:]
    signal.signal(signal.SIGPIPE, signal.SIG_DFL)  # pasta of Debian 12 does not start without
    if os.getuid() == 0:
        try:
            become_nobody()
        except OSError as problem:
            refuse(problem)
    begin, ready = os.pipe()
    namespaces = f"/proc/{os.getpid()}/ns"
    if (outer := os.fork()) == 0:
        os.close(int(guest))
        os.close(ready)
        lead_out(pasta, port, namespaces, begin)
    try:
        enter_namespaces()
    except OSError as problem:
        refuse(problem)
    with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, 0) as routes:
        routes.bind((0, RTMGRP_IPV4_ROUTE))
        os.write(ready, b"x")
        ended = os.pidfd_open(outer)
        poll = select.poll()
        for handle in (routes.fileno(), ended):
            poll.register(handle, select.POLLIN)
        while not has_default_route():  # without one passt does not start
            if ended in dict(poll.poll()):
                sys.exit(1)  # pasta has said why
            routes.recv(1 << 16)
    os.set_inheritable(int(guest), True)
    words = [*QUIET, *GUEST, "--fd", guest, "--dns", RESOLVER, "--dns-forward", "10.0.2.3"]
    os.execv(passt, ["passt", *words, "--udp-ports", "none", "--tcp-ports", f"127.0.0.1/{SSH}:22"])


if __name__ == "__main__":
    main()
