"""Builds on this machine: real Ansible, real sandboxes, nodes that are directories. Nodes behind ssh: test_playbooks_on_nodes.py."""

from __future__ import annotations

import asyncio
import os
import re
from pathlib import Path

import pytest

from headgate.results import Outcome, Phase, Verdict, verdict
from tasks.playbooks import Build, run_build
from tests.services.workshop import (
    PROJECT,
    Workshop,
    inside,
    outcomes,
    play,
    processes,
    running_until_it_fails,
    tasks,
    until_running,
)


async def test_passing_job_is_a_success_and_its_console_tells_it_in_order(workshop: Workshop) -> None:
    plan = await workshop.plan(
        pre=tasks("{name: prepare, shell: echo made ready}"),
        run=tasks(
            "{name: work, shell: 'echo one; sleep 0.1; echo two >&2; sleep 0.1; echo three'}",
            "{name: tell, debug: {msg: '{{ zuul.project.name }}'}}",
        ),
        post=tasks("{name: look back, debug: {msg: 'success {{ zuul_success }}'}}"),
        nodes={"primary": workshop.local_node()},
    )
    outcome = await run_build(plan)
    assert outcome.verdict == Verdict("SUCCESS")
    console = workshop.console(plan)
    expected = [
        f"PRE-RUN begins: {PROJECT}: playbooks/1/pre-0.yaml@main (untrusted)",
        "PLAY [all]",
        "TASK [prepare]",
        "primary | made ready",
        "RUN begins: ",
        "TASK [work]",
        "primary | one",
        "primary | two",
        "primary | three",
        "primary | changed: rc=0",
        "TASK [tell]",
        "primary | org/nova",
        "PLAY RECAP",
        "primary | ok: 2 failures: 0",
        "RUN ends: ok after",
        "POST-RUN begins: ",
        "primary | success True",
        "POST-RUN ends: ok after",
    ]
    position = 0
    for line in expected:
        position = next((at for at in range(position, len(console)) if console[at].startswith(line)), -1)
        assert position >= 0, f"{line!r} is missing in or out of order:\n" + "\n".join(console)


