"""Processes that fork instead of importing again, serve WSGI applications, and die with their parent."""

from __future__ import annotations

import ctypes
import os
import signal
import sys
import threading
import time
import traceback
import urllib.error
import urllib.request
from collections.abc import Callable
from pathlib import Path
from typing import Any, NoReturn

PR_SET_PDEATHSIG = 1
START_SECONDS = 500.0


def die_with(parent: int) -> None:
    """SIGKILL for this process when the thread of `parent` that started it ends."""
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:
        os._exit(1)


def fork(action: Callable[..., None], *arguments: Any, log: Path | None = None) -> int:
    """A child that does `action` and ends; its process id. With `log`, what it writes goes there."""
    sys.stdout.flush()
    sys.stderr.flush()
    parent = os.getpid()
    child = os.fork()
    if child:
        return child
    die_with(parent)
    if log is not None:
        handle = os.open(log, os.O_CREAT | os.O_APPEND | os.O_WRONLY)
        os.dup2(handle, 1)
        os.dup2(handle, 2)
    code = 1
    try:
        action(*arguments)
        code = 0
    except SystemExit as ended:
        code = ended.code if isinstance(ended.code, int) else 0 if ended.code is None else 1
    except BaseException:  # noqa: BLE001 - it is the last thing this process does
        traceback.print_exc()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)


def fork_and_wait(action: Callable[..., None], *arguments: Any) -> None:
    """`action` in a child, so that what it sets in its process stays there."""
    if os.waitpid(fork(action, *arguments), 0)[1]:
        raise SystemExit(f"{action} failed")


def wait_for_children() -> NoReturn:
    """Servers do not end by themselves: the first that does takes the others along."""
    child, status = os.wait()
    raise SystemExit(f"process {child} ended with {os.waitstatus_to_exitcode(status)}")


def called(*arguments: str) -> None:
    """What the OpenStack commands and oslo.config read as the command line."""
    sys.argv[:] = arguments


def serve(application: Any, port: int, threads: int = 16) -> None:
    from cheroot import wsgi

    def kept_alive(environ: dict[str, Any], start_response: Callable[..., Any]) -> Any:
        environ["wsgi.input"].close = lambda: None  # Glance closes its input, and cheroot the connection with it before the next request
        return application(environ, start_response)

    server = wsgi.Server(("127.0.0.1", port), kept_alive, numthreads=threads, request_queue_size=512, timeout=60)
    server.prepare()
    server.serve()


def serve_in_thread(application: Any, port: int) -> None:
    threading.Thread(target=serve, args=(application, port), daemon=True).start()


def wait_for_answer(url: str) -> None:
    """Until an HTTP server answers there, with whatever."""
    deadline = time.monotonic() + START_SECONDS
    while True:
        try:
            urllib.request.urlopen(url, timeout=5).close()
            return
        except urllib.error.HTTPError:
            return
        except OSError:
            if time.monotonic() > deadline:
                raise SystemExit(f"no answer from {url}") from None
            time.sleep(0.1)
