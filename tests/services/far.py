"""Another machine: a network namespace of its own, which reaches this one by a cable, and which sees nothing of a directory of ours."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.services.forward import Forward

ROOT = Path(__file__).parent.parent.parent


def run(*command: str) -> None:
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, f"{' '.join(command)}: {done.stderr}"


class FarMachine:
    """`here` is this machine's address as seen from there. Only for root."""

    def __init__(self, number: int = os.getpid() % 250) -> None:
        self.name = f"headgate-far-{os.getpid()}"
        self.here, self._there = f"10.199.{number}.1", f"10.199.{number}.2"
        self._cable = f"hgf{os.getpid()}"[:14]
        self._forwards: list[Forward] = []
        self._programs: list[subprocess.Popen[bytes]] = []
        run("ip", "netns", "add", self.name)
        run("ip", "link", "add", self._cable, "type", "veth", "peer", "name", "cable", "netns", self.name)
        run("ip", "address", "add", f"{self.here}/30", "dev", self._cable)
        run("ip", "link", "set", self._cable, "up")
        for words in (f"address add {self._there}/30 dev cable", "link set cable up", "link set lo up"):
            run("ip", "-n", self.name, *words.split())

    def reach(self, target: str) -> int:
        """The port of `here` at which that machine reaches what is on loopback, or at a unix socket, of this one."""
        self._forwards.append(Forward(self.here, target))
        return self._forwards[-1].port

    def as_local(self, port: int) -> None:
        """What listens at the port of this machine's loopback is on that machine's loopback too."""
        far = self.reach(f"127.0.0.1:{port}")
        words = [sys.executable, "-m", "tests.services.forward", "127.0.0.1", str(port), f"{self.here}:{far}"]
        self._programs.append(subprocess.Popen(["ip", "netns", "exec", self.name, *words], cwd=ROOT))

    def start(self, words: list[str], hidden: Path, output: Path) -> subprocess.Popen[bytes]:
        """Run a program there, for which `hidden` is an empty directory; its process is the one that is returned."""
        script = 'hostname far && mount -t tmpfs none "$0" && exec "$@"'
        command = ["ip", "netns", "exec", self.name, "unshare", "--mount", "--uts", "sh", "-c", script, str(hidden), *words]
        with output.open("ab") as file:
            return subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=file, stderr=file, cwd="/")

    def close(self) -> None:
        for program in self._programs:
            program.kill()
            program.wait()
        for forward in self._forwards:
            forward.close()
        subprocess.run(["ip", "netns", "delete", self.name], check=True)
        subprocess.run(["ip", "link", "delete", self._cable], capture_output=True)  # it went with its other end


def far_machine() -> FarMachine:
    if os.geteuid() != 0:
        pytest.skip("only root may make a network namespace")
    return FarMachine()
