"""Builds on this machine: real Ansible, real sandboxes, nodes that are directories. Nodes behind ssh: test_playbooks_on_nodes.py."""

from __future__ import annotations

import asyncio
import dataclasses
import json
import os
import re
import sys
from pathlib import Path

import pytest

from headgate.jobs import Playbook, RoleSource
from headgate.results import Outcome, Phase, Verdict, following, verdict
from tasks.playbooks import Build, BuildPlan, BuildProblem, run_build
from tasks.sandbox import Bind, Sandbox, SandboxProblem
from tasks.zygote import zygote
from tests.services.workshop import PROJECT, Workshop, inside, processes, tasks, until_gone, until_running


@pytest.fixture
def workshop(tmp_path: Path) -> Workshop:
    return Workshop(tmp_path)


def outcomes(build: Build) -> list[tuple[Phase, Outcome]]:
    return [(one.phase, one.outcome) for one in build.played]


async def play(plan: BuildPlan) -> Build:
    """The whole build, step by step as a flow does it."""
    async with Build(plan) as build:
        await build.push_workspace()
        while (step := following(plan.job, build.played)) is not None:
            await build.play(*step)
        return build


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
    known = asyncio.Event()

    async def failing() -> None:
        known.set()

    async with Build(plan, failing) as build:
        await build.push_workspace()
        running = asyncio.create_task(build.play(Phase.RUN, plan.job.run[0]))
        await known.wait()
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


async def test_workspace_of_a_local_node_has_the_merged_files(workshop: Workshop) -> None:
    plan = await workshop.plan(
        run=tasks(
            "{shell: 'git log -1 --format=%H; git branch --show-current; git status --porcelain; ls a.txt', args: {chdir: src/"
            + PROJECT
            + "}}"
        ),
        nodes={"primary": workshop.local_node()},
    )
    await run_build(plan)
    assert workshop.said(plan)[:3] == [plan.facts.projects[0].commit, "main", "a.txt"]


async def test_empty_nodeset_runs_on_localhost_with_the_files_checked_out(workshop: Workshop) -> None:
    plan = await workshop.plan(
        run=tasks(
            "{shell: 'cat {{ zuul.project.src_dir }}/a.txt; pwd', args: {chdir: '{{ zuul.executor.work_root }}'}}",
            "{debug: {msg: '{{ colour }}'}}",
            hosts="localhost",
        ),
        vars={"colour": "teal"},
    )
    assert (await run_build(plan)).verdict == Verdict("SUCCESS")
    said = workshop.said(plan, "localhost")
    assert said[:4] == ["one", "two", "three", "/build/work"]
    assert "teal" in said


async def test_two_nodes_have_their_own_homes_and_groups(workshop: Workshop) -> None:
    plan = await workshop.plan(
        run=tasks("{shell: 'pwd; echo $HOME; echo {{ role }}'}"),
        nodes={"one": workshop.local_node("one"), "two": workshop.local_node("two")},
        groups={"left": ("one",), "right": ("two",)},
        group_vars={"left": {"role": "l"}, "right": {"role": "r"}},
    )
    assert (await run_build(plan)).verdict == Verdict("SUCCESS")
    for name, role in (("one", "l"), ("two", "r")):
        assert workshop.said(plan, name)[:3] == [plan.nodes[name].home, plan.nodes[name].home, role]


async def test_a_secret_is_known_to_its_playbook_only_and_never_shown(workshop: Workshop) -> None:
    plan = await workshop.plan(
        pre=tasks(
            "{shell: 'echo {{ login.password }} | rev; echo {{ login.password }}'}", "{debug: {msg: '{{ colour }} {{ login.user }}'}}"
        ),
        run=tasks("{shell: 'grep -r k[e]strel7 /build /run /tmp . 2>/dev/null; echo {{ login is defined }}'}"),
        nodes={"primary": workshop.local_node()},
        vars={"colour": "teal"},
        trusted=True,
    )
    secret = {"login": {"user": "me", "password": "kestrel7kestrel7"}}
    outcome = await run_build(dataclasses.replace(plan, secrets={plan.job.pre_run[0]: secret}))
    assert outcome.verdict == Verdict("SUCCESS")
    said = workshop.said(plan)
    assert said[:2] == ["7lertsek7lertsek", "(redacted)"]
    assert "teal me" in said
    assert "False" in said
    assert not [path for path in plan.directory.glob("ansible/**/*") if path.is_file() and b"kestrel7" in path.read_bytes()]
    assert b"kestrel7" not in (plan.directory / "console.log").read_bytes()


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
    known = asyncio.Event()

    async def failing() -> None:
        known.set()

    async with Build(plan, failing) as build:
        await build.push_workspace()
        running = asyncio.create_task(build.play(Phase.RUN, plan.job.run[0]))
        await known.wait()
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


