"""ARA's report among the logs of a build, made by the real ARA where it is installed (`headgate[ara]`)."""

from __future__ import annotations

import dataclasses
import importlib.util

import pytest

from headgate.results import Verdict
from tasks.playbooks import run_build
from tests.services.workshop import Workshop, tasks

INSTALLED = importlib.util.find_spec("ara") is not None
TOKEN = "hunter2<&>hunter2"


@pytest.mark.slow
@pytest.mark.skipif(not INSTALLED, reason="ARA is not installed")
async def test_a_report_tells_what_every_playbook_did_and_no_secret(workshop: Workshop) -> None:
    returns = f"{{zuul_return: {{data: {{zuul: {{redactions: ['{TOKEN}']}}}}}}}}"
    plan = await workshop.plan(
        pre=tasks("{name: prepare it, shell: echo prepared}", hosts="localhost"),
        run=tasks(
            f"{{name: tell, debug: {{msg: 'it is {TOKEN}'}}}}",
            returns,
            "{name: markup, shell: 'echo \"<script>alert(1)</script>\"'}",
            "{name: break it, command: 'false'}",
            hosts="localhost",
        ),
    )
    outcome = await run_build(dataclasses.replace(plan, ara=True))
    assert outcome.verdict == Verdict("FAILURE")
    report = plan.directory / "logs/ara-report"
    assert (report / "index.html").exists(), "\n".join(workshop.console(plan))
    pages = "".join(path.read_text() for path in report.rglob("*.html"))
    for said in ("prepare it", "break it", "playbooks/1/pre-0.yaml", "prepared"):
        assert said in pages
    assert "<script>alert(1)" not in pages
    assert "hunter2" not in pages


@pytest.mark.skipif(INSTALLED, reason="ARA is installed")
async def test_without_ara_the_console_says_how_to_get_it(workshop: Workshop) -> None:
    plan = await workshop.plan(run=tasks("{command: 'true'}", hosts="localhost"))
    assert (await run_build(dataclasses.replace(plan, ara=True))).verdict == Verdict("SUCCESS")
    said = "There is no ARA report: logs.ara is set, and ARA is not installed: pip install 'headgate[ara]'"
    assert said in workshop.console(plan)
