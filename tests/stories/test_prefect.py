"""What people do in Prefect: retry, cancel, limit, add workers; and `headgate rerun`."""

from __future__ import annotations

import contextlib
import signal
import subprocess
from collections.abc import AsyncIterator

import pytest

from tests.services.installation import HEADGATE, Installation
from tests.services.until import until

pytestmark = pytest.mark.slow


async def builds(ci: Installation, run_id: str) -> list[str]:
    rows = await ci.ask("select result from builds where flow_run = $1 order by created", run_id)
    return [row["result"] for row in rows]


async def test_retry_of_a_job_runs_it_on_the_same_commit_and_renews_the_vote(ci: Installation) -> None:
    change = ci.propose("waits", "passes")
    first = await ci.bell.ring(change.number)
    first.end(1)
    await ci.report(change)
    assert ci.verified(change) == -1
    await ci.over(change)
    ci.land({"landed-meanwhile": "x"})

    ci.retry(ci.run_of(change, "waits"))
    second = await ci.bell.ring(change.number, number=2)
    assert second.commit == first.commit
    second.end(0)

    report = await ci.report(change, 2)
    assert ci.verified(change) == 1
    assert report.count(": SUCCESS") == 2
    await ci.over(change)
    assert await builds(ci, ci.run_of(change, "waits")["id"]) == ["FAILURE", "SUCCESS"]
    assert await builds(ci, ci.run_of(change, "passes")["id"]) == ["SUCCESS"]
    assert len(ci.reports(change)) == 2


@pytest.mark.parametrize("force", [False, True], ids=["first-ui", "second-ui"])
async def test_retry_of_a_change_that_was_voted_on_repeats_nothing_and_says_nothing_new(ci: Installation, force: bool) -> None:
    change = ci.propose("passes", "fails")
    await ci.report(change)
    await ci.over(change)
    parent = ci.parent(change)
    ended = len(ci.states(parent))
    ci.retry(parent, force)
    await until(lambda: len(ci.states(parent)) > ended + 1, "the run starts again")
    await ci.over(change)
    assert ci.state(parent) == "Failed"
    assert await builds(ci, ci.run_of(change, "passes")["id"]) == ["SUCCESS"]
    assert await builds(ci, ci.run_of(change, "fails")["id"]) == ["FAILURE"]
    assert len(ci.reports(change)) == 1


async def test_retry_of_a_cancelled_change_repeats_only_what_has_no_result(ci: Installation) -> None:
    change = ci.propose("passes", "waits", {"fails": {"dependencies": ["waits"], "voting": False}})
    first = await ci.bell.ring(change.number)

    async def passed() -> bool:
        return await builds(ci, ci.run_of(change, "passes")["id"]) == ["SUCCESS"]

    await until(passed, "the other job has its result")
    ci.cancel(ci.parent(change))
    await ci.over(change)
    assert first.gone
    assert ci.state(ci.run_of(change, "waits")) == "Cancelled"
    assert ci.reports(change) == []

    ci.retry(ci.parent(change))
    second = await ci.bell.ring(change.number, number=2)
    assert second.commit == first.commit
    second.end(0)
    await ci.report(change)
    assert ci.verified(change) == 1
    await ci.over(change)
    assert await builds(ci, ci.run_of(change, "passes")["id"]) == ["SUCCESS"]
    assert len(ci.reports(change)) == 1


async def test_recheck_of_a_cancelled_change_tests_it_anew(ci: Installation) -> None:
    change = ci.propose("waits")
    await ci.bell.ring(change.number)
    ci.cancel(ci.parent(change))
    await ci.over(change)
    ci.comment(change, "recheck")
    (await ci.bell.ring(change.number, number=2)).end(0)
    await ci.report(change)
    assert ci.verified(change) == 1


async def test_headgate_rerun_does_what_retry_does(ci: Installation) -> None:
    change = ci.propose("waits", "passes")
    first = await ci.bell.ring(change.number)
    first.end(1)
    await ci.report(change)
    await ci.over(change)
    assert "waits: runs again; it was FAILURE." in ci.headgate("rerun", str(change.number))
    second = await ci.bell.ring(change.number, number=2)
    assert second.commit == first.commit
    second.end(0)
    await ci.report(change, 2)
    assert ci.verified(change) == 1
    await ci.over(change)

    ci.headgate("rerun", second.build[:12])
    (await ci.bell.ring(change.number, number=3)).end(1)
    await ci.report(change, 3)
    assert ci.verified(change) == -1


