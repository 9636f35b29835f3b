"""A real sshd on loopback that stands for a node: this machine, this user, keys of its own."""

from __future__ import annotations

import getpass
import os
import shutil
import signal
import socket
import subprocess
import threading
from pathlib import Path
from queue import Queue

import asyncssh


class Sshd:
    """Runs in `directory` between `start` and `stop`; port and keys stay the same over restarts.

    `private_key` (a file) logs in as `username`; `authorized_keys` is the file sshd reads; `host_key` is a known_hosts key part.
    """

    def __init__(self, directory: Path) -> None:
        directory.mkdir(parents=True, exist_ok=True)
        self.username = getpass.getuser()
        self.private_key = directory / "login"
        self.authorized_keys = directory / "authorized_keys"
        self._directory = directory
        self._process: subprocess.Popen[str] | None = None
        self.host_key = _make_key(directory / "host_key")
        self.authorized_keys.write_text(_make_key(self.private_key) + " owner\n")
        self.authorized_keys.chmod(0o600)
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port: int = probe.getsockname()[1]

    def start(self) -> Sshd:
        """Returns when connections are taken."""
        if os.geteuid() == 0:
            Path("/run/sshd").mkdir(exist_ok=True)
        settings = {
            "ListenAddress": f"127.0.0.1:{self.port}",
            "HostKey": self._directory / "host_key",
            "AuthorizedKeysFile": self.authorized_keys,
            "PidFile": "none",
            "UsePAM": "no",
            "StrictModes": "no",
            "PasswordAuthentication": "no",
            "PermitRootLogin": "prohibit-password",
            "MaxStartups": "100",
            "MaxSessions": "100",
            "Subsystem": "sftp internal-sftp",
        }
        configuration = self._directory / "sshd_config"
        configuration.write_text("".join(f"{name} {value}\n" for name, value in settings.items()))
        program = shutil.which("sshd", path=f"{os.environ['PATH']}:/usr/sbin")
        assert program, "sshd is not installed (Debian: openssh-server)"
        process = subprocess.Popen(
            [program, "-D", "-e", "-f", str(configuration)], stderr=subprocess.PIPE, text=True, start_new_session=True
        )
        self._process = process
        said: Queue[str] = Queue()
        threading.Thread(target=lambda: [said.put(line) for line in process.stderr or ()] + [said.put("")], daemon=True).start()
        heard = ""
        while line := said.get():
            heard += line
            if line.startswith("Server listening"):
                return self
        raise AssertionError(f"sshd did not start: {heard}")

    def stop(self) -> None:
        """As a machine that vanishes: sessions end too."""
        if self._process:
            os.killpg(self._process.pid, signal.SIGKILL)
            self._process.wait()
            self._process = None


def _make_key(path: Path) -> str:
    """Write an Ed25519 key pair; the public key's type and data."""
    key = asyncssh.generate_private_key("ssh-ed25519")
    path.write_bytes(key.export_private_key())
    path.chmod(0o600)
    return " ".join(key.export_public_key().decode().split()[:2])