async def test_what_a_change_or_a_job_says_is_no_template_beside_secrets(workshop: Workshop) -> None:
    look = tasks(
        "{debug: {msg: 'own {{ trick is defined }} extra {{ more is defined }} said [{{ unsafe_vars.trick }}] [{{ unsafe_vars.more }}]'}}",
        "{debug: {msg: 'change [{{ zuul.change_message }}] parent [{{ parent }}]'}}",
        "{debug: {msg: 'secret [{{ login.password | length }}] [{{ login.odd }}]'}}",
    )
    plan = await workshop.plan(
        run=look,
        nodes={"primary": workshop.local_node()},
        vars={"trick": "{{ login.password }}"},
        extra_vars={"more": "{{ login.password }}"},
        facts={"parent_data": {"parent": "{{ 6 * 7 }}"}},
        trusted=True,
        message="Fix {{ login.password }}",
    )
    secret = {"login": {"password": "hunter2hunter2", "odd": "{{ 6 * 9 }}"}}
    await run_build(dataclasses.replace(plan, secrets={plan.job.run[0]: secret}))
    said = workshop.said(plan)
    assert "own False extra False said [{{ login.password }}] [{{ login.password }}]" in said
    assert "not defined for trusted playbooks, since they cannot be evaluated without secrets: more, trick" in workshop.console(plan)
    assert "change [Fix {{ login.password }}] parent [{{ 6 * 7 }}]" in said
    assert "secret [14] [(redacted)]" in said


async def test_job_variables_are_evaluated_before_a_trusted_playbook_and_are_plain_text_in_it(workshop: Workshop) -> None:
    plan = await workshop.plan(
        run=tasks("{debug: {msg: '{{ where }}, {{ deep.list[0] }}, {{ own }}, {{ kernel }}, {{ plain }}, {{ over }}, {{ below }}'}}")
        + tasks("{debug: {msg: '{{ where }} {{ own is defined }}'}}", hosts="localhost"),
        nodes={"primary": workshop.local_node()},
        vars={
            "where": "at {{ zuul.branch }} {{ '{{ 6 * 7 }}' }}",
            "deep": {"list": ["{{ plain }}"]},
            "plain": "as it is",
            "kernel": "{{ ansible_kernel is defined }}",
            "below": "job",
        },
        host_vars={"primary": {"own": "on {{ inventory_hostname }}"}},
        extra_vars={"over": "{{ plain | upper }}"},
        facts={"included_vars": ((PROJECT, "vars.yaml", {"below": "{{ included }}", "plain": "hidden"}),)},
        trusted=True,
    )
    assert (await run_build(plan)).verdict == Verdict("SUCCESS")
    assert "at main {{ 6 * 7 }}, as it is, on primary, True, as it is, AS IT IS, job" in workshop.said(plan)
    assert "at main {{ 6 * 7 }} False" in workshop.said(plan, "localhost")


async def test_a_secret_wins_over_a_job_variable_of_its_name(workshop: Workshop) -> None:
    plan = await workshop.plan(
        run=tasks("{debug: {msg: 'length {{ token | length }}'}}"),
        nodes={"primary": workshop.local_node()},
        vars={"token": "{{ 'x' * 3 }}"},
        trusted=True,
    )
    await run_build(dataclasses.replace(plan, secrets={plan.job.run[0]: {"token": "hunter2hunter2"}}))
    assert "length 14" in workshop.said(plan)


async def test_a_trusted_playbook_uses_roles_as_they_are_merged_not_as_proposed(workshop: Workshop) -> None:
    role = RoleSource(PROJECT, "", False)
    use = "- hosts: all\n  gather_facts: false\n  roles: [greet]\n"
    merged = {"roles/greet/tasks/main.yaml": "- command: echo merged\n"}
    for trusted, expected in ((True, "merged"), (False, "proposed")):
        plan = await workshop.plan(run=use, files=merged, nodes={"primary": workshop.local_node(expected)}, roles=(role,), trusted=trusted)
        workshop.upstream.git("checkout", "-q", "-b", f"proposed-{trusted}")
        workshop.upstream.commit("propose", {"roles/greet/tasks/main.yaml": "- command: echo proposed\n"})
        await workshop.caches.fetch(PROJECT, str(workshop.upstream.path))
        proposed = await workshop.caches.resolve(PROJECT, f"proposed-{trusted}")
        workshop.upstream.git("checkout", "-q", "main")
        sources = {source: commit if source.trusted else proposed for source, commit in plan.sources.items()}
        await run_build(dataclasses.replace(plan, sources=sources))
        assert workshop.said(plan)[0] == expected


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


