"""The gate: what is approved merges only as it was tested, in order, whatever fails or is killed meanwhile."""

from __future__ import annotations

import asyncio
import json
import os
import re
import signal
from collections.abc import Callable

import asyncpg
import pytest
import yaml

from headgate.records import CANCELLED, REPORTED
from tests.services.installation import Installation, Proposed, project_stanza
from tests.services.until import until

pytestmark = pytest.mark.slow


async def end_all(ci: Installation, changes: list[Proposed], code: Callable[[Proposed], int], done: Callable[[], bool]) -> None:
    """End every job that rings, as `code` says of its change, until it is done."""

    def step() -> bool:
        for change in changes:
            for ring in ci.bell.of(change.number):
                if not ring.gone:
                    ring.end(code(change))
        return done()

    await until(step, "the gate is through with them", seconds=240)


async def test_ten_approved_changes_of_which_the_third_fails_merge_in_order_though_all_is_restarted(ci: Installation) -> None:
    ci.land({"zuul.d/project.yaml": project_stanza(["noop"], gate=["waits"])})
    changes = ci.propose_many(10)
    third, others = changes[2], [change for number, change in enumerate(changes) if number != 2]
    for change in changes:
        ci.approve(change)
    for change in changes:
        await ci.bell.ring(change.number)
    tested = ci.bell.of(changes[-1].number)[0].commit
    for worker in await ci.workers():
        os.kill(worker, signal.SIGKILL)
    await until(lambda: all(len(ci.bell.of(change.number)) > 1 for change in changes), "their jobs run again", seconds=120)
    ci.kill()
    ci.start()
    await asyncio.to_thread(ci.server.restart)

    await end_all(ci, changes, lambda change: int(change == third), lambda: all(ci.merged(change) for change in others))

    assert not ci.merged(third)
    assert ci.verified(third) == -2
    assert "Build failed (gate)." in ci.reports(third)[-1]
    ci.author.start()
    merged = re.findall(r"Change number (\d)$", ci.author.git("log", "--reverse", "--first-parent", "-m", "--format=%s%n%b", "HEAD"), re.M)
    titles = ci.author.git("log", "--reverse", "--topo-order", "--no-merges", "--format=%s", "HEAD")
    assert sorted(re.findall(r"Change number (\d)", titles)) == [str(number) for number in range(10) if number != 2], merged
    submitted = [ci.server.gerrit.api("GET", f"changes/{change.number}")["submitted"] for change in others]
    assert submitted == sorted(submitted)
    assert ci.bell.of(changes[-1].number)[-1].commit != tested  # without the third it was tested anew
    for change in others:
        assert [said for said in ci.reports(change) if "Build succeeded (gate)." in said][1:] == []
    assert await ci.ask("select 1 from items where dequeued is null") == []


async def test_a_job_that_prints_its_failure_lets_those_behind_go_on_without_it_before_it_ends(ci: Installation) -> None:
    brittle = r"- job: {name: brittle, parent: waits, failure-output: '\d+ tests failed'}" + "\n"
    ci.land({"zuul.d/more.yaml": brittle, "zuul.d/project.yaml": project_stanza(["noop"], gate=["brittle"])})
    first, second = ci.propose_many(2)
    for change in (first, second):
        ci.approve(change)
    failing = await ci.bell.ring(first.number)
    behind = await ci.bell.ring(second.number)

    failing.print("12 tests failed")
    await until(lambda: len(ci.bell.of(second.number)) > 1, "the change behind is tested without it")
    assert behind.gone
    assert not failing.gone
    assert ci.bell.of(second.number)[-1].commit != behind.commit
    (known,) = await ci.ask("select failing, ended from builds where id = $1", failing.build)
    assert known["failing"] is not None and known["ended"] is None

    await end_all(ci, [first, second], lambda _: 0, lambda: ci.merged(second))
    assert not ci.merged(first)
    assert ci.verified(first) == -2
    assert ": FAILURE" in ci.reports(first)[-1]


