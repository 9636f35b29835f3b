"""Builds on nodes behind ssh: a real sshd on loopback, real Ansible, real git pushes."""

from __future__ import annotations

import asyncio
import dataclasses
from collections.abc import Iterator
from pathlib import Path

import pytest

from headgate.build_facts import ProjectState
from headgate.results import Outcome, Phase, Verdict
from tasks.playbooks import Build, run_build
from tasks.workspace import NodeUnreachable
from tests.services.sshd import SshNode, make_key, sshd_node
from tests.services.workshop import PROJECT, Workshop, inside, tasks, until_gone, until_running

pytestmark = pytest.mark.slow


@pytest.fixture
def server(tmp_path: Path) -> Iterator[SshNode]:
    with sshd_node(tmp_path) as running:
        yield running


def in_project(script: str) -> str:
    return f"{{shell: '{script}', args: {{chdir: src/{PROJECT}}}}}"


async def test_passing_job_on_a_node_with_facts_and_a_streamed_console(workshop: Workshop, server: SshNode) -> None:
    plan = await workshop.plan(
        pre="- hosts: all\n  tasks:\n    - {debug: {msg: 'kernel {{ ansible_kernel is defined }} home {{ ansible_user_dir }}'}}\n",
        run=tasks("{shell: 'echo out; sleep 0.1; echo err >&2; whoami; pwd'}", "{copy: {content: x, dest: made}}", "{slurp: {src: made}}"),
        nodes={"primary": server.node},
        private_key=server.private_key,
    )
    assert (await run_build(plan)).verdict == Verdict("SUCCESS"), "\n".join(workshop.console(plan))
    said = workshop.said(plan)
    assert f"kernel True home {server.home}" in said
    assert [line for line in said if line in ("out", "err", "noderunner", str(server.home))] == [
        "out",
        "err",
        "noderunner",
        str(server.home),
    ]


async def test_node_gets_every_branch_and_the_merged_commit_checked_out(workshop: Workshop, server: SshNode) -> None:
    workshop.upstream.git("branch", "stable/one")
    workshop.upstream.git("tag", "v1")
    change = workshop.upstream.change(7, {"new.txt": "new\n"})
    plan = await workshop.plan(
        run=tasks(in_project("git rev-parse HEAD; git branch --show-current; git status --porcelain; cat new.txt; git describe --tags")),
        nodes={"primary": server.node},
        private_key=server.private_key,
    )
    await workshop.caches.fetch(PROJECT, str(workshop.upstream.path), refs=["refs/changes/7/1"])
    merged = await workshop.caches.merge(PROJECT, "main", [change], keep="item-7")
    plan = dataclasses.replace(plan, facts=dataclasses.replace(plan.facts, projects=(ProjectState(PROJECT, merged.commit, "main"),)))
    assert (await run_build(plan)).verdict == Verdict("SUCCESS"), "\n".join(workshop.console(plan))
    said = workshop.said(plan)
    assert said[:3] == [merged.commit, "main", "new"]
    assert said[3].startswith("v1-")
    assert (server.home / f"src/{PROJECT}/.git/refs/heads/stable/one").exists()


async def test_a_tag_is_checked_out_without_a_branch_on_the_node_and_here(workshop: Workshop, server: SshNode) -> None:
    workshop.upstream.git("tag", "v1")
    look = "git rev-parse HEAD; git branch --show-current | wc -l; git tag --points-at HEAD; git status --porcelain"
    here = f"{{shell: '{look}', args: {{chdir: '/build/work/src/{PROJECT}'}}, delegate_to: localhost}}"
    plan = await workshop.plan(
        run=tasks(in_project(look), here), nodes={"primary": server.node}, private_key=server.private_key, workspace_checkout=True
    )
    tag = await workshop.caches.resolve(PROJECT, "refs/tags/v1")
    assert tag != plan.facts.projects[0].commit
    plan = dataclasses.replace(plan, facts=dataclasses.replace(plan.facts, projects=(ProjectState(PROJECT, tag, "v1", is_tag=True),)))
    assert (await run_build(plan)).verdict == Verdict("SUCCESS"), "\n".join(workshop.console(plan))
    said = workshop.said(plan)
    assert [line for line in said if line in (tag, "0", "v1")] == [tag, "0", "v1"] * 2


async def test_a_node_used_before_gets_the_new_commit_and_no_old_files(workshop: Workshop, server: SshNode) -> None:
    for _ in range(2):
        plan = await workshop.plan(
            run=tasks(in_project("git rev-parse HEAD; git status --porcelain --ignored; touch left-over a.txt && rm a.txt")),
            nodes={"primary": server.node},
            private_key=server.private_key,
        )
        await run_build(plan)
        assert workshop.said(plan)[0] == plan.facts.projects[0].commit
        assert workshop.said(plan)[1].startswith("changed: rc=0")


async def test_node_without_git_is_told_and_the_job_goes_on(workshop: Workshop, tmp_path: Path) -> None:
    programs = tmp_path / "programs"
    programs.mkdir()
    for name in ("sh", "bash", "mkdir", "echo", "uname", "sleep", "rm", "cat", "pwd"):
        (programs / name).symlink_to(f"/usr/bin/{name}")
    with sshd_node(tmp_path, path=str(programs)) as server:
        plan = await workshop.plan(run=tasks("{shell: echo still here}"), nodes={"primary": server.node}, private_key=server.private_key)
        assert (await run_build(plan)).verdict == Verdict("SUCCESS"), "\n".join(workshop.console(plan))
        assert "node node-1 has no git, so no repositories are put there" in workshop.console(plan)
        assert "still here" in workshop.said(plan)


