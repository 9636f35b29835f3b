"""An S3 on loopback (moto's) whose door can be shut: whoever puts an object then waits until it is opened, or until he is killed."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest


class ObjectStore:
    def __init__(self, inner: Callable[..., Any]) -> None:
        self._inner = inner
        self.open = threading.Event()
        self.open.set()
        self.waiting = threading.Event()
        self.put: Counter[str] = Counter()
        self.url = ""

    def shut(self) -> None:
        """The first object of each upload gets in, the others wait."""
        self.waiting.clear()
        self.open.clear()

    def __call__(self, environment: dict[str, Any], start: Callable[..., Any]) -> Any:
        path = environment["PATH_INFO"]
        if environment["REQUEST_METHOD"] == "PUT" and path.count("/") > 1:
            if not self.open.is_set() and self.put:
                self.waiting.set()
                self.open.wait()
            self.put[path] += 1
        return self._inner(environment, start)


@contextmanager
def object_store() -> Iterator[ObjectStore]:
    moto = pytest.importorskip("moto.server")
    from werkzeug.serving import make_server

    store = ObjectStore(moto.DomainDispatcherApplication(moto.create_backend_app))
    server = make_server("127.0.0.1", 0, store, threaded=True)
    store.url = f"http://127.0.0.1:{server.port}"
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield store
    store.open.set()
    server.shutdown()
