"""The store on a real PostgreSQL."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from sqlalchemy import text

from headgate.changes import Change, Event
from headgate.jobs import Dependency, FrozenJob, JobGraph
from headgate.problems import DatabaseProblem
from headgate.records import Build, Buildset, FrozenProject, Item, StoredReport
from tasks.database import Lease, lease_key, migrate, open_engine
from tasks.store import Store, new_id

NOON = datetime(2026, 1, 1, 12, tzinfo=UTC)
CHANGE = Change("gerrit", "org/project", "main", 1234, 5, "refs/changes/34/1234/5", "c" * 40, message="Fix\n\nChange-Id: I1")


def event(name: str, minutes: int = 0) -> Event:
    return Event(name, "gerrit", "patchset-created", NOON + timedelta(minutes=minutes), project="org/project", change=1234, patchset=5)


def item(change: Change = CHANGE, pipeline: str = "check") -> Item:
    return Item(new_id(), "tenant", pipeline, "host/org/project", change, NOON)


async def buildset_in(store: Store, there: Item) -> Buildset:
    await store.apply(None, [there], ())
    graph = JobGraph((FrozenJob("a", vars={"deep": [1, {"x": None}]}), FrozenJob("b", dependencies=(Dependency("a", soft=True),))))
    return await store.add_buildset(
        Buildset(
            new_id(),
            there.id,
            NOON,
            {"host/org/project": FrozenProject("gerrit", "org/project", "main", "c" * 40, {"main": "b" * 40})},
            graph,
        )
    )


def build(buildset: Buildset, job: str = "a", **values: object) -> Build:
    return replace(Build(new_id(), buildset.id, job, 1, True, NOON, flow_run=new_id()), **values)  # type: ignore[arg-type]


async def test_the_same_event_twice_is_kept_once(store: Store) -> None:
    assert await store.add_event(event("one"))
    assert not await store.add_event(event("one"))
    assert await store.new_events() == [event("one")]


async def test_events_come_back_in_order_of_arrival_until_handled(store: Store) -> None:
    for name, minutes in (("late", 9), ("early", 1)):
        await store.add_event(event(name, minutes))
    assert [each.id for each in await store.new_events()] == ["late", "early"]
    await store.apply(event("late"), (), (), "entered nothing")
    assert [each.id for each in await store.new_events()] == ["early"]
    assert await store.last_event("gerrit") == NOON + timedelta(minutes=9)


async def test_an_item_comes_back_equal(store: Store) -> None:
    there = item()
    await store.apply(None, [there], ())
    assert await store.live_items() == [there]


async def test_an_item_that_left_keeps_its_first_reason(store: Store) -> None:
    there = item()
    await store.apply(None, [there], ())
    await store.apply(None, (), [(there.id, "abandoned")])
    await store.apply(None, (), [(there.id, "reported")])
    assert await store.live_items() == []
    left = await store.item(there.id)
    assert left is not None and left.reason == "abandoned"


async def test_an_item_that_left_with_a_run_under_way_is_unfinished_until_cancelled(store: Store) -> None:
    there = item()
    await store.apply(None, [there], ())
    await store.set_item(there.id, flow_run="f")
    await store.apply(None, (), [(there.id, "abandoned")])
    assert [each.id for each in await store.unfinished_items()] == [there.id]
    await store.set_item(there.id, cancelled=NOON)
    assert await store.unfinished_items() == []


async def test_an_item_has_one_buildset_however_often_it_is_added(store: Store) -> None:
    there = item()
    first = await buildset_in(store, there)
    assert await store.add_buildset(replace(first, id=new_id())) == first
    assert await store.buildset(first.id) == first


async def test_a_build_ends_once(store: Store) -> None:
    buildset = await buildset_in(store, item())
    begun = await store.begin_build(build(buildset))
    await store.end_build(begun.id, "FAILURE", message="it failed")
    await store.end_build(begun.id, "SUCCESS")
    (found,) = await store.builds(buildset.id)
    assert (found.result, found.message) == ("FAILURE", "it failed")


async def test_the_same_attempt_twice_is_one_build(store: Store) -> None:
    buildset = await buildset_in(store, item())
    first = await store.begin_build(build(buildset))
    assert (await store.begin_build(build(buildset))).id == first.id


async def test_a_report_is_written_down_once(store: Store) -> None:
    there = item()
    await buildset_in(store, there)
    report = StoredReport("r", there.id, None, "SUCCESS", "Build succeeded.", {"Verified": 1}, NOON)
    assert await store.add_report(report) == report
    await store.report_sent("r")
    again = await store.add_report(replace(report, message="other"))
    assert again.sent is not None and again.message == "Build succeeded."


async def test_a_rerun_that_ended_after_the_report_is_new_evidence(store: Store) -> None:
    there = item()
    buildset = await buildset_in(store, there)
    await store.begin_build(build(buildset, result="FAILURE", ended=NOON))
    await store.add_report(StoredReport("r1", there.id, buildset.id, "FAILURE", "", {}, NOON + timedelta(seconds=1)))
    await store.apply(None, (), [(there.id, "reported")])
    assert await store.items_with_new_evidence() == []
    rerun = await store.begin_build(build(buildset, round=2))
    assert await store.items_with_new_evidence() == []
    await store.end_build(rerun.id, "SUCCESS")
    assert [each.id for each in await store.items_with_new_evidence()] == [there.id]
    await store.add_report(StoredReport("r2", there.id, buildset.id, "SUCCESS", "", {}, datetime.now(UTC) + timedelta(seconds=1)))
    assert await store.items_with_new_evidence() == []


async def test_whoever_watches_is_told_of_a_change(store: Store) -> None:
    async with store.watch("events") as told:
        await store.add_event(event("one"))
        async with asyncio.timeout(10):
            await told.wait()


async def test_a_flow_run_can_be_claimed_by_one_worker_only(store: Store) -> None:
    for worker in ("w1", "w2"):
        await store.add_worker(worker, lease_key(worker), "host", 1)
    assert await store.claim("run", "w1")
    assert not await store.claim("run", "w2")
    await store.unclaim("run", "w2")
    assert [flow_run for flow_run, _ in await store.claims_of("w1")] == ["run"]
    await store.unclaim("run", "w1")
    assert await store.claim("run", "w2")


async def test_a_worker_is_dead_when_its_lease_is_free_and_it_said_no_goodbye(store: Store, database: str) -> None:
    lease = await Lease.take(database, "worker-w1")
    assert lease is not None
    await store.add_worker("w1", lease_key("worker-w1"), "host", 1)
    assert await store.dead_workers() == []
    await lease.release()
    assert await store.dead_workers() == ["w1"]
    await store.worker_gone("w1")
    assert await store.dead_workers() == []


async def test_a_lease_is_held_by_one_at_a_time(database: str) -> None:
    first = await Lease.take(database, "scheduler")
    assert first is not None and await Lease.take(database, "scheduler") is None
    await first.release()
    second = await Lease.take(database, "scheduler")
    assert second is not None
    await second.release()


async def test_a_database_of_a_newer_headgate_is_refused_in_one_sentence(database: str) -> None:
    engine = open_engine(database)
    async with engine.begin() as connection:
        await connection.execute(text("update alembic_version set version_num = '9999'"))
    with pytest.raises(DatabaseProblem, match=r"revision 9999, which this Headgate does not know"):
        await migrate(engine)
    await engine.dispose()


async def test_old_items_are_forgotten_with_all_that_hangs_on_them(store: Store) -> None:
    there = item()
    buildset = await buildset_in(store, there)
    await store.begin_build(build(buildset))
    await store.apply(None, (), [(there.id, "reported")])
    assert await store.forget(timedelta(days=1)) == 0
    assert await store.forget(timedelta(0)) == 1
    assert await store.builds(buildset.id) == []
