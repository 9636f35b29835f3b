"""A bell for jobs of tests: a job rings, says who it is, and waits until the test lets it go. So a story has facts to wait for (the job
runs; its processes are gone) and decides how long a job takes and how it ends.
"""

from __future__ import annotations

import contextlib
import json
import socketserver
import threading
from dataclasses import dataclass, field
from typing import Any

from tests.services.until import until

RING = """\
import json, os, socket, subprocess, sys
commit = subprocess.check_output(["git", "rev-parse", "HEAD"], text=True).strip()
bell = socket.create_connection(("127.0.0.1", int(sys.argv[1])))
who = {"change": int(sys.argv[2]), "patchset": int(sys.argv[3]), "job": sys.argv[4], "build": sys.argv[5], "commit": commit}
bell.sendall(json.dumps(who).encode() + b"\\n")
lines = bell.makefile()
while (line := lines.readline()):
    word, _, rest = line.strip().partition(" ")
    if word == "end":
        sys.exit(int(rest))
    print(rest, flush=True)
sys.exit("nobody answered the bell")
"""
"""The program of such a job: `ring.py PORT CHANGE PATCHSET JOB BUILD`, in a git repository."""


@dataclass
class Ring:
    """One job at the bell."""

    change: int
    patchset: int
    job: str
    build: str
    commit: str
    _file: Any = field(repr=False)
    _gone: threading.Event = field(default_factory=threading.Event, repr=False)

    def print(self, text: str) -> None:
        """The job writes a line on its console."""
        self._send(f"print {text}\n")

    def end(self, code: int = 0) -> None:
        """The job ends with that exit code."""
        self._send(f"end {code}\n")

    def _send(self, line: str) -> None:
        with contextlib.suppress(OSError, ValueError):  # it was killed meanwhile, or has ended
            self._file.write(line.encode())
            self._file.flush()

    @property
    def gone(self) -> bool:
        """Its process has ended, however."""
        return self._gone.is_set()


class Bell:
    """Listens on `port` until closed."""

    def __init__(self) -> None:
        self.rings: list[Ring] = []
        self._forgotten = 0
        bell = self

        class Handler(socketserver.StreamRequestHandler):
            def handle(self) -> None:
                with contextlib.suppress(OSError):
                    ring = Ring(**json.loads(self.rfile.readline()), _file=self.wfile)
                    bell.rings.append(ring)
                    if ring.change <= bell._forgotten:
                        ring.end(1)
                    self.rfile.read()
                    ring._gone.set()

        socketserver.ThreadingTCPServer.daemon_threads = True
        socketserver.ThreadingTCPServer.request_queue_size = 100
        self._server = socketserver.ThreadingTCPServer(("127.0.0.1", 0), Handler)
        self.port = int(self._server.server_address[1])
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    def of(self, change: int, job: str = "") -> list[Ring]:
        return [ring for ring in self.rings if ring.change == change and job in ("", ring.job)]

    async def ring(self, change: int, job: str = "", number: int = 1) -> Ring:
        """The `number`th time that this job of this change rings."""
        await until(lambda: len(self.of(change, job)) >= number, f"{job or 'a job'} of change {change} runs (time {number})")
        return self.of(change, job)[number - 1]

    def forget(self, change: int) -> None:
        """Let go whatever rings, now or later, of changes up to that number: their story is over."""
        self._forgotten = change
        for ring in self.rings:
            if ring.change <= change:
                ring.end(1)

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()
