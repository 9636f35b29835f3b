"""Guests: an SSH server each, with accounts, host key, home, host name and process namespace of its own; the files are this machine's."""

from __future__ import annotations

import io
import os
import shutil
import subprocess
import tarfile
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from guest_neutron import SSH_PORT


@dataclass(frozen=True)
class Guest:
    hostname: str
    address: str
    username: str
    keys: tuple[str, ...]


class Guests:
    """By the server's id. They end with the thread that started them, so that one does it which stays until the process ends."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._keeper = ThreadPoolExecutor(1)
        self._running: dict[str, subprocess.Popen[bytes]] = {}

    def start(self, server_id: str, guest: Guest, home: bytes = b"") -> None:
        """`home` is a tar file that was made by `home`."""
        root = self._directory / server_id
        (root / "home").mkdir(parents=True)
        if home:
            subprocess.run(["tar", "-x", "-C", root / "home"], input=home, check=True)  # tarfile's filters are too new for Debian 12
        _write_files(root, guest)
        self._running[server_id] = self._keeper.submit(_run, root, guest).result()

    def stop(self, server_id: str) -> None:
        if process := self._running.pop(server_id, None):
            process.kill()
            process.wait()
        shutil.rmtree(self._directory / server_id, ignore_errors=True)

    def home(self, server_id: str) -> bytes:
        packed = io.BytesIO()
        with tarfile.open(fileobj=packed, mode="w") as archive:
            archive.add(self._directory / server_id / "home", ".")
        return packed.getvalue()

    def console(self, server_id: str) -> str:
        """As cloud-init ends its part of it."""
        key = self._directory / server_id / "host.pub"
        shown = key.read_text().strip() if key.exists() else ""
        return f"-----BEGIN SSH HOST KEY KEYS-----\n{shown}\n-----END SSH HOST KEY KEYS-----\n" if shown else "no network\n"


def _write_files(root: Path, guest: Guest) -> None:
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", "", "-f", root / "host"], check=True)
    keys = root / "home" / ".ssh" / "authorized_keys"
    keys.parent.mkdir(mode=0o700, exist_ok=True)
    keys.write_text("".join(f"{key}\n" for key in guest.keys))
    (root / "passwd").write_text(
        f"{guest.username}:x:{os.getuid()}:{os.getgid()}::/home/{guest.username}:/bin/bash\nnobody:x:65534:65534::/:/bin/false\n"
        "sshd:x:100:65534::/run/sshd:/bin/false\n"
    )
    (root / "shadow").write_text(f"{guest.username}:*:19000:0:99999:7:::\n")
    (root / "sshd_config").write_text(
        f"Port {SSH_PORT}\nListenAddress {guest.address}\nHostKey {root}/host\nPidFile none\nStrictModes no\n"
        "PasswordAuthentication no\nKbdInteractiveAuthentication no\nUsePAM no\nPermitRootLogin prohibit-password\n"
        "MaxStartups 100\nMaxSessions 100\nSubsystem sftp internal-sftp\nLogLevel ERROR\n"
    )


def _run(root: Path, guest: Guest) -> subprocess.Popen[bytes]:
    bound = {"/etc/passwd": root / "passwd", "/etc/shadow": root / "shadow"}
    command = [
        *("bwrap", "--dev-bind", "/", "/", "--tmpfs", "/home", "--bind", str(root / "home"), f"/home/{guest.username}"),
        *(word for inside, file in bound.items() for word in ("--ro-bind", str(file), inside)),
        *("--bind", str(root), str(root), "--tmpfs", "/run", "--dir", "/run/sshd", "--proc", "/proc", "--unshare-pid", "--unshare-uts"),
        *("--hostname", guest.hostname, "--die-with-parent", "--new-session"),
        *(shutil.which("sshd", path="/usr/sbin:/usr/bin") or "sshd", "-D", "-e", "-f", str(root / "sshd_config")),
    ]
    with (root / "sshd.log").open("wb") as log:
        return subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=log, stderr=log)
