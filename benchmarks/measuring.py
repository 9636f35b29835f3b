"""What is measured with: processor time by cgroup, and bare `ansible-playbook` to compare with."""

from __future__ import annotations

import asyncio
import contextlib
import os
import subprocess
import sys
from pathlib import Path

from tests.services.sshd import SshNode


class Meter:
    """Processor seconds of the processes in a cgroup of its own and all their descendants, dead or alive: of this process, or with
    `join` false of whoever joins `group`."""

    def __init__(self, name: str = "benchmark", join: bool = True) -> None:
        old = Path("/sys/fs/cgroup/cpuacct")
        self.usage = "cpuacct.usage" if old.exists() else "cpu.stat"
        self.group: Path | None = (old if old.exists() else Path("/sys/fs/cgroup")) / f"headgate-{name}-{os.getpid()}"
        try:
            self.group.mkdir()
            if join:
                (self.group / "cgroup.procs").write_text(str(os.getpid()))
        except OSError:
            self.group = None

    def seconds(self) -> float:
        if self.group is None:
            return float("nan")
        text = (self.group / self.usage).read_text()
        return int(text) / 1e9 if self.usage == "cpuacct.usage" else int(text.split()[1]) / 1e6

    def close(self) -> None:
        if self.group is not None:
            with contextlib.suppress(OSError):
                (self.group.parent / "cgroup.procs").write_text(str(os.getpid()))
                self.group.rmdir()


class Bare:
    """`ansible-playbook` on one node over ssh, set as whoever wants it fast sets it: pipelining, one connection kept."""

    def __init__(self, directory: Path, server: SshNode) -> None:
        node, self.directory = server.node, directory
        directory.mkdir(exist_ok=True)
        hosts = directory / "known_hosts"
        hosts.write_text(f"[{node.host}]:{node.port} {node.host_keys[0]}\n")
        (directory / "inventory.yaml").write_text(
            f"all: {{hosts: {{node: {{ansible_host: {node.host}, ansible_port: {node.port}, ansible_user: {node.username}, "
            f"ansible_ssh_private_key_file: {server.private_key}, ansible_python_interpreter: {node.python_path}}}}}}}\n"
        )
        (directory / "ansible.cfg").write_text(
            "[connection]\npipelining = True\n[ssh_connection]\npipelining = True\n"
            f"ssh_args = -F none -o ControlMaster=auto -o ControlPersist=5s -o UserKnownHostsFile={hosts}\n"
        )

    async def run(self, playbook: Path) -> None:
        programs = Path(sys.executable).parent
        process = await asyncio.create_subprocess_exec(
            *(str(programs / "ansible-playbook"), "-i", str(self.directory / "inventory.yaml"), str(playbook)),
            env={**os.environ, "ANSIBLE_CONFIG": str(self.directory / "ansible.cfg"), "PATH": f"{programs}:/usr/bin:/bin"},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,  # a kept ssh connection would keep ours open
        )
        assert await process.wait() == 0
