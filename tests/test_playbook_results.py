"""What a build says of itself: failures known early, what it returned, what it leaves."""

from __future__ import annotations

import asyncio
import dataclasses
import json
import os
from pathlib import Path

import pytest

from headgate.results import Outcome, Phase, Verdict, verdict
from tasks.playbooks import Build, run_build
from tests.services.workshop import (
    PROJECT,
    Workshop,
    running_until_it_fails,
    tasks,
)


async def test_failure_output_is_a_failure_even_if_the_run_passes(workshop: Workshop) -> None:
    node = workshop.local_node()
    plan = await workshop.plan(
        run=tasks("{shell: 'echo fine; echo 12 tests failed'}"), nodes={"primary": node}, failure_output=(r"\d+ tests failed",)
    )
    assert (await run_build(plan)).verdict == Verdict("FAILURE")
    harmless = await workshop.plan(
        run=tasks("{shell: echo no 12 tests failed}"), nodes={"primary": node}, failure_output=(r"\d+ tests failed",)
    )
    assert (await run_build(harmless)).verdict == Verdict("SUCCESS")


@pytest.mark.parametrize(
    ("run", "outcome", "result"),
    [
        ("{shell: 'echo 12 tests failed; cat gate'}", Outcome.OK, "FAILURE"),
        (
            "{shell: 'printf \"12 tests failed\"; exit 3', async: 60, poll: 1, ignore_errors: true}\n    - {shell: cat gate}",
            Outcome.OK,
            "FAILURE",
        ),
        ("{raw: echo 12 tests failed}\n    - {shell: cat gate}", Outcome.OK, "FAILURE"),
        ("{command: 'false'}\n      always:\n        - {shell: cat gate}", Outcome.FAILED, "FAILURE"),
    ],
    ids=["a line", "in the background", "raw", "a task"],
)
async def test_a_job_that_will_fail_is_known_while_it_runs(workshop: Workshop, run: str, outcome: Outcome, result: str) -> None:
    node = workshop.local_node()
    gate = Path(node.home, "gate")
    os.mkfifo(gate)
    text = tasks(run) if "always" not in run else tasks("block: [" + run.replace("\n", "]\n", 1))
    plan = await workshop.plan(run=text, nodes={"primary": node}, failure_output=(r"\d+ tests failed",))
    async with running_until_it_fails(plan) as (build, running):
        assert (build.failing, build.played) == (Phase.RUN, [])
        await asyncio.to_thread(gate.write_text, "go on\n")
        assert (await running).outcome == outcome
        assert verdict(plan.job, build.played, 1, build.said()) == Verdict(result)
    assert "go on" in workshop.said(plan)


async def test_what_is_rescued_ignored_unreachable_or_in_pre_run_decides_nothing_early(workshop: Workshop) -> None:
    plan = await workshop.plan(
        pre=tasks("{shell: 'echo 12 tests failed'}"),
        run=tasks(
            "block: [{command: 'false'}]\n      rescue: [{command: 'true'}]",
            "{command: 'false', ignore_errors: true}",
            "{command: 'false', failed_when: false}",
        ),
        nodes={"primary": workshop.local_node()},
        failure_output=(r"\d+ tests failed",),
    )
    outcome = await run_build(plan)
    assert outcome.verdict == Verdict("SUCCESS")
    lost = dataclasses.replace(workshop.local_node("lost"), connection="ssh", host="127.0.0.1", port=1, username="zuul")
    tell = tasks("{debug: {msg: 'lost {{ groups.zuul_unreachable }}'}}", hosts="localhost")
    for trusted in (False, True):
        plan = await workshop.plan(run=tasks("{ping: {}}"), post=tell, nodes={"primary": lost}, trusted=trusted)
        async with Build(plan) as build:
            assert (await build.play(Phase.RUN, plan.job.run[0])).outcome == Outcome.UNREACHABLE
            assert build.failing is None
            await build.play(Phase.POST, plan.job.post_run[0])
        assert "lost ['primary']" in "\n".join(workshop.said(plan, "localhost"))


async def test_zuul_return_is_merged_over_playbooks(workshop: Workshop) -> None:
    plan = await workshop.plan(
        run=(
            tasks("{zuul_return: {data: {zuul: {log_url: here, artifacts: [{name: a}]}, port: 1, deep: {x: 1}}}}"),
            tasks("{zuul_return: {data: {zuul: {artifacts: [{name: b}]}, port: 2, deep: {y: 2}}, secret_data: {token: t}}}"),
        ),
        nodes={"primary": workshop.local_node()},
    )
    outcome = await run_build(plan)
    assert outcome.data == {"zuul": {"log_url": "here", "artifacts": [{"name": "a"}, {"name": "b"}]}, "port": 2, "deep": {"x": 1, "y": 2}}
    assert outcome.secret_data == {"token": "t"}
    assert "token" not in repr(outcome)


async def test_pre_run_that_returns_retry_false_is_a_failure(workshop: Workshop) -> None:
    plan = await workshop.plan(pre=tasks("{zuul_return: {data: {zuul: {retry: false}}}}", "{fail: {msg: hopeless}}", hosts="localhost"))
    assert (await run_build(plan)).verdict == Verdict("FAILURE")
    assert "hopeless" in workshop.said(plan, "localhost")


async def test_logs_and_artifacts_stay_and_the_rest_goes(workshop: Workshop) -> None:
    plan = await workshop.plan(
        run=tasks("{shell: 'echo kept > {{ zuul.executor.log_root }}/kept.txt'}", hosts="localhost"),
        post=tasks("{shell: 'tail -1 {{ zuul.executor.log_root }}/job-output.txt'}", hosts="localhost"),
    )
    await run_build(plan)
    assert sorted(path.name for path in plan.directory.iterdir()) == ["ansible", "console.log", "logs", "runner"]
    assert (plan.directory / "logs/kept.txt").read_text() == "kept\n"
    assert (plan.directory / "logs/job-output.txt").samefile(plan.directory / "console.log")
    assert list(plan.directory.glob("runner/01-run/artifacts/01-run/job_events/*.json"))


async def test_job_output_json_has_each_task_with_its_place_in_the_console(workshop: Workshop) -> None:
    plan = await workshop.plan(
        pre=tasks("{name: make ready, shell: echo ready}"),
        run=tasks("{name: hidden, shell: echo x, no_log: true}", "{name: break, shell: 'echo bad; exit 3'}"),
        nodes={"primary": workshop.local_node()},
    )
    await run_build(plan)
    pre, run = json.loads((plan.directory / "logs/job-output.json").read_text())
    assert (pre["phase"], pre["index"], pre["playbook"], pre["trusted"]) == ("pre", "0", f"{PROJECT}/playbooks/1/pre-0.yaml", "False")
    assert pre["stats"]["primary"]["ok"] == 1
    hidden, bad = run["plays"][0]["tasks"]
    assert "censored" in hidden["hosts"]["primary"]
    assert (bad["hosts"]["primary"]["rc"], bad["hosts"]["primary"]["stdout"], bad["hosts"]["primary"]["failed"]) == (3, "bad", True)
    assert bad["task"]["duration"]["start"] < bad["task"]["duration"]["end"]
    console = (plan.directory / "console.log").read_bytes()
    assert b"TASK [break]" in console[bad["console_offset"] :].split(b"\n")[0]
