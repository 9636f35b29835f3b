"""Starts QEMU for one machine of driver `qemu`: a program of its own that ends once QEMU runs, or says why it does not.

    python -I -S qemu_start.py DIRECTORY LOCK LARGEST_FILE [NETWORK_PROGRAM...] -- COMMAND...

In DIRECTORY it makes the sockets `qmp` and `identity`, which listen before QEMU runs: whoever connects need not try twice. `{qmp}` and
`{identity}` in the command become their file descriptors. QEMU is written down in `process.json` before it is QEMU: whoever was killed
half-way leaves no process that nobody knows of. LOCK, a file descriptor, keeps the machine locked until then. The network program and QEMU
have the ends of a pair of sockets, `{network}` in their commands; it ends when QEMU does, is written down in `network.json` and says to
`network.log` what it has to say.

Only the standard library, and little of it, since it starts for every node.
"""

from __future__ import annotations

import json
import os
import resource
import socket
import sys

SOCKETS = ("qmp", "identity")


def listen(name: str) -> socket.socket:
    if os.path.lexists(name):
        os.unlink(name)
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    listener.bind(name)
    listener.listen()
    os.set_inheritable(listener.fileno(), True)
    return listener


def record(process: int, name: str) -> None:
    """A process, and when it started, because numbers are used again. It stays the same one when it becomes another program."""
    with open(f"/proc/{process}/stat") as stat:
        started = int(stat.read().rpartition(")")[2].split()[19])
    with open(f"{name}.new", "w") as file:
        json.dump({"pid": process, "started": started}, file)
    os.replace(f"{name}.new", f"{name}.json")


def say_to(log: str) -> None:
    said = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    os.dup2(said, 1)
    os.dup2(said, 2)


def connect(program: list[str]) -> int:
    """Start the network program; QEMU's end of the pair."""
    ours, theirs = socket.socketpair()
    if (process := os.fork()) == 0:
        os.setsid()
        say_to("network.log")
        ours.close()
        os.set_inheritable(theirs.fileno(), True)
        os.execvp(program[0], [word.replace("{network}", str(theirs.fileno())) for word in program])
    theirs.close()
    record(process, "network")
    os.set_inheritable(ours.fileno(), True)
    return ours.detach()


def become(command: list[str], largest: int, problems: int, network: list[str]) -> None:
    try:
        os.setsid()
        record(os.getpid(), "process")
        if network:
            end = connect(network)
            command = [word.replace("{network}", str(end)) for word in command]
        resource.setrlimit(resource.RLIMIT_FSIZE, (largest, largest))
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
        say_to("qemu.log")
        os.execvp(command[0], command)
    except OSError as problem:
        os.write(problems, f"{command[0]} cannot be started: {problem.strerror}".encode())
    os._exit(1)


def main() -> int:
    directory, lock, largest, *words = sys.argv[1:]
    network, command = words[: words.index("--")], words[words.index("--") + 1 :]
    os.set_inheritable(int(lock), False)
    os.chdir(directory)
    os.umask(0o077)
    listening = {name: listen(name) for name in SOCKETS}
    for name, listener in listening.items():
        command = [word.replace(f"{{{name}}}", str(listener.fileno())) for word in command]
    began, problems = os.pipe()  # closed by becoming QEMU
    if os.fork() == 0:
        become(command, int(largest), problems, network)
    os.close(problems)
    if problem := os.read(began, 4096):
        print(problem.decode(), file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
