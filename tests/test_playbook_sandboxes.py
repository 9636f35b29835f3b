"""The sandboxes of builds: what cannot be reached from them, and that they end."""

from __future__ import annotations

import asyncio
import dataclasses
import json
import os
import sys
from pathlib import Path

import pytest

from headgate.results import Outcome, Phase, Verdict
from tasks.playbooks import Build, BuildProblem, run_build
from tasks.sandbox import Bind, Sandbox, SandboxProblem
from tasks.zygote import zygote
from tests.services.workshop import Workshop, inside, processes, tasks, until_gone, until_running


async def test_sandbox_shows_nothing_of_this_machine(workshop: Workshop, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HEADGATE_DATABASE_PASSWORD", "from-the-environment")
    other = tmp_path / "another-build"
    other.mkdir()
    (other / "secret").write_text("x")
    look = [
        "{shell: 'env'}",
        '{shell: \'cat /proc/*/environ | tr "\\\\0" "\\\\n"\'}',
        "{shell: 'ls -A /root /home /var/lib /etc/shadow /etc/ssh 2>&1'}",
        f"{{shell: 'cat {other}/secret {tmp_path}/caches/* 2>&1; ls -A {tmp_path} 2>&1'}}",
        "{shell: 'ps -e -o args 2>/dev/null || cat /proc/*/cmdline'}",
        "{shell: 'id -u; hostname; cat /etc/passwd'}",
        "{shell: 'unshare --user true 2>&1 || echo no new user namespace'}",
        "{shell: 'grep Cap /proc/self/status'}",
        "{shell: 'touch /usr/x /build/ansible/x /build/trusted/x 2>&1 || echo read-only'}",
    ]
    both = tasks(*look) + tasks(*look, hosts="localhost")
    plan = await workshop.plan(
        run=both.replace("    - {shell", "    - {ignore_errors: true, shell"), nodes={"primary": workshop.local_node()}
    )
    await run_build(plan)
    for host in ("primary", "localhost"):
        said = "\n".join(workshop.said(plan, host))
        assert "from-the-environment" not in said
        assert "another-build" not in said.replace(f"{other}/secret", "")
        assert "test_playbooks.py" not in said  # this process
        assert "caches" not in said.replace(f"{tmp_path}/caches/", "")
        assert "no new user namespace" in said
        assert "CapEff:\t0000000000000000" in said
        assert "CapBnd:\t0000000000000000" in said
        assert "read-only" in said
        assert "\nheadgate\n" in said
        assert "authorized_keys" not in said


async def test_a_build_cannot_see_another_ones_files_or_processes(workshop: Workshop) -> None:
    first = await workshop.plan(
        run=tasks("{shell: 'touch here; mkfifo gate; echo up; sleep 4321.4 & cat gate'}"), nodes={"primary": workshop.local_node("first")}
    )
    second = await workshop.plan(
        run=tasks(f"{{shell: 'ls {first.nodes['primary'].home} 2>&1; pgrep -f 4321.[4] || echo alone'}}"),
        nodes={"primary": workshop.local_node("second")},
    )
    running = asyncio.create_task(run_build(first))
    await until_running("sleep 4321.4")
    assert (await run_build(second)).verdict == Verdict("SUCCESS")
    assert "alone" in workshop.said(second)
    assert "here" not in workshop.said(second)
    await asyncio.to_thread(Path(first.nodes["primary"].home, "gate").write_text, "")
    assert (await running).verdict == Verdict("SUCCESS")
    assert not processes("sleep 4321.4")


async def test_a_service_started_before_runs_on_until_the_build_ends(workshop: Workshop) -> None:
    plan = await workshop.plan(
        pre=tasks("{shell: 'setsid sleep 4321.5 > /dev/null 2>&1 &'}"),
        run=tasks("{shell: 'pgrep -f 4321.[5]'}"),
        nodes={"primary": workshop.local_node()},
    )
    assert (await run_build(plan)).verdict == Verdict("SUCCESS")
    assert not processes("sleep 4321.5")


async def test_no_playbook_can_change_its_console_by_the_log_directory(workshop: Workshop) -> None:
    forge = (
        "cd /build/work/logs; echo forged >> job-output.txt; rm -f job-output.txt; mv job-output.txt x; ln -sf /etc/passwd job-output.txt"
    )
    plan = await workshop.plan(
        run=tasks("{shell: echo honest}", hosts="localhost"),
        post=tasks(f"{{shell: '({forge}) 2>&1; tail -n 3 /build/work/logs/job-output.txt', ignore_errors: true}}", hosts="localhost"),
    )
    await run_build(plan)
    console = workshop.console(plan)
    assert "localhost | honest" in console
    assert "forged" not in console
    assert (plan.directory / "logs/job-output.txt").read_bytes() == (plan.directory / "console.log").read_bytes()


async def test_many_builds_at_once_keep_to_themselves(workshop: Workshop) -> None:
    plans = [
        await workshop.plan(run=tasks(f"{{shell: 'echo only-{number}'}}"), nodes={"primary": workshop.local_node(str(number))})
        for number in range(4)
    ]
    outcomes = await asyncio.gather(*(run_build(plan) for plan in plans))
    assert [outcome.verdict.result for outcome in outcomes] == ["SUCCESS"] * 4
    for number, plan in enumerate(plans):
        assert [line for line in workshop.said(plan) if line.startswith("only-")] == [f"only-{number}"]


async def test_a_build_after_the_warm_process_died_starts_a_new_one(workshop: Workshop) -> None:
    first = await zygote()
    plan = await workshop.plan(pre=tasks("{shell: echo a}"), run=tasks("{shell: echo b}"), nodes={"primary": workshop.local_node()})
    async with Build(plan) as build:
        await build.push_workspace()
        assert (await build.play(Phase.PRE, plan.job.pre_run[0])).outcome == Outcome.OK
        first.process.kill()
        first.process.wait()
        assert (await build.play(Phase.RUN, plan.job.run[0])).outcome == Outcome.OK
    assert (await zygote()).process.pid != first.process.pid


async def test_forged_events_are_neither_read_nor_written_outside(workshop: Workshop, tmp_path: Path) -> None:
    secret = tmp_path / "executor.json"
    secret.write_text('{"event": "playbook_on_stats", "event_data": {"dark": {"x": 1}}}')
    forge = f"rm -rf /build/events/01-run/job_events; mkdir -p /build/events/01-run; ln -s {tmp_path} /build/events/01-run/job_events"
    plan = await workshop.plan(run=tasks(f"{{shell: '{forge}'}}", "{fail: {msg: no}}", hosts="localhost"))
    before = sorted([*tmp_path.iterdir(), plan.directory, plan.exports])
    outcome = await run_build(dataclasses.replace(plan, account=None))
    assert outcome.verdict == Verdict("RETRY", retry=True)  # what reports events is broken by it: no result can be believed
    assert sorted(tmp_path.iterdir()) == before


@pytest.mark.parametrize("apart", [True, False], ids=["as an account of its own", "as the user of the executor"])
async def test_a_job_that_puts_links_where_its_next_playbook_reports_makes_us_write_nowhere_else(
    workshop: Workshop, tmp_path: Path, apart: bool
) -> None:
    outside = tmp_path / "outside"
    outside.mkdir(mode=0o700)
    before = outside.stat()
    runs = tasks(f"{{shell: 'for n in 02 03; do ln -s {outside} /build/events/$n-run; done 2>&1 || true'}}", hosts="localhost")
    plan = await workshop.plan(run=(runs, runs, runs))
    try:
        outcome = await run_build(plan if apart else dataclasses.replace(plan, account=None))
        assert apart
        assert outcome.verdict == Verdict("SUCCESS")
        assert any("Permission denied" in line for line in workshop.said(plan, "localhost"))
    except BuildProblem:  # it broke its own build, which is all that it can
        assert not apart
    assert list(outside.iterdir()) == []
    assert outside.stat().st_ctime_ns == before.st_ctime_ns


async def test_what_a_job_left_before_a_crash_is_not_written_through(workshop: Workshop, tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "known_hosts").write_text("kept")
    plan = await workshop.plan(run=tasks("{command: 'true'}", hosts="localhost"))
    for name in ("home", "work"):
        (plan.directory / name).mkdir(parents=True)
    for link in ("home/.ssh", "work/src"):
        (plan.directory / link).symlink_to(outside)
    async with Build(plan) as build:
        assert (await build.play(Phase.RUN, plan.job.run[0])).outcome == Outcome.OK
    assert [path.name for path in outside.iterdir()] == ["known_hosts"]
    assert (outside / "known_hosts").read_text() == "kept"
    assert outside.stat().st_uid == os.getuid()


async def test_results_that_are_a_link_to_elsewhere_are_not_followed(workshop: Workshop, tmp_path: Path) -> None:
    (tmp_path / "private.json").write_text(json.dumps({"data": {"leaked": True}}))
    plan = await workshop.plan(run=tasks(f"{{shell: 'ln -s {tmp_path}/private.json /build/work/results.json'}}", hosts="localhost"))
    outcome = await run_build(plan)
    assert outcome.data == {}
    assert "what zuul_return wrote cannot be read" in outcome.warnings


async def test_an_executor_killed_outright_leaves_nothing_running(workshop: Workshop, tmp_path: Path) -> None:
    script = f"""if True:
        import asyncio, dataclasses, pathlib, shutil
        from tasks.outside import Reach
        from tasks.playbooks import run_build
        from tests.services.workshop import PROJECT, Workshop, inside, outcomes, play, processes, tasks, until_gone, until_running
        async def main():
            workshop = Workshop(pathlib.Path({str(tmp_path / "lone")!r}))
            run = tasks("{{shell: 'setsid sleep 4321.7 & sleep 4321.7'}}")
            plan = await workshop.plan(run=run, nodes={{"primary": workshop.local_node()}})
            reach = Reach(ports=(43217,)) if shutil.which("pasta") else None
            await run_build(dataclasses.replace(plan, reach=reach))
        asyncio.run(main())
    """
    (tmp_path / "lone").mkdir()
    executor = await asyncio.create_subprocess_exec(sys.executable, "-c", script, cwd=Path(__file__).parent.parent)
    await until_running("sleep 4321.7")
    executor.kill()
    await executor.wait()
    await until_gone("sleep 4321.7")
    await until_gone("-T 43217")  # what carried its network
    while inside(tmp_path / "lone"):
        await asyncio.sleep(0.01)


async def test_without_bubblewrap_one_sentence_says_what_to_install(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(SandboxProblem, match=r"^bubblewrap is not installed, and jobs run in nothing else: apt install bubblewrap"):
        await Sandbox.start(())


async def test_a_sandbox_that_cannot_be_made_says_why(tmp_path: Path) -> None:
    with pytest.raises(SandboxProblem, match=r"cannot make a sandbox here: Can't find source path .*absent"):
        await Sandbox.start((Bind(tmp_path / "absent", "/absent"),))


async def test_a_sandbox_ends_when_its_executor_is_gone() -> None:
    sandbox = await Sandbox.start((), ("sleep", "4321.6"))
    await until_running("sleep 4321.6")
    assert sandbox.process.stdin is not None
    sandbox.process.stdin.close()  # what the kernel does for a killed executor
    await until_gone("sleep 4321.6")
    await sandbox.kill()
    await sandbox.kill()
