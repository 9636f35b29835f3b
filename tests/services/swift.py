"""OpenStack Swift's own four servers on loopback, with one device, for tests: no replication, no authentication.

HEADGATE_SWIFT names the directory of Swift's programs (`pip install swift` into an environment of its own).
"""

from __future__ import annotations

import os
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

PROGRAMS = os.environ.get("HEADGATE_SWIFT", "")
SERVER = """[DEFAULT]
bind_ip = 127.0.0.1
bind_port = {port}
devices = {root}/devices
mount_check = false
user = {user}
swift_dir = {root}
workers = 0
log_address = {root}/no-syslog
[pipeline:main]
pipeline = {pipeline}
[app:{kind}-server]
use = egg:swift#{kind}
"""
PROXY = """allow_account_management = true
account_autocreate = true
[filter:dlo]
use = egg:swift#dlo
[filter:cache]
use = egg:swift#memcache
memcache_servers = 127.0.0.1:9
[filter:catch_errors]
use = egg:swift#catch_errors
"""


def _free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])


@contextmanager
def swift_servers(root: Path) -> Iterator[str]:
    """The address of an account while this lasts."""
    (root / "devices/d1").mkdir(parents=True)
    (root / "swift.conf").write_text("[swift-hash]\nswift_hash_path_prefix = a\nswift_hash_path_suffix = b\n")
    ports = {kind: _free_port() for kind in ("account", "container", "object", "proxy")}
    for kind in ("account", "container", "object"):
        builder = str(root / f"{kind}.builder")
        for command in (
            ("create", "4", "1", "0"),
            ("add", f"r1z1-127.0.0.1:{ports[kind]}/d1", "1"),
            ("rebalance",),
        ):
            subprocess.run([f"{PROGRAMS}/swift-ring-builder", builder, *command], check=True, capture_output=True)
    environment = {**os.environ, "SWIFT_CONF": str(root / "swift.conf")}
    servers = []
    try:
        for kind, port in ports.items():
            pipeline = f"{kind}-server" if kind != "proxy" else "catch_errors cache dlo proxy-server"
            text = SERVER.format(port=port, root=root, user=os.environ.get("USER", "root"), pipeline=pipeline, kind=kind)
            (root / f"{kind}.conf").write_text(text + (PROXY if kind == "proxy" else ""))
            log = (root / f"{kind}.log").open("wb")
            command = [f"{PROGRAMS}/swift-{kind}-server", str(root / f"{kind}.conf"), "-v"]
            servers.append(subprocess.Popen(command, stdout=log, stderr=log, env=environment))
        _wait(ports, root)
        yield f"http://127.0.0.1:{ports['proxy']}/v1/AUTH_test"
    finally:
        for server in servers:
            server.terminate()
        for server in servers:
            server.wait()


def _wait(ports: dict[str, int], root: Path) -> None:
    """Until all listen."""
    end = time.monotonic() + 60
    for kind, port in ports.items():
        while True:
            try:
                socket.create_connection(("127.0.0.1", port), 1).close()
                break
            except OSError:
                if time.monotonic() > end:
                    raise RuntimeError((root / f"{kind}.log").read_text()[-2000:]) from None
                time.sleep(0.05)