async def test_a_comment_asks_for_the_failed_jobs_alone(ci: Installation) -> None:
    change = ci.propose("waits", "passes")
    first = await ci.bell.ring(change.number)
    first.end(1)
    await ci.report(change)
    await ci.over(change)
    ci.comment(change, "recheck failed")
    second = await ci.bell.ring(change.number, number=2)
    assert second.commit == first.commit
    second.end(0)
    await ci.report(change, 2)
    assert ci.verified(change) == 1
    await ci.over(change)
    assert await builds(ci, ci.run_of(change, "passes")["id"]) == ["SUCCESS"]


@pytest.mark.parametrize("job", ["waits", "waits-afar"])
async def test_cancel_of_a_job_ends_its_processes_and_gives_its_node_back(ci: Installation, job: str) -> None:
    change = ci.propose(job, "passes")
    ring = await ci.bell.ring(change.number)
    run = ci.run_of(change, job)
    assert len(await ci.nodes(change)) >= 1
    ci.cancel(run)

    async def all_gone() -> bool:
        return ring.gone and not await ci.nodes(change)

    await until(all_gone, "its processes and its node are gone", seconds=30)
    report = await ci.report(change)
    assert " : CANCELED" in report
    assert ci.verified(change) == -1
    await ci.over(change)
    assert ci.state(run) == "Cancelled"


@contextlib.asynccontextmanager
async def second_worker(ci: Installation, *arguments: str) -> AsyncIterator[subprocess.Popen[bytes]]:
    known = await ci.workers()
    with (ci.directory / "second-worker").open("wb") as output:
        process = subprocess.Popen([HEADGATE, "worker", "--config", str(ci.config), *arguments], stdout=output, stderr=output)

    async def registered() -> bool:
        return process.pid in await ci.workers()

    try:
        await until(registered, "the second worker is registered")
        assert known
        yield process
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait(60)


async def test_a_second_worker_takes_runs_and_its_death_is_noticed(ci: Installation) -> None:
    async with second_worker(ci, "--pool", "jobs") as worker:
        changes = ci.propose_many(4, "waits")

        async def taken() -> bool:
            return bool(
                await ci.ask("select 1 from claims join workers on workers.id = claims.worker where workers.process = $1", worker.pid)
            )

        for change in changes:
            await ci.bell.ring(change.number)
        await until(taken, "the second worker has a run")
        worker.kill()
        worker.wait()
        for change in changes:
            while not ci.reports(change):
                for ring in ci.bell.of(change.number):
                    ring.end(0)
                await until(lambda c=change: ci.reports(c) or any(not r.gone for r in ci.bell.of(c.number)), "it rings or is voted on")
    for change in changes:
        await ci.over(change)
        assert len(ci.reports(change)) == 1
        assert ci.verified(change) == 1


async def test_the_limit_of_a_pool_holds(ci: Installation) -> None:
    def idle() -> bool:
        going = {
            "flow_runs": {"state": {"type": {"any_": ["PENDING", "RUNNING", "CANCELLING"]}}},
            "work_pools": {"name": {"any_": ["jobs"]}},
        }
        return ci.prefect("POST", "flow_runs/filter", going) == []

    await until(idle, "what other stories left has ended")
    ci.prefect("PATCH", "work_pools/jobs", {"concurrency_limit": 1})
    try:
        change = ci.propose("waits", "waits-afar")
        for number in (1, 2):
            await until(lambda n=number: len(ci.bell.of(change.number)) >= n, f"job {number} rings")
            going = [run for run in ci.runs(change).values() if run["state"]["type"] in ("RUNNING", "PENDING") and " on " in run["name"]]
            assert len(going) == 1, going
            assert len(ci.bell.of(change.number)) == number
            ci.bell.of(change.number)[-1].end(0)
        await ci.report(change)
        assert ci.verified(change) == 1
    finally:
        ci.prefect("PATCH", "work_pools/jobs", {"concurrency_limit": None})