async def test_every_line_has_its_time_and_the_times_never_go_back(workshop: Workshop) -> None:
    plan = await workshop.plan(run=tasks("{shell: 'for i in 1 2 3; do echo $i; done'}"), nodes={"primary": workshop.local_node()})
    await run_build(plan)
    lines = (plan.directory / "console.log").read_text().splitlines()
    assert all(re.match(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d\.\d{6} \| ", line) for line in lines)
    assert lines == sorted(lines, key=lambda line: line[:26])


async def test_lines_are_there_while_the_task_still_runs(workshop: Workshop, tmp_path: Path) -> None:
    node = workshop.local_node()
    gate = Path(node.home, "gate")
    os.mkfifo(gate)
    plan = await workshop.plan(run=tasks("{shell: 'echo early; cat gate; printf unfinished'}"), nodes={"primary": node})
    running = asyncio.create_task(run_build(plan))
    while not (plan.directory / "console.log").exists() or "primary | early" not in workshop.console(plan):
        await asyncio.sleep(0.01)
    assert not any(line.startswith("primary | changed") for line in workshop.console(plan))
    await asyncio.to_thread(gate.write_text, "late\n")
    await running
    assert workshop.said(plan)[:3] == ["early", "late", "unfinished"]


async def test_failing_task_is_a_failure_and_post_run_knows(workshop: Workshop) -> None:
    plan = await workshop.plan(
        run=tasks("{name: break, shell: 'echo before; exit 3'}", "{shell: echo never}"),
        post=tasks("{debug: {msg: 'success {{ zuul_success }}, retry {{ zuul_will_retry }}'}}"),
        nodes={"primary": workshop.local_node()},
    )
    build = await play(plan)
    assert outcomes(build) == [(Phase.RUN, Outcome.FAILED), (Phase.POST, Outcome.OK)]
    said = workshop.said(plan)
    assert said[0] == "before"
    assert said[1].startswith("FAILED: rc=3")
    assert "success False, retry False" in said
    assert "never" not in said


async def test_failed_pre_run_is_retried_and_run_is_not_played(workshop: Workshop) -> None:
    plan = await workshop.plan(
        pre=tasks("{shell: exit 1}"),
        run=tasks("{shell: echo never}"),
        post=tasks("{debug: {msg: 'retry {{ zuul_will_retry }}'}}"),
        nodes={"primary": workshop.local_node()},
    )
    outcome = await run_build(plan)
    assert outcome.verdict == Verdict("RETRY", retry=True)
    assert [one.phase for one in outcome.played] == [Phase.PRE, Phase.POST]
    assert "retry True" in workshop.said(plan)


async def test_broken_playbook_fails_with_the_reason_in_the_console(workshop: Workshop) -> None:
    plan = await workshop.plan(run="- hosts: all\n  taskz: []\n", nodes={"primary": workshop.local_node()})
    outcome = await run_build(plan)
    assert outcome.verdict == Verdict("FAILURE")
    console = workshop.console(plan)
    assert console[-1].endswith("playbooks/1/run-0.yaml@main: 'taskz' is not a valid attribute for a Play")
    assert any(line.startswith("Origin: ") for line in console)
    assert not [line for line in console if "WARNING" in line]


async def test_killed_ansible_is_a_crash_and_retried(workshop: Workshop) -> None:
    plan = await workshop.plan(run=tasks("{shell: 'kill -9 $(pgrep -o -f marker-crash)', environment: {}}", hosts="localhost"))
    build = Build(plan)
    async with build:
        running = asyncio.create_task(build.play(Phase.RUN, plan.job.run[0]))
        while not build.player.sandboxes.any:
            await asyncio.sleep(0.01)
        build.player.sandboxes.kill_now()
        assert (await running).outcome == Outcome.CRASHED


async def test_time_out_kills_what_runs_and_post_run_still_plays(workshop: Workshop) -> None:
    plan = await workshop.plan(
        run=tasks("{shell: 'echo begun; sleep 4321.1'}"),
        post=tasks("{shell: echo after}"),
        nodes={"primary": workshop.local_node()},
        timeout=5,
    )
    outcome = await run_build(plan)
    assert outcome.verdict == Verdict("TIMED_OUT")
    assert [one.outcome for one in outcome.played] == [Outcome.TIMED_OUT, Outcome.OK]
    said = workshop.said(plan)
    assert said.index("begun") < said.index("after")
    assert not processes("sleep 4321.1")


async def test_a_pre_run_that_takes_too_long_is_retried_and_its_post_run_plays(workshop: Workshop) -> None:
    plan = await workshop.plan(
        pre=tasks("{shell: sleep 4321.91}"),
        run=tasks("{shell: echo never}"),
        post=tasks("{shell: echo post}"),
        nodes={"primary": workshop.local_node()},
        pre_timeout=1,
        timeout=60,
    )
    outcome = await run_build(plan)
    assert outcome.verdict == Verdict("RETRY", retry=True)
    assert [(one.phase, one.outcome) for one in outcome.played] == [(Phase.PRE, Outcome.TIMED_OUT), (Phase.POST, Outcome.OK)]


async def test_each_post_run_has_its_own_time_and_one_too_long_spoils_a_success(workshop: Workshop) -> None:
    plan = await workshop.plan(
        run=tasks("{shell: echo fine}"),
        post=(tasks("{shell: sleep 4321.92}"), tasks("{debug: {msg: 'success {{ zuul_success }}'}}")),
        nodes={"primary": workshop.local_node()},
        post_timeout=2,
    )
    outcome = await run_build(plan)
    assert outcome.verdict == Verdict("POST_FAILURE")
    assert [one.outcome for one in outcome.played] == [Outcome.OK, Outcome.TIMED_OUT, Outcome.OK]
    assert "success False" in workshop.said(plan)


async def test_a_run_that_was_seen_to_fail_and_is_killed_then_is_an_error_and_not_retried(workshop: Workshop) -> None:
    plan = await workshop.plan(
        run=tasks("{shell: 'echo 12 tests failed; sleep 4321.93'}"),
        nodes={"primary": workshop.local_node()},
        failure_output=(r"\d+ tests",),
    )
    async with running_until_it_fails(plan) as (build, running):
        build.player.sandboxes.kill_now()
        assert (await running).outcome == Outcome.CRASHED
        assert verdict(plan.job, build.played, 1, build.said()) == Verdict("ERROR")


async def test_cancel_leaves_nothing_running_and_plays_only_cleanup(workshop: Workshop) -> None:
    plan = await workshop.plan(
        run=tasks("{shell: 'setsid sleep 4321.2 & sleep 4321.2'}"),
        post=tasks("{shell: echo post}"),
        cleanup=tasks("{shell: echo swept}"),
        nodes={"primary": workshop.local_node()},
    )
    running = asyncio.create_task(run_build(plan))
    await until_running("sleep 4321.2")
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running
    assert not processes("sleep 4321.2")
    assert not inside(plan.directory)
    assert "swept" in workshop.said(plan)
    assert "post" not in workshop.said(plan)


@pytest.mark.parametrize("moment", range(4))
async def test_cancel_at_any_moment_of_the_start_leaves_nothing(workshop: Workshop, moment: int) -> None:
    plan = await workshop.plan(
        run=tasks("{shell: sleep 4321.3}"), cleanup=tasks("{shell: echo swept}"), nodes={"primary": workshop.local_node()}
    )
    running = asyncio.create_task(run_build(plan))
    reached = [lambda: True, (plan.directory / "ansible").exists, lambda: inside(plan.directory), lambda: processes("sleep 4321.3")]
    while not reached[moment]():
        await asyncio.sleep(0)
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running
    assert not inside(plan.directory)
    assert not processes("sleep 4321.3")


async def test_long_output_is_whole_in_order_and_does_not_end_in_the_middle(workshop: Workshop) -> None:
    plan = await workshop.plan(
        run=tasks("{shell: 'seq -f %.0f 1 50000'}", "{shell: \"printf 'a\\\\0b'; head -c 200000 /dev/zero | tr '\\\\0' x\"}"),
        nodes={"primary": workshop.local_node()},
    )
    assert (await run_build(plan)).verdict == Verdict("SUCCESS")
    said = workshop.said(plan)
    assert said[:50000] == [str(number) for number in range(1, 50001)]
    assert "".join(said).count("x") == 200000


async def test_loops_and_handlers_are_told(workshop: Workshop) -> None:
    plan = await workshop.plan(
        run=tasks("{command: 'echo item {{ item }}', loop: [a, b], notify: later}")
        + "  handlers:\n    - {name: later, command: echo handled}\n",
        nodes={"primary": workshop.local_node()},
    )
    await run_build(plan)
    said = workshop.said(plan)
    assert [line for line in said if line in ("item a", "item b", "handled")] == ["item a", "item b", "handled"]
    assert any(line.startswith("changed: item=a") for line in said)
