"""A shell for a person where a job has run: in the build's sandbox on this machine, or on a node behind ssh.

Run as a program (`python -m tasks.terminal PID DIRECTORY`) it is what enters the sandbox: it needs a process of its own, with its
environment already that of the sandbox.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import pty
import select
import signal
import subprocess
import sys
import termios
import tty
from collections.abc import Mapping, Sequence
from pathlib import Path

from tasks.ansible.zygote import enter, give_up_capabilities

ROOT = Path(__file__).parents[1]
START = "import sys; sys.path.insert(0, sys.argv.pop(1)); from tasks.terminal import main; main()"


def sandbox_shell(process: int, directory: str) -> list[str]:
    """The command line of a shell in the sandbox that `process` is in, in `directory` there."""
    return [sys.executable, "-I", "-c", START, str(ROOT), str(process), directory]


def talk(command: Sequence[str], environment: Mapping[str, str]) -> int:
    """Run `command` in a terminal of its own (what runs in it can do nothing to ours) that shows in ours; its exit code."""
    outer, inner = pty.openpty()
    with contextlib.suppress(OSError):
        fcntl.ioctl(inner, termios.TIOCSWINSZ, fcntl.ioctl(0, termios.TIOCGWINSZ, b"\0" * 8))
    process = subprocess.Popen(command, env=dict(environment), stdin=inner, stdout=inner, stderr=inner, start_new_session=True)
    os.close(inner)
    before = None
    with contextlib.suppress(termios.error):  # not a terminal: a script speaks
        before = termios.tcgetattr(0)
        tty.setraw(0)
    try:
        _copy(outer)
    finally:
        if before is not None:
            termios.tcsetattr(0, termios.TCSAFLUSH, before)
        os.close(outer)
    return process.wait()


def _copy(outer: int) -> None:
    """Between our terminal and the other one, until that has nobody in it."""
    sources = [0, outer]
    while True:
        for source in select.select(sources, [], [])[0]:
            try:
                data = os.read(source, 65536)
            except OSError:  # what Linux says when the last one has left a terminal
                data = b""
            if source == outer:
                if not data:
                    return
                os.write(1, data)
            elif data:
                os.write(outer, data)
            else:
                sources.remove(0)
                os.write(outer, b"\x04")  # the end, as a terminal says it


def main() -> None:
    """Enter the sandbox of process `argv[1]` and be a shell in directory `argv[2]` there, with this terminal."""
    process, directory = int(sys.argv[1]), sys.argv[2]
    enter(process)
    child = os.fork()
    if child == 0:
        os.setsid()
        fcntl.ioctl(0, termios.TIOCSCTTY, 0)
        give_up_capabilities()
        os.chdir(directory)
        signal.signal(signal.SIGPIPE, signal.SIG_DFL)
        os.execv("/bin/bash", ["bash", "--norc", "-i"])  # noqa: S606 - a shell is what was asked for
    _, status = os.waitpid(child, 0)
    os._exit(max(0, os.waitstatus_to_exitcode(status)))
