"""A node for tests: a real sshd on loopback with its own port, host key, user, home and authorized key.

with sshd_node(tmp_path) as server:
    server.node          # providers.base.Node, connection ssh
    server.private_key   # the key that may log in
    server.stop()        # the node is gone, with every process on it
"""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from providers.base import Node

USERNAME = "noderunner"


@dataclass
class SshNode:
    node: Node
    private_key: Path
    home: Path
    process: subprocess.Popen[bytes]

    def stop(self) -> None:
        """The machine is switched off: its processes die, connections to it break."""
        if self.process.poll() is None:
            os.killpg(self.process.pid, signal.SIGKILL)
            self.process.wait()


def make_key(path: Path) -> str:
    """A new key pair at `path`; returns the public line without its comment."""
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", "", "-f", str(path)], check=True)
    return path.with_suffix(".pub").read_text().strip()


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@contextmanager
def sshd_node(
    directory: Path,
    *,
    id: str = "node-1",
    label: str = "debian-12",
    path: str = "/usr/local/bin:/usr/bin:/bin",
    caches: Path | None = None,
) -> Iterator[SshNode]:
    """Runs until the context ends. `directory` gets a subdirectory named after the node's id; `path` is where programs are found on it;
    `caches` is what it has below /opt/git."""
    root = directory / id
    home = root / "home"
    home.mkdir(parents=True)
    host_key = make_key(root / "host")
    (root / "authorized").write_text(make_key(root / "key") + "\n")
    (root / "passwd").write_text(
        f"{USERNAME}:x:{os.getuid()}:{os.getgid()}:{USERNAME}:{home}:/bin/bash\nnobody:x:65534:65534::/:/bin/false\n"
        "sshd:x:100:65534::/run/sshd:/bin/false\n"
    )
    (root / "shadow").write_text(f"{USERNAME}:*:19000:0:99999:7:::\n")
    port = free_port()
    (root / "sshd_config").write_text(
        f"Port {port}\nListenAddress 127.0.0.1\nHostKey {root}/host\nAuthorizedKeysFile {root}/authorized\nPidFile none\n"
        "StrictModes no\nPasswordAuthentication no\nKbdInteractiveAuthentication no\nUsePAM no\nPermitRootLogin prohibit-password\n"
        f"MaxStartups 100\nMaxSessions 100\nSubsystem sftp internal-sftp\nLogLevel ERROR\nSetEnv PATH={path}\n"
    )
    # its own accounts and process namespace, but the machine's files: killing it is switching the machine off
    command = [
        *(
            "bwrap",
            "--dev-bind",
            "/",
            "/",
            "--ro-bind",
            str(root / "passwd"),
            "/etc/passwd",
            "--ro-bind",
            str(root / "shadow"),
            "/etc/shadow",
        ),
        *(("--tmpfs", "/opt", "--bind", str(caches), "/opt/git") if caches is not None else ()),
        *("--tmpfs", "/run", "--dir", "/run/sshd", "--proc", "/proc", "--unshare-pid", "--die-with-parent", "--new-session"),
        *(shutil.which("sshd", path="/usr/sbin:/usr/bin") or "sshd", "-D", "-e", "-f", str(root / "sshd_config")),
    ]
    process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stderr=subprocess.PIPE, start_new_session=True)
    node = Node(
        id=id,
        label=label,
        provider="test",
        external_id=id,
        connection="ssh",
        host="127.0.0.1",
        port=port,
        username=USERNAME,
        home=str(home),
        host_keys=(host_key,),
    )
    server = SshNode(node, root / "key", home, process)
    try:
        _wait_until_it_listens(server)
        yield server
    finally:
        server.stop()


def _wait_until_it_listens(server: SshNode) -> None:
    while server.process.poll() is None:
        try:
            with socket.create_connection(("127.0.0.1", server.node.port), timeout=10) as connection:
                if connection.recv(4) == b"SSH-":
                    return
        except ConnectionRefusedError:
            continue
    assert server.process.stderr is not None
    raise RuntimeError(f"sshd ended: {server.process.stderr.read().decode()}")
