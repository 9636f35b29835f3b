"""`up PLAN HANDLE`: starts everything, fills it, writes `ready` to the open file HANDLE, and stays until it is told to end or its parent
dies. `zygote PROJECT PLAN`: imports one project's code once and forks a server for each region.
"""

from __future__ import annotations

import importlib
import os
import signal
import subprocess
import sys
import threading
from pathlib import Path

import configurations
import processes
import seed
from plan import Plan

PROJECTS = ("keystone", "nova", "neutron", "glance")


def up(path: Path, ready: int) -> None:
    plan = Plan.read(path)
    configurations.write(plan)
    zygotes = {}
    for project in (*PROJECTS, *(("cinder",) if any(facts["volumes"] for facts in plan.regions.values()) else ())):
        log = (plan.directory / "log" / f"{project}.log").open("ab")
        command = [sys.executable, "-W", "ignore", Path(__file__).parent, "zygote", project, path]
        zygotes[project] = subprocess.Popen(command, stdout=log, stderr=log)
    failed = threading.Thread(target=_end_with_the_first, args=(zygotes,), daemon=True)
    failed.start()
    seed.fill(plan)
    os.write(ready, b"ready")
    os.close(ready)
    signal.pause()


def _end_with_the_first(zygotes: dict[str, subprocess.Popen[bytes]]) -> None:
    """None of them ends by itself."""
    child, _ = os.waitpid(-1, 0)
    for project, process in zygotes.items():
        if process.pid == child:
            print(f"{project} ended; see log/{project}*.log", file=sys.stderr, flush=True)
    os._exit(1)


def zygote(project: str, path: Path) -> None:
    importlib.import_module(f"{project}_server").start(Plan.read(path))
    processes.wait_for_children()


if __name__ == "__main__":
    processes.die_with(os.getppid())
    if sys.argv[1] == "up":
        up(Path(sys.argv[2]), int(sys.argv[3]))
    else:
        zygote(sys.argv[2], Path(sys.argv[3]))