async def test_node_that_dies_in_the_run_is_retried(workshop: Workshop, server: SshNode) -> None:
    plan = await workshop.plan(
        run=tasks("{shell: 'echo up; sleep 5432.1'}", "{shell: echo never}"),
        post=tasks("{shell: echo post}"),
        nodes={"primary": server.node},
        private_key=server.private_key,
    )
    running = asyncio.create_task(run_build(plan))
    await until_running("sleep 5432.1")
    server.stop()
    outcome = await running
    assert [(one.phase, one.outcome) for one in outcome.played] == [(Phase.RUN, Outcome.UNREACHABLE), (Phase.POST, Outcome.UNREACHABLE)]
    assert outcome.verdict == Verdict("RETRY", retry=True)
    assert any(line.startswith("UNREACHABLE") for line in workshop.said(plan))


async def test_a_job_that_was_seen_to_fail_before_its_node_died_is_a_failure(workshop: Workshop, server: SshNode) -> None:
    plan = await workshop.plan(
        run=tasks("{shell: 'echo 12 tests failed; sleep 5432.15'}"),
        nodes={"primary": server.node},
        private_key=server.private_key,
        failure_output=(r"\d+ tests failed",),
    )
    running = asyncio.create_task(run_build(plan))
    await until_running("sleep 5432.15")
    server.stop()
    assert (await running).verdict == Verdict("FAILURE")


async def test_node_that_is_not_there_is_one_sentence_and_a_retry(workshop: Workshop, server: SshNode) -> None:
    plan = await workshop.plan(run=tasks("{shell: echo never}"), nodes={"primary": server.node}, private_key=server.private_key)
    server.stop()
    outcome = await run_build(plan)
    assert outcome.verdict == Verdict("RETRY", retry=True)
    assert outcome.played == ()
    address = f"{server.node.host}:{server.node.port}"
    assert any(
        line.startswith(f"node node-1 at {address} cannot be reached: ") and "Connection refused" in line for line in workshop.console(plan)
    )


async def test_a_node_with_another_host_key_is_not_spoken_to(workshop: Workshop, server: SshNode, tmp_path: Path) -> None:
    impostor = dataclasses.replace(server.node, host_keys=(make_key(tmp_path / "other"),))
    plan = await workshop.plan(run=tasks("{shell: echo never}"), nodes={"primary": impostor}, private_key=server.private_key)
    async with Build(plan) as build:
        with pytest.raises(NodeUnreachable, match=r"Host key verification failed"):
            await build.push_workspace()
        played = await build.play(Phase.RUN, plan.job.run[0])
    assert played.outcome == Outcome.UNREACHABLE


async def test_cancel_ends_everything_on_the_node_too(workshop: Workshop, server: SshNode) -> None:
    plan = await workshop.plan(
        run=tasks("{shell: '(trap : TERM; while true; do sleep 5432.2; done) & sleep 5432.2'}"),
        cleanup=tasks("{shell: echo swept}"),
        nodes={"primary": server.node},
        private_key=server.private_key,
    )
    running = asyncio.create_task(run_build(plan))
    await until_running("sleep 5432.2")
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running
    await until_gone("sleep 5432.2")
    assert not inside(plan.directory)
    assert "swept" in workshop.said(plan)


async def test_time_out_ends_everything_on_the_node_before_post_run_plays(workshop: Workshop, server: SshNode) -> None:
    plan = await workshop.plan(
        run=tasks("{shell: 'sleep 5432.3'}"),
        post=tasks("{shell: 'sleep 0.5; pgrep -f 5432.[3] || echo gone'}"),
        nodes={"primary": server.node},
        private_key=server.private_key,
        timeout=3,
    )
    assert (await run_build(plan)).verdict == Verdict("TIMED_OUT")
    assert "gone" in workshop.said(plan)


async def test_playbooks_can_use_the_key_and_cannot_read_it(workshop: Workshop, server: SshNode) -> None:
    plan = await workshop.plan(
        run=tasks(
            "{shell: 'ssh-add -l; find / -xdev -name key -type f 2>/dev/null; cat /build/agent/* 2>&1 | head -1'}", hosts="localhost"
        ),
        nodes={"primary": server.node},
        private_key=server.private_key,
    )
    await run_build(plan)
    said = "\n".join(workshop.said(plan, "localhost"))
    assert "ED25519" in said
    assert "OPENSSH PRIVATE KEY" not in said
    assert str(server.private_key) not in said


async def test_several_nodes_and_builds_at_once(workshop: Workshop, tmp_path: Path) -> None:
    with sshd_node(tmp_path, id="a") as first, sshd_node(tmp_path, id="b") as second, sshd_node(tmp_path, id="c") as third:
        both = {"one": first.node, "two": dataclasses.replace(second.node, private_key_path=str(second.private_key))}
        pair = await workshop.plan(run=tasks("{shell: pwd}"), nodes=both, private_key=first.private_key)
        alone = await workshop.plan(run=tasks("{shell: echo alone}"), nodes={"primary": third.node}, private_key=third.private_key)
        results = [outcome.verdict.result for outcome in await asyncio.gather(run_build(pair), run_build(alone))]
    assert results == ["SUCCESS", "SUCCESS"]
    assert (workshop.said(pair, "one")[0], workshop.said(pair, "two")[0]) == (str(first.home), str(second.home))
    assert not inside(pair.directory) and not inside(alone.directory)
