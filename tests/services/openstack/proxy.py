"""A proxy before a real API that lets it fail as real ones do: it refuses, breaks, hangs, loses answers, or kills who asks.

with FaultyProxy(nova_url) as proxy:
    proxy.faults.append(Fault("POST", "/servers", status=429, headers={"Retry-After": "1"}))
"""

from __future__ import annotations

import http.client
import re
import threading
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import urlsplit


@dataclass
class Fault:
    """For the next `times` requests of a method whose path ends like `path`. With `forward` the API gets the request all the same and only
    the answer is lost. `status` 0: the connection is closed without an answer."""

    method: str
    path: str
    status: int = 0
    body: bytes = b""
    headers: Mapping[str, str] = field(default_factory=dict)
    forward: bool = False
    times: int = 1


@dataclass
class FaultyProxy:
    """`before` and `after` are called with the number of each request (from 1): before the API gets it, and when it has answered."""

    target: str
    faults: list[Fault] = field(default_factory=list)
    before: Callable[[int], None] = field(default=lambda number: None)
    after: Callable[[int], None] = field(default=lambda number: None)
    calls: Counter[str] = field(default_factory=Counter)

    def __enter__(self) -> FaultyProxy:
        proxy, lock = self, threading.Lock()

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def handle_one(self) -> None:
                body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
                with lock:
                    proxy.calls[f"{self.command} {self.path.partition('?')[0]}"] += 1
                    number = proxy.calls.total()
                    fault = proxy.fault(self.command, self.path.partition("?")[0])
                proxy.before(number)
                if fault is None or fault.forward:
                    status, headers, answer = proxy.ask(self.command, self.path, body, dict(self.headers))
                proxy.after(number)
                if fault is not None:
                    status, headers, answer = fault.status, list(fault.headers.items()), fault.body
                if not status:
                    self.close_connection = True
                    return
                self.send_response(status)
                for key, value in headers:
                    if key.lower() not in ("content-length", "transfer-encoding", "connection", "date", "server"):
                        self.send_header(key, value)
                self.send_header("Content-Length", str(len(answer)))
                self.end_headers()
                self.wfile.write(answer)

            do_GET = do_POST = do_DELETE = do_PUT = handle_one

            def log_message(self, format: str, *arguments: object) -> None:
                return

        class Server(ThreadingHTTPServer):
            request_queue_size = 100

            def handle_error(self, request: object, client_address: object) -> None:
                """Who asked was killed: that is what this is for."""

        self._server = Server(("127.0.0.1", 0), Handler)
        threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._server.server_port}{urlsplit(self.target).path}"

    def fault(self, method: str, path: str) -> Fault | None:
        for fault in self.faults:
            if fault.times and fault.method == method and re.search(f"{fault.path}$", path):
                fault.times -= 1
                return fault
        return None

    def ask(self, method: str, path: str, body: bytes, headers: dict[str, str]) -> tuple[int, list[tuple[str, str]], bytes]:
        connection = http.client.HTTPConnection(urlsplit(self.target).netloc, timeout=120)
        connection.request(method, path, body, {key: value for key, value in headers.items() if key.lower() != "connection"})
        answer = connection.getresponse()
        read = answer.status, answer.getheaders(), answer.read()
        connection.close()
        return read