async def test_job_variables_are_templates_for_untrusted_playbooks(workshop: Workshop) -> None:
    node = workshop.local_node()
    plan = await workshop.plan(run=tasks("{debug: {msg: '{{ where }}'}}"), nodes={"primary": node}, vars={"where": "at {{ zuul.branch }}"})
    await run_build(plan)
    assert "at main" in workshop.said(plan)


async def test_no_log_stays_silent(workshop: Workshop) -> None:
    plan = await workshop.plan(run=tasks("{shell: echo quiet-please, no_log: true}"), nodes={"primary": workshop.local_node()})
    await run_build(plan)
    assert "quiet-please" not in "\n".join(workshop.console(plan)).replace("TASK [shell]", "")


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


@pytest.mark.parametrize(
    ("files", "role"),
    [
        ({"roles/greet/tasks/main.yaml": "- command: echo hello from a role\n"}, RoleSource(PROJECT, "main", False)),
        ({"tasks/main.yaml": "- command: echo hello from a role\n"}, RoleSource(PROJECT, "main", False, name="greet")),
    ],
    ids=["repository of roles", "repository that is a role"],
)
async def test_roles_come_from_the_repositories_a_playbook_names(workshop: Workshop, files: dict[str, str], role: RoleSource) -> None:
    use = "- hosts: all\n  gather_facts: false\n  roles: [greet]\n"
    plan = await workshop.plan(run=use, files=files, nodes={"primary": workshop.local_node()}, roles=(role,))
    assert (await run_build(plan)).verdict == Verdict("SUCCESS"), workshop.console(plan)
    assert workshop.said(plan)[0] == "hello from a role"


async def test_a_repository_without_roles_or_a_missing_playbook_is_one_sentence(workshop: Workshop) -> None:
    run = tasks("{shell: echo never}")
    implicit = await workshop.plan(
        run=run, nodes={"primary": workshop.local_node()}, roles=(RoleSource(PROJECT, "main", False, implicit=True),)
    )
    async with Build(implicit):
        pass
    explicit = await workshop.plan(run=run, roles=(RoleSource(PROJECT, "main", False),))
    with pytest.raises(BuildProblem, match=r"nova at main has no roles: neither tasks/ nor roles/ is there"):
        await Build(explicit).prepare()
    lost = dataclasses.replace(
        explicit, job=dataclasses.replace(explicit.job, run=(Playbook(PROJECT, "main", "playbooks/gone.yaml", False),))
    )
    with pytest.raises(BuildProblem, match=r"there is no playbook playbooks/gone.yaml in .*nova at main"):
        await Build(lost).prepare()


async def test_facts_last_from_playbook_to_playbook(workshop: Workshop) -> None:
    plan = await workshop.plan(
        pre=tasks("{set_fact: {found: '42', cacheable: true}}"),
        run=tasks("{debug: {msg: 'found {{ found }}'}}"),
        nodes={"primary": workshop.local_node()},
    )
    await run_build(plan)
    assert "found 42" in workshop.said(plan)


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
    outcome = await run_build(plan)
    assert outcome.verdict == Verdict("RETRY", retry=True)  # what reports events is broken by it: no result can be believed
    assert sorted(tmp_path.iterdir()) == before


async def test_results_that_are_a_link_to_elsewhere_are_not_followed(workshop: Workshop, tmp_path: Path) -> None:
    (tmp_path / "private.json").write_text(json.dumps({"data": {"leaked": True}}))
    plan = await workshop.plan(run=tasks(f"{{shell: 'ln -s {tmp_path}/private.json /build/work/results.json'}}", hosts="localhost"))
    outcome = await run_build(plan)
    assert outcome.data == {}
    assert "what zuul_return wrote cannot be read" in outcome.warnings


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


async def test_an_executor_killed_outright_leaves_nothing_running(workshop: Workshop, tmp_path: Path) -> None:
    script = f"""if True:
        import asyncio, dataclasses, pathlib, shutil
        from tasks.outside import Reach
        from tasks.playbooks import run_build
        from tests.services.workshop import Workshop, tasks
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
