"""The warm process, one per worker, that playbooks are forked from: `tasks.ansible.zygote`, started on first use and when it died."""

from __future__ import annotations

import asyncio
import atexit
import os
import shutil
import subprocess
import sys
import tempfile
import threading
from dataclasses import dataclass
from pathlib import Path

from ansible_runner.config._base import get_callback_dir  # where ansible-runner's own callback plugin is; it has no public name

import tasks.ansible
from tasks.sandbox import Bind, environment

PLUGINS = Path(tasks.ansible.__file__).parent
CLIENT = PLUGINS / "client.py"
START = "import sys; sys.path.insert(0, sys.argv.pop(1)); from tasks.ansible.zygote import main; main()"
START_SECONDS = 60


class ZygoteProblem(Exception):
    """Ansible does not start; one sentence with its reason."""


def ansible_environment(home: Path) -> dict[str, str]:
    """What Ansible is told by its environment. It must be the same in the zygote, which reads it once, and in each playbook."""
    return {
        "ANSIBLE_CALLBACK_PLUGINS": f"{PLUGINS / 'callback'}:{get_callback_dir()}",
        "ANSIBLE_CONFIG": str(PLUGINS / "ansible.cfg"),
        "ANSIBLE_HOME": "/build/.ansible",
        "ANSIBLE_LIBRARY": f"{PLUGINS / 'library'}:{home / 'library'}",
        "ANSIBLE_NOCOLOR": "1",
        "ANSIBLE_STDOUT_CALLBACK": "awx_display",
    }


@dataclass(slots=True)
class Zygote:
    """A running zygote. Its directory has what the sandboxes share, read-only, and its socket."""

    process: subprocess.Popen[bytes]
    directory: Path
    owner: int
    """The process that started it. One forked from that has to start its own."""

    @classmethod
    def start(cls) -> Zygote:
        """Start one and wait until it is warm (about half a second). Raises `ZygoteProblem`."""
        directory = Path(tempfile.mkdtemp(prefix="headgate-"))
        (directory / "tmp").mkdir()
        (directory / "packed").mkdir()
        log = directory / "stderr"
        with log.open("wb") as err:
            process = subprocess.Popen(
                [sys.executable, "-I", "-X", "utf8", "-c", START, str(PLUGINS.parents[1]), str(directory / "socket")],
                env={
                    **environment("headgate", str(directory)),
                    **ansible_environment(directory),
                    "ANSIBLE_LOCAL_TEMP": str(directory / "tmp"),
                },
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=err,
                cwd=directory,
            )
        zygote = cls(process, directory, os.getpid())
        late = threading.Timer(START_SECONDS, process.kill)
        late.start()
        assert process.stdout is not None
        said = process.stdout.readline()
        late.cancel()
        if said != b"ready\n":
            reason = " ".join(log.read_text(errors="replace").split("\n")[-2:]).strip()
            zygote.stop()
            raise ZygoteProblem(f"the process that playbooks are forked from does not start: {reason or 'it ended without a word'}")
        atexit.register(zygote.stop)
        return zygote

    @property
    def alive(self) -> bool:
        return self.owner == os.getpid() and self.process.poll() is None

    def binds(self) -> tuple[Bind, ...]:
        """What every sandbox needs of it."""
        return tuple(Bind(path, str(path)) for path in (PLUGINS, self.directory / "library", self.directory / "packed"))

    def command(self, request: str) -> list[str]:
        """The command line that plays `request` (the path of a file) and ends as its playbook does."""
        return [sys.executable, "-I", "-S", str(CLIENT), str(self.directory / "socket"), request]

    def stop(self) -> None:
        """End it; playbooks going on are not touched. Repeatable; nothing in a process that has not started it."""
        if self.owner != os.getpid():
            return
        atexit.unregister(self.stop)
        self.process.kill()
        self.process.wait()
        for pipe in (self.process.stdin, self.process.stdout):
            if pipe is not None:
                pipe.close()
        shutil.rmtree(self.directory, ignore_errors=True)


_lock = threading.Lock()
_current: Zygote | None = None


def _alive() -> Zygote:
    global _current
    with _lock:
        if _current is None or not _current.alive:
            if _current is not None:
                _current.stop()
            _current = None
            _current = Zygote.start()
        return _current


async def zygote() -> Zygote:
    """This process's zygote, warm. A worker may call it at its start, so that the first build need not wait. Raises `ZygoteProblem`."""
    return _current if _current is not None and _current.alive else await asyncio.to_thread(_alive)