@pytest.mark.long
async def test_jobs_that_follow_the_report_hold_the_queue_until_they_end_or_are_cancelled(ci: Installation) -> None:
    announce = "- job: {name: announce, parent: waits, type: reporter}\n"
    ci.land({"zuul.d/more.yaml": announce, "zuul.d/project.yaml": project_stanza(["noop"], gate=["noop", "announce"])})
    first, second, third = ci.propose_many(3)
    ci.approve(first)
    announcing = await ci.bell.ring(first.number, "announce")
    assert ci.merged(first) and ci.verified(first) == 2  # it was said before
    for change in (second, third):
        ci.approve(change)
    await until(lambda: third.name in ci.headgate("status"), "the others wait")
    assert "it was reported" in ci.headgate("status")
    assert not ci.merged(second)
    announcing.end(0)

    cancelled = await ci.bell.ring(second.number, "announce")
    assert ci.merged(second) and not ci.merged(third)
    ci.cancel(ci.parent(second, "gate"))
    await until(lambda: cancelled.gone, "the cancelled job is gone")
    announcing = await ci.bell.ring(third.number, "announce")
    assert ci.merged(third)
    announcing.end(1)  # too late to be said, and nothing is left over

    async def gone() -> bool:
        return await ci.ask("select 1 from items where dequeued is null") == []

    await until(gone, "the queue is empty")
    found = await ci.ask(
        "select buildsets.result, items.reason, items.change->>'number' as number from buildsets join items on items.id = buildsets.item "
        "where pipeline = 'gate' and change->>'number' = any($1::text[]) and buildsets.result not in ('', 'DEQUEUED') order by 3::int",
        [str(change.number) for change in (first, second, third)],
    )
    assert [(row["result"], row["reason"]) for row in found] == [("SUCCESS", REPORTED), ("SUCCESS", CANCELLED), ("FAILURE", REPORTED)]
    for change in (first, second, third):
        assert len([said for said in ci.reports(change) if "(gate)" in said]) == 1


async def test_operators_put_in_take_out_and_promote(ci: Installation) -> None:
    ci.land({"zuul.d/project.yaml": project_stanza(["noop"], gate=["waits"])})
    first, second = ci.propose_many(2)
    for change in (first, second):
        ci.approve(change)
        await ci.bell.ring(change.number)
    shown = ci.headgate("status")
    assert shown.index(first.name) < shown.index(second.name)
    assert "gate (dependent)" in shown and "waits: running" in shown

    assert "done" in ci.headgate("promote", str(second.number), "--pipeline", "gate")
    await until(lambda: len(ci.bell.of(second.number)) > 1, "the promoted change is tested at the head")
    shown = ci.headgate("status")
    assert shown.index(second.name) < shown.index(first.name)

    assert "dequeued" in ci.headgate("dequeue", str(second.number), "--pipeline", "gate", "--reason", "not today")
    left = await ci.ask(
        "select reason from items where change_key = $1 and pipeline = 'gate' order by dequeued", f"review/{second.number}/1"
    )
    assert [row["reason"] for row in left] == ["moved by a promotion", "not today"]
    await end_all(ci, [first], lambda _: 0, lambda: ci.merged(first))
    assert not ci.merged(second)

    assert "done" in ci.headgate("enqueue", str(second.number), "--pipeline", "gate")
    await end_all(ci, [second], lambda _: 0, lambda: ci.merged(second))


async def test_a_change_and_what_it_depends_on_are_tested_together(ci: Installation) -> None:
    ci.land({"zuul.d/project.yaml": project_stanza(["noop"])})
    below = ci.propose(files={"below": "x"}, message="The change below")
    await ci.report(below)
    url = f"{ci.server.settings().url}/c/{ci.server.project}/+/{below.number}"
    above = ci.propose("waits", message=f"The change above\n\nDepends-On: {url}")
    ring = await ci.bell.ring(above.number)
    ring.end(0)
    report = await ci.report(above)
    assert "Build succeeded" in report
    (tested,) = await ci.ask(
        "select ahead from buildsets join items on items.id = buildsets.item where change_key = $1", f"review/{above.number}/1"
    )
    assert str(below.number) in tested["ahead"]


async def test_what_merged_is_tested_again_as_the_branch_that_moved(ci: Installation) -> None:
    stanza = yaml.safe_load(project_stanza(["noop"], gate=["noop"]))
    stanza[0]["project"]["post"] = {"jobs": ["passes"]}
    ci.land({"zuul.d/project.yaml": yaml.safe_dump(stanza)})
    change = ci.propose(files={"merges": "x"})
    ci.approve(change)
    await until(lambda: ci.merged(change), "the change merges")

    async def tested() -> list[asyncpg.Record]:
        return await ci.ask(
            "select builds.result, builds.message, items.change from builds "
            "join buildsets on buildsets.id = builds.buildset join items on items.id = buildsets.item "
            "where items.pipeline = 'post' and builds.result is not null and items.change->>'project' = $1 order by builds.created",
            ci.server.project,
        )

    builds = await until(tested, "the moved branch is tested")
    assert {(build["result"], build["message"]) for build in builds} == {("SUCCESS", "")}
    head = ci.author.git("ls-remote", "origin", "refs/heads/main").split()[0]

    async def the_head_is_tested() -> bool:
        return any(json.loads(build["change"])["commit"] == head for build in await tested())

    await until(the_head_is_tested, "the branch is tested as it is after the merge")
