"""A job that means harm: what it may read, take and forge. What is not stopped is in docs/hostile-jobs.md."""

from __future__ import annotations

import asyncio
import base64
import dataclasses
import os
import pwd
import re
import shutil
from pathlib import Path

import pytest

from headgate.results import Outcome, Phase, Verdict
from providers.base import Node
from tasks import disk
from tasks.outside import reach_of
from tasks.playbooks import Build, run_build
from tests.services.workshop import Workshop, inside, processes, tasks, until_running

SECRET = "hunter2hunter2"
MEGABYTE = 1_000_000


async def test_a_job_that_fills_the_disk_ends_as_disk_full(workshop: Workshop, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(disk, "LOOK_SECONDS", 0.05)
    fill = "cd ~; for i in $(seq 1 40); do head -c 1000000 /dev/zero > part-$i; done; sleep 4321.9"
    for hosts, nodes in (("localhost", {}), ("all", {"primary": workshop.local_node()})):
        plan = await workshop.plan(run=tasks(f"{{shell: '{fill}'}}", hosts=hosts), nodes=nodes)
        outcome = await run_build(dataclasses.replace(plan, disk_bytes=20 * MEGABYTE))
        assert outcome.verdict == Verdict("DISK_FULL")
        assert "DISK FULL: this job may fill 20 MB here; everything it started is killed" in workshop.console(plan)


async def test_no_file_becomes_larger_than_the_limit_and_no_memory_is_filled(workshop: Workshop) -> None:
    fill = "cd ~; head -c 8000000 /dev/zero > big; stat -c %s big; head -c 3000000000 /dev/zero > /tmp/big; df -B1 --output=size /tmp"
    look = f"{{shell: '{fill}'}}"
    plan = await workshop.plan(run=tasks(look, hosts="localhost"))
    await run_build(dataclasses.replace(plan, disk_bytes=4 * MEGABYTE))
    said = workshop.said(plan, "localhost")
    assert "4000000" in said
    assert str(2 << 30) in said


async def test_a_job_is_told_how_many_processes_it_may_have(workshop: Workshop) -> None:
    look = 'grep -E "processes|core" /proc/self/limits; cat /proc/self/oom_score_adj'
    plan = await workshop.plan(run=tasks(f"{{shell: '{look}'}}", hosts="localhost"))
    await run_build(plan)
    core, processes, score = (line.split() for line in workshop.said(plan, "localhost")[:3])
    assert (core[4:6], processes[2:4]) == (["0", "0"], ["10000", "10000"])
    assert int(score[0]) >= 500  # of all processes of the machine it is ended first when memory is short


async def test_nothing_of_a_job_is_root_outside_its_sandbox(workshop: Workshop) -> None:
    plan = await workshop.plan(
        run=tasks("{shell: 'touch made ~/made; exec -a job-4321.95 sleep 4321.95', args: {executable: /bin/bash}}"),
        nodes={"primary": workshop.local_node()},
    )
    running = asyncio.create_task(run_build(plan))
    await until_running("job-4321.95 4321.95")
    owner = {Path(f"/proc/{process}").stat().st_uid for process in processes("job-4321.95 4321.95")}
    assert owner == {os.getuid() or pwd.getpwnam("nobody").pw_uid}
    assert Path(plan.nodes["primary"].home, "made").stat().st_uid in owner
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running


async def test_a_fork_bomb_stays_in_its_sandbox(workshop: Workshop, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tasks.player.MOST_PROCESSES", 100)
    bomb = "{shell: 'i=0; while [ $i -lt 300 ]; do sleep 4321.8 & i=$((i+1)); done; true'}"
    plan = await workshop.plan(run=tasks(bomb, hosts="localhost"))
    await run_build(plan)
    assert any("Cannot fork" in line or "Resource temporarily" in line for line in workshop.said(plan, "localhost"))
    assert not processes("sleep 4321.8")


@pytest.mark.skipif(not shutil.which("pasta"), reason="pasta is not installed")
async def test_a_job_reaches_its_nodes_what_is_allowed_and_nothing_else(workshop: Workshop) -> None:
    """The metadata of a cloud's host, PostgreSQL, Prefect and other machines are what it must not reach."""
    shut, open_ = [await asyncio.start_server(hello, "127.0.0.1", 0) for _ in range(2)]
    ports = [server.sockets[0].getsockname()[1] for server in (shut, open_)]
    node = Node("node", "label", "test", "", "ssh", "127.0.0.1", ports[1], "zuul", "/home/zuul")
    look = f"""
import socket
for place in (("127.0.0.1", {ports[0]}), ("127.0.0.1", {ports[1]}), ("169.254.169.254", 80), ("192.0.2.1", 22), ("10.0.0.1", 443)):
    try:
        print(place[0], socket.create_connection(place, 5).recv(5).decode())
    except OSError as problem:
        print(place[0], problem.strerror)
"""
    run = tasks("{command: cat /etc/hosts}", "{script: /build/work/look.py, args: {executable: python3}}", hosts="localhost")
    plan = await workshop.plan(run=run)
    plan = dataclasses.replace(plan, reach=reach_of([node, dataclasses.replace(node, host="localhost")], ["203.0.113.0/28"]))
    async with Build(plan) as build:
        (plan.directory / "work/look.py").write_text(look)
        played = await build.play(Phase.RUN, plan.job.run[0])
    assert played.outcome == Outcome.OK, workshop.console(plan)
    said = workshop.said(plan, "localhost")
    assert [line for line in said if re.match(r"[\d.]+ (Conn|Net|hello)", line)] == [
        "127.0.0.1 Connection refused",
        "127.0.0.1 hello",
        "169.254.169.254 Network is unreachable",
        "192.0.2.1 Network is unreachable",
        "10.0.0.1 Network is unreachable",
    ]
    for server in (shut, open_):
        server.close()
    assert not inside(plan.directory)


async def hello(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    writer.write(b"hello")
    writer.close()


async def test_a_job_reads_neither_keys_nor_secrets_nor_other_builds(workshop: Workshop, tmp_path: Path) -> None:
    (tmp_path / "state/keys").mkdir(parents=True)
    (tmp_path / "state/keys/project.pem").write_text("PRIVATE")
    victim = await workshop.plan(run=tasks("{shell: 'echo mine > kept'}"), nodes={"primary": workshop.local_node("victim")}, trusted=True)
    await run_build(dataclasses.replace(victim, secrets={victim.job.run[0]: {"password": SECRET}}))
    look = [
        f"{{shell: 'cat {tmp_path}/state/keys/project.pem {victim.nodes['primary'].home}/kept {victim.directory}/console.log 2>&1'}}",
        '{shell: \'cat /build/ansible/extra.yaml /proc/*/environ /proc/*/cmdline 2>/dev/null | tr "\\\\0" "\\\\n"\'}',
        "{shell: 'for fd in /proc/*/fd/*; do readlink $fd; done 2>/dev/null | sort -u'}",
        '{shell: \'ls /build/trusted /build/events 2>&1; find / -xdev -name "*.pem" -path "*keys*" 2>/dev/null\'}',
    ]
    plan = await workshop.plan(run=tasks(*(f"{one[:-1]}, ignore_errors: true}}" for one in look), hosts="localhost"))
    await run_build(plan)
    said = "\n".join(workshop.said(plan, "localhost"))
    assert "PRIVATE" not in said
    assert "mine" not in said
    assert SECRET not in said
    assert said.count("No such file or directory") >= 3


async def test_a_printed_secret_is_hidden_but_not_what_was_made_of_it(workshop: Workshop) -> None:
    """What isn't stopped: the console cannot know what a secret looks like once it is rearranged."""
    prints = tasks(
        f"{{shell: 'echo whole {{{{ password }}}}; printf {SECRET[:7]}; sleep 0.1; echo {SECRET[7:]}'}}",
        "{shell: 'echo {{ password }} | base64; echo {{ password }} | rev'}",
        hosts="localhost",
    )
    plan = await workshop.plan(run=prints, trusted=True)
    await run_build(dataclasses.replace(plan, secrets={plan.job.run[0]: {"password": SECRET}}))
    said = workshop.said(plan, "localhost")
    assert said[:2] == ["whole (redacted)", "(redacted)"]
    assert base64.b64encode(f"{SECRET}\n".encode()).decode() in said
    assert SECRET[::-1] in said


async def test_a_secret_is_in_no_file_that_is_published(workshop: Workshop) -> None:
    writes = tasks(
        "{copy: {content: 'key={{ password }}', dest: '{{ zuul.executor.log_root }}/settings.txt'}}",
        "{debug: {msg: '{{ password }}'}}",
        hosts="localhost",
    )
    later = tasks(f"{{shell: 'echo later {SECRET}'}}", hosts="localhost")
    plan = await workshop.plan(pre=writes, run=later, trusted=True)
    outcome = await run_build(dataclasses.replace(plan, secrets={plan.job.pre_run[0]: {"password": SECRET}}))
    assert outcome.verdict == Verdict("SUCCESS")
    assert "later (redacted)" in workshop.said(plan, "localhost")
    assert (plan.directory / "logs/settings.txt").read_text() == "key=(redacted)"
    published = [path for path in (plan.directory / "logs").rglob("*") if path.is_file()]
    assert len(published) == 3
    assert not [path for path in published if SECRET.encode() in path.read_bytes()]


async def test_what_a_job_wants_hidden_is_hidden_and_not_kept(workshop: Workshop) -> None:
    token = "minted-by-the-job-itself"
    returns = f"{{zuul_return: {{data: {{zuul: {{redactions: [{token}], log_url: 'https://x/'}}, other: 1}}}}}}"
    plan = await workshop.plan(
        pre=tasks(f"{{shell: 'echo early {token}'}}", returns, hosts="localhost"),
        run=tasks(f"{{shell: 'echo {token} > {{{{ zuul.executor.log_root }}}}/made; echo late {token}'}}", hosts="localhost"),
    )
    outcome = await run_build(plan)
    assert outcome.data == {"zuul": {"log_url": "https://x/"}, "other": 1}
    said = workshop.said(plan, "localhost")
    assert "late (redacted)" in said
    assert "early (redacted)" in said
    assert (plan.directory / "logs/made").read_text() == "(redacted)\n"


async def test_a_job_that_must_not_print_a_secret_fails_when_it_does(workshop: Workshop) -> None:
    for text, result in (("echo {{ password }}", "SECRET_EXPOSURE"), ("echo fine", "SUCCESS")):
        plan = await workshop.plan(run=tasks(f"{{shell: '{text}'}}", hosts="localhost"), trusted=True, secret_exposure="fail")
        outcome = await run_build(dataclasses.replace(plan, secrets={plan.job.run[0]: {"password": SECRET}}))
        assert outcome.verdict == Verdict(result)
