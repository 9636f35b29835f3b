"""Processor time by cgroup."""

from __future__ import annotations

import contextlib
import os
from pathlib import Path


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
