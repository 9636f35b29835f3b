"""Crashes are normal: whatever is killed in the middle, a change gets its vote, once. Also: ends that are no crash."""

from __future__ import annotations

import asyncio
import os
import signal

import pytest

from tests.services.installation import Installation, project_stanza
from tests.services.until import until

pytestmark = pytest.mark.slow


async def test_a_killed_worker_has_its_runs_marked_crashed_and_started_again(ci: Installation) -> None:
    change = ci.propose("passes", "waits", "waits-afar")
    first = [await ci.bell.ring(change.number, job) for job in ("waits", "waits-afar")]
    workers = await ci.workers()

    for worker in workers:
        os.kill(worker, signal.SIGKILL)

    for job in ("waits", "waits-afar"):
        (await ci.bell.ring(change.number, job, 2)).end(0)
    report = await ci.report(change)
    assert ci.verified(change) == 1
    assert report.count(": SUCCESS") == 3
    assert all(ring.gone for ring in first)
    await ci.over(change)
    assert len(ci.reports(change)) == 1
    for run in (ci.parent(change), ci.run_of(change, "waits")):
        states = ci.states(run)
        assert states.index("Crashed") < states.index("AwaitingRetry") < states.index("Completed"), states
    passed = await ci.ask("select attempt from builds where flow_run = $1", ci.run_of(change, "passes")["id"])
    waited = await ci.ask("select attempt from builds where flow_run = $1 order by attempt", ci.run_of(change, "waits")["id"])
    assert [row["attempt"] for row in waited] == [1, 2]
    assert passed[-1]["attempt"] <= 2
    assert not await ci.nodes(change)


async def test_everything_killed_and_started_again_in_the_middle_gives_one_vote(ci: Installation) -> None:
    change = ci.propose("waits", "waits-afar")
    first = [await ci.bell.ring(change.number, job) for job in ("waits", "waits-afar")]
    ci.kill()
    await until(lambda: all(ring.gone for ring in first), "the jobs of the killed installation are gone")
    ci.start()
    for job in ("waits", "waits-afar"):
        (await ci.bell.ring(change.number, job, 2)).end(0)
    await ci.report(change)
    assert ci.verified(change) == 1
    await ci.over(change)
    assert len(ci.reports(change)) == 1


async def test_changes_of_the_time_when_headgate_was_stopped_are_not_missed(ci: Installation) -> None:
    reported = ci.propose("fails")
    await ci.report(reported)
    running = ci.propose("waits")
    await ci.bell.ring(running.number)
    ci.stop()
    missed = ci.propose("passes")
    ci.comment(reported, "recheck")
    ci.start()
    (await ci.bell.ring(running.number, number=2)).end(0)
    await asyncio.gather(ci.report(running), ci.report(missed), ci.report(reported, 2))
    assert [ci.verified(change) for change in (running, missed, reported)] == [1, 1, -1]
    for change, said in ((running, 1), (missed, 1), (reported, 2)):
        await ci.over(change)
        assert len(ci.reports(change)) == said


async def test_a_restart_of_gerrit_in_the_middle_loses_neither_votes_nor_changes(ci: Installation) -> None:
    change = ci.propose("waits")
    ring = await ci.bell.ring(change.number)
    ci.server.gerrit.stop()
    try:
        ring.end(0)

        async def has_result() -> bool:
            return bool(await ci.ask("select 1 from builds where id = $1 and result is not null", ring.build))

        await until(has_result, "the job has its result")
        assert ci.process is not None
        assert ci.process.poll() is None
    finally:
        ci.server.gerrit.start()
    unheard = ci.propose("passes")
    await asyncio.gather(ci.report(change), ci.report(unheard))
    for each in (change, unheard):
        await ci.over(each)
        assert len(ci.reports(each)) == 1
        assert ci.verified(each) == 1


async def test_a_run_cancelled_while_its_vote_is_being_said_does_not_take_the_vote_with_it(ci: Installation) -> None:
    ci.land({"zuul.d/project.yaml": project_stanza(["noop"], gate=["waits"])})
    checked = ci.propose("waits")
    rings = [await ci.bell.ring(checked.number)]
    approved = ci.propose(files={"approved": "x"})
    ci.approve(approved)
    rings.append(await ci.bell.ring(approved.number))
    ci.server.gerrit.stop()
    try:
        for ring in rings:
            ring.end(0)

        async def decided() -> bool:
            ids = [ring.build for ring in rings]
            unsaid = "select 1 from reports join builds on builds.buildset = reports.buildset where builds.id = any($1) and sent is null"
            return len(await ci.ask(f"{unsaid} and kind not in ('start', 'enqueue')", ids)) >= len(rings)

        await until(decided, "what there is to say is written down")
        runs = [ci.parent(checked), ci.parent(approved, "gate")]
        for run in runs:
            ci.cancel(run)
        await until(lambda: all(ci.state(run) == "Cancelled" for run in runs), "the runs are cancelled")
    finally:
        ci.server.gerrit.start()
    await ci.report(checked)
    await until(lambda: ci.merged(approved), "what was to be merged is merged")
    assert ci.verified(checked) == 1
    assert len(ci.reports(checked)) == 1
    assert sum("Build succeeded (gate)." in said for said in ci.reports(approved)) == 1


async def test_a_clean_stop_leaves_no_process_and_forgets_nothing(ci: Installation) -> None:
    reported, running = ci.propose("passes"), ci.propose("waits", "waits-afar")
    await ci.report(reported)
    rings = [await ci.bell.ring(running.number, job) for job in ("waits", "waits-afar")]
    runs = set(ci.runs(reported)) | set(ci.runs(running))

    ci.stop()

    assert ci.processes() == {}
    await until(lambda: all(ring.gone for ring in rings), "the jobs are gone from their nodes")
    ci.start()
    for job in ("waits", "waits-afar"):
        (await ci.bell.ring(running.number, job, 2)).end(0)
    await ci.report(running)
    assert ci.verified(running) == 1
    assert set(ci.runs(reported)) | set(ci.runs(running)) == runs
    assert ci.state(ci.parent(reported)) == "Completed"
    assert len(await ci.ask("select 1 from builds where result = 'SUCCESS' and flow_run = $1", ci.run_of(reported, "passes")["id"])) == 1
    await ci.over(reported)
    assert len(ci.reports(reported)) == 1
