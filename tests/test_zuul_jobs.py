"""The public zuul-jobs roles, unmodified, on a real node: a whole job with our pre, run and post playbooks, by tox and by nox.

HEADGATE_ZUUL_JOBS names a git repository of them (https://opendev.org/zuul/zuul-jobs); the roles install what they need from PyPI and
Debian, so each takes minutes. `tests/test_examples_on_nodes.py` has what needs no public roles.
"""

from __future__ import annotations

import dataclasses
import importlib.util
import json
import os
from pathlib import Path

import pytest

from headgate.jobs import RoleSource
from headgate.results import Verdict
from tasks.build_plan import BuildPlan, Source
from tasks.playbooks import run_build
from tests.services.machines import namespace_node
from tests.services.workshop import Workshop

MIRROR = os.environ.get("HEADGATE_ZUUL_JOBS", "")
ROLES = "opendev.org/zuul/zuul-jobs"
pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not MIRROR, reason="HEADGATE_ZUUL_JOBS does not name a git repository of zuul-jobs"),
    pytest.mark.skipif(not importlib.util.find_spec("netaddr"), reason="not installed: headgate[zuul-jobs]"),
]
FILES = {
    "tox.ini": "[tox]\nenvlist = py3\nskipsdist = true\n[testenv]\ncommands = python -m unittest discover -v\n",
    "test_it.py": "import unittest\n\n\nclass It(unittest.TestCase):\n    def test_works(self):\n        self.assertEqual(2, 1 + 1)\n",
    "noxfile.py": "import nox\n\n\n@nox.session\ndef tests(session):\n    session.run('python', '-m', 'unittest', 'discover', '-v')\n",
    "bindep.txt": "git [platform:dpkg]\nbash [platform:dpkg]\n",
}


def play(*roles: str, hosts: str = "all", facts: str = "true") -> str:
    return f"- hosts: {hosts}\n  gather_facts: {facts}\n  roles:\n" + "".join(f"    - {role}\n" for role in roles)


async def planned(workshop: Workshop, **parts: object) -> BuildPlan:
    """A plan whose playbooks have the roles of the mirror."""
    await workshop.caches.fetch(ROLES, MIRROR)
    branches = await workshop.caches.branches(ROLES)
    role = RoleSource(ROLES, next(iter(branches)), False)
    plan = await workshop.plan(roles=(role,), files=FILES, **parts)  # type: ignore[arg-type]  # passed on as they are
    source = Source(ROLES, role.branch, False)
    return dataclasses.replace(plan, sources={**plan.sources, source: branches[role.branch]})


@pytest.mark.timeout(1800)
@pytest.mark.parametrize("tool", ["tox", "nox"])
async def test_a_job_from_its_workspace_to_its_uploaded_logs(tmp_path: Path, tool: str) -> None:
    workshop = Workshop(tmp_path)
    async with namespace_node(tmp_path) as (node, private_key):
        plan = await planned(
            workshop,
            pre=(
                play(
                    *("emit-job-header", "log-inventory", "validate-host", "start-zuul-console", "prepare-workspace-git"),
                    *("add-build-sshkey", "ensure-output-dirs"),
                ),
                play("bindep", "ensure-python", f"ensure-{tool}"),
            ),
            run=play(tool),
            post=(
                play("fetch-output"),
                play("merge-output-to-logs", "generate-zuul-manifest", "upload-logs", hosts="localhost", facts="false"),
            ),
            nodes={"primary": node},
            private_key=private_key,
            vars={
                "zuul_logserver_root": "/build/work/tmp/published",
                "zuul_log_url": "https://logs.example.org",
                "tox_envlist": "py3",
                "nox_session": "tests",
            },
        )
        outcome = await run_build(plan)
    console = workshop.console(plan)
    assert outcome.verdict == Verdict("SUCCESS"), "\n".join(console)
    assert any("test_works" in line and line.endswith("ok") for line in console)
    logs = plan.directory / "logs"
    assert (logs / "zuul-info/inventory.yaml").exists()
    manifest = json.loads((logs / "zuul-manifest.json").read_text())
    assert {"job-output.txt", "job-output.json", "zuul-info"} <= {entry["name"] for entry in manifest["tree"]}
    assert outcome.data["zuul"]["log_url"].startswith("https://logs.example.org/")
