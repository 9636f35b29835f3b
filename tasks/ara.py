"""ARA's report of a build, for who knows it: made once, at the end, out of `job-output.json` (`tasks/ansible/ara_report.py`)."""

from __future__ import annotations

import asyncio
import importlib.util
import sys
from collections.abc import Collection, Iterable
from pathlib import Path

from headgate.build_facts import BUILD
from tasks.account import Account
from tasks.build_plan import BuildPlan
from tasks.build_sandboxes import accounts
from tasks.console import BuildConsole
from tasks.job_output import NAME
from tasks.log_files import clean_file
from tasks.sandbox import Bind, Sandbox, SandboxProblem
from tasks.zygote import PLUGINS

REPORT = "ara-report"
SECONDS = 300.0
NOT_INSTALLED = "logs.ara is set, and ARA is not installed: pip install 'headgate[ara]'"


async def add_report(plan: BuildPlan, logs: Path, secrets: Collection[str], console: BuildConsole) -> None:
    """Add the report of what was played so far to the logs, without `secrets`; the console says if there is none."""
    await asyncio.to_thread(clean_file, logs / NAME, secrets)  # before they are written as HTML
    if why := await _report(logs, plan.facts.ansible_version or "unknown", accounts(plan), plan.account):
        console.say(f"There is no ARA report: {why}")


async def _report(logs: Path, ansible_version: str, binds: Iterable[Bind], account: Account | None) -> str:
    """Make `logs/ara-report/`, in a sandbox that sees nothing but the logs. Why there is none, or ""."""
    if importlib.util.find_spec("ara") is None:
        return NOT_INSTALLED
    inside = f"{BUILD}/logs"
    binds = (*binds, Bind(PLUGINS, str(PLUGINS)), Bind(logs, inside, writable=True))
    script = (str(PLUGINS / "ara_report.py"), f"{inside}/{NAME}", "/tmp/ara", f"{inside}/{REPORT}", ansible_version)  # noqa: S108 - its own
    try:
        sandbox = await Sandbox.start(binds, (sys.executable, "-I", *script), account)
    except SandboxProblem as problem:
        return str(problem)
    said = b""
    try:
        async with asyncio.timeout(SECONDS):
            assert sandbox.process.stdout is not None
            while (line := await sandbox.process.stdout.readline()) and line not in (b"done\n", b"failed\n"):
                said = line.strip() or said
        return "" if line == b"done\n" else said.decode(errors="replace") or "it ended without a word"
    except TimeoutError:
        return f"it took longer than {SECONDS:.0f} s"
    finally:
        await asyncio.shield(sandbox.kill())
