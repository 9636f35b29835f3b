"""What is no review's event, and configuration that changes under what is in flight, on a real Gerrit."""

from __future__ import annotations

import asyncpg
import pytest
import yaml

from headgate.refs import NOWHERE
from tests.services.installation import Installation, project_stanza
from tests.services.until import until

pytestmark = pytest.mark.slow

PIPELINES = """\
- pipeline:
    name: ticking
    manager: independent
    trigger: {timer: [{time: "* * * * * */2"}]}
- pipeline:
    name: release
    manager: independent
    trigger: {review: [{event: ref-updated, ref: ^refs/tags/}]}
- pipeline:
    name: gone
    manager: independent
    trigger: {review: [{event: ref-updated, ref: ^refs/heads/, ignore-deletes: false}]}
"""
FOLLOWING = """\
- pipeline:
    name: after-merge
    manager: independent
    trigger: {zuul: [{event: project-change-merged}]}
    success: {review: {}}
    success-message: It still passes.
"""
PATH = "zuul.d/more-pipelines.yaml"


async def items_of(ci: Installation, pipeline: str) -> list[asyncpg.Record]:
    """Ref, commit and result of every item that has left a pipeline, about the tested project. One that was tested anew under another
    configuration is there once."""
    return await ci.ask(
        "select change->>'ref' as ref, change->>'commit' as commit, "
        "(select result from buildsets where item = items.id order by created desc limit 1) as result from items "
        "where pipeline = $1 and change->>'project' = $2 and dequeued is not null order by enqueued",
        pipeline,
        ci.server.project,
    )


async def test_configuration_changes_under_a_running_job_and_timers_tags_and_deleted_branches_are_heard(ci: Installation) -> None:
    ci.land({"zuul.d/project.yaml": project_stanza(["noop"], gate=["waits"])})
    change, later, open_still = ci.propose_many(3)
    ci.approve(change)
    ring = await ci.bell.ring(change.number)

    (stanza,) = yaml.safe_load(project_stanza(["noop"], gate=["passes"]))
    stanza["project"] |= {name: {"jobs": ["noop"]} for name in ("ticking", "release")}
    stanza["project"]["after-merge"] = {"jobs": ["noop"]}
    gone = f"- project: {{name: {ci.server.project}, gone: {{jobs: [noop]}}}}\n"  # what a branch says of itself goes with it
    ci.configure_pipelines({PATH: PIPELINES + FOLLOWING + gone})
    ci.land({"zuul.d/project.yaml": yaml.safe_dump([stanza])})

    async def ticked() -> bool:
        return {(row["ref"], row["result"]) for row in await items_of(ci, "ticking")} == {("refs/heads/main", "SUCCESS")}

    await until(ticked, "the new timer fires for the branch")
    ci.branch("short-lived")
    ci.author.git("fetch", "-q", "origin")
    head = ci.author.git("rev-parse", "origin/main")
    ci.author.git("push", "-q", ci.server.gerrit.clone_url(ci.server.project, "admin"), "origin/main:refs/tags/1.0")
    ci.delete_branch("short-lived")

    async def deleted() -> bool:
        return ("refs/heads/short-lived", NOWHERE) in {(row["ref"], row["commit"]) for row in await items_of(ci, "gone")}

    await until(deleted, "the deleted branch is heard of")

    async def released() -> bool:
        return [tuple(row) for row in await items_of(ci, "release")] == [("refs/tags/1.0", head, "SUCCESS")]

    await until(released, "the tag is tested, once")
    assert "done" in ci.headgate("enqueue-ref", ci.server.project, "refs/tags/1.0", "--pipeline", "release")

    async def again() -> bool:
        return [tuple(row) for row in await items_of(ci, "release")] == [
            ("refs/tags/1.0", head, "SUCCESS"),
            ("refs/tags/1.0", "", "SUCCESS"),
        ]

    await until(again, "the tag is tested again as an operator asked")
    assert not ring.gone and len(ci.bell.of(change.number)) == 1  # what runs goes on as it began
    ci.configure_pipelines({PATH: FOLLOWING})
    for name in ("ticking", "release"):
        del stanza["project"][name]
    ci.land({"zuul.d/project.yaml": yaml.safe_dump([stanza])})
    ci.approve(later)
    await until(lambda: later.name in ci.headgate("status"), "the next change waits behind it")
    ring.end(0)
    await until(lambda: ci.merged(change) and ci.merged(later), "both merge")
    assert "waits" in ci.reports(change)[-1] and "passes" in ci.reports(later)[-1]
    await until(lambda: any("It still passes." in said for said in ci.reports(open_still)), "the open change hears of the merge")
    ci.configure_pipelines({PATH: ""})

    async def empty() -> bool:
        return await ci.ask("select 1 from items where dequeued is null") == []

    await until(empty, "nothing is left")


async def test_change_that_gerrit_refuses_to_submit_is_told_so_and_those_behind_are_tested_without_it(ci: Installation) -> None:
    ci.land({"zuul.d/project.yaml": project_stanza(["noop"], gate=["waits"]), "story": "one\n"})
    refused = ci.propose(files={"story": "two\n"})
    behind = ci.propose(files={"other-file": "x"})
    for change in (refused, behind):
        ci.approve(change)
    ring, later = [await ci.bell.ring(change.number) for change in (refused, behind)]
    ci.land({"story": "three\n"})  # past every review: what was tested is not what would merge
    ring.end(0)
    again = await ci.bell.ring(behind.number, number=2)
    assert later.gone and again.commit != later.commit
    assert not ci.merged(refused)
    again.end(0)
    await until(lambda: ci.merged(behind), "the change behind merges")
    (found,) = await ci.ask(
        "select buildsets.result from buildsets join items on items.id = buildsets.item where pipeline = 'gate' and change_key = $1",
        f"review/{refused.number}/1",
    )
    assert found["result"] == "MERGE_FAILURE"


@pytest.mark.long
async def test_branches_with_queues_of_their_own_do_not_wait_for_each_other(ci: Installation) -> None:
    (stanza,) = yaml.safe_load(project_stanza(["noop"], gate=["waits"]))
    stanza["project"]["queue"] = "branches"
    queue = {"queue": {"name": "branches", "per-branch": True}}
    ci.land({"zuul.d/project.yaml": yaml.safe_dump([queue, stanza])})
    ci.branch("stable")
    try:
        first = ci.propose(files={"on-main": "x"})
        ci.author.start("stable")
        ci.author.commit({"on-stable": "x"})
        number = ci.server.push(ci.author, "stable")
        ci.last_change = number
        second = type(first)(number, 1, ci.author.git("rev-parse", "HEAD"))
        ring = None
        for change in (first, second):
            ci.approve(change)
            ring = await ci.bell.ring(change.number)
        assert ring is not None
        ring.end(0)
        await until(lambda: ci.merged(second), "the stable change merges though the other still runs")
        assert not ci.merged(first)
        ci.bell.of(first.number)[0].end(0)
        await until(lambda: ci.merged(first), "the other merges too")
        assert len(ci.bell.of(first.number)) == len(ci.bell.of(second.number)) == 1  # neither was tested on top of the other
    finally:
        ci.land({"zuul.d/project.yaml": project_stanza(["noop"])})
        ci.delete_branch("stable")
