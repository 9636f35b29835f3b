"""The store on a real PostgreSQL."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from sqlalchemy import text

from headgate.changes import Change, Event
from headgate.configuration import Reporter
from headgate.gating import Build as RuledBuild
from headgate.gating import Buildset as RuledBuildset
from headgate.gating import Item as RuledItem
from headgate.gating import PipelineState, Queue, Tenancy
from headgate.gating.state import Preparation
from headgate.jobs import Dependency, FrozenJob, JobGraph
from headgate.problems import DatabaseProblem
from headgate.records import Build, Buildset, Command, CommandKind, FrozenProject, Item, StoredReport
from tasks.database import Lease, lease_key, migrate, open_engine
from tasks.store import Store, Turn, new_id

NOON = datetime(2026, 1, 1, 12, tzinfo=UTC)
CHANGE = Change("gerrit", "org/project", "main", 1234, 5, "refs/changes/34/1234/5", "c" * 40, message="Fix\n\nChange-Id: I1")


def event(name: str, minutes: int = 0) -> Event:
    return Event(name, "gerrit", "patchset-created", NOON + timedelta(minutes=minutes), project="org/project", change=1234, patchset=5)


def item(change: Change = CHANGE, pipeline: str = "check") -> Item:
    return Item(new_id(), "tenant", pipeline, "host/org/project", change, NOON)


async def buildset_in(store: Store, there: Item) -> Buildset:
    await keep(store, there)
    graph = JobGraph((FrozenJob("a", vars={"deep": [1, {"x": None}]}), FrozenJob("b", dependencies=(Dependency("a", soft=True),))))
    projects = {"host/org/project": FrozenProject("gerrit", "org/project", "main", "c" * 40, {"main": "b" * 40})}
    buildset = Buildset(new_id(), there.id, NOON, changes=(CHANGE,))
    await store.keep_turn(Turn(buildsets=[buildset]))
    await store.prepared(buildset := replace(buildset, projects=projects, graph=graph, prepared=NOON))
    return buildset


async def keep(store: Store, *items: Item) -> None:
    await store.keep_turn(Turn(entered=list(items)))


async def leave(store: Store, item_id: str, reason: str) -> None:
    await store.keep_turn(Turn(left={item_id: reason}))


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
    await store.keep_turn(Turn(heard={"late": "entered nothing"}))
    assert [each.id for each in await store.new_events()] == ["early"]
    assert await store.last_event("gerrit") == NOON + timedelta(minutes=9)


async def test_an_item_comes_back_equal(store: Store) -> None:
    there = item()
    await keep(store, there)
    assert await store.live_items() == [there]


async def test_items_of_a_change_are_found_beside_those_of_refs_whose_numbers_are_large(store: Store) -> None:
    ref = item(replace(CHANGE, number=-(2**59), patchset=0))
    await keep(store, there := item(), ref)
    assert await store.items_of_change(CHANGE.number) == [there]
    assert await store.items_of_change(-(2**59)) == [ref]
    assert await store.find_builds(change=CHANGE.number) == []


async def test_an_item_that_left_keeps_its_first_reason(store: Store) -> None:
    there = item()
    await keep(store, there)
    await leave(store, there.id, "abandoned")
    await leave(store, there.id, "reported")
    assert await store.live_items() == []
    left = await store.item(there.id)
    assert left is not None and left.reason == "abandoned"


async def test_a_buildset_comes_back_equal_and_is_prepared_once(store: Store) -> None:
    buildset = await buildset_in(store, item())
    await store.prepared(replace(buildset, problem="MERGE_CONFLICT"))
    assert await store.buildset(buildset.id) == buildset
    assert await store.prepared_of([buildset.id]) == [buildset]


async def test_a_buildset_that_was_given_up_is_named_until_its_run_was_told(store: Store) -> None:
    buildset = await buildset_in(store, item())
    await store.set_buildset(buildset.id, flow_run="f")
    await store.keep_turn(Turn(ended={buildset.id: ""}))
    assert await store.given_up() == [(buildset.id, "f")]
    await store.set_buildset(buildset.id, result="DEQUEUED")
    assert await store.given_up() == []


async def test_what_a_run_did_not_say_of_an_end_is_handed_over_once(store: Store) -> None:
    there = item()
    buildset = await buildset_in(store, there)
    await store.set_buildset(buildset.id, flow_run="f")
    start, end = (StoredReport(kind, there.id, buildset.id, kind, "said", {}, NOON, by_flow=True) for kind in ("start", "SUCCESS"))
    await store.add_report(start)
    assert not await store.being_said(buildset.id)
    assert await store.hand_over(buildset.id) == 0
    await store.add_report(end)
    assert await store.unsaid_by_runs() == {"f": buildset.id}
    assert await store.being_said(buildset.id)
    assert [await store.to_say("SUCCESS", by_flow) for by_flow in (True, False)] == [True, False]
    assert [await store.hand_over(buildset.id) for _ in range(2)] == [1, 0]
    assert [await store.to_say("SUCCESS", by_flow) for by_flow in (True, False)] == [False, True]
    assert await store.unsaid_by_runs() == {}
    assert [report.id for report in await store.unsent()] == ["SUCCESS"]
    await store.report_sent("SUCCESS")
    assert not await store.being_said(buildset.id)
    assert not await store.to_say("SUCCESS", by_flow=False)


async def test_a_build_that_a_turn_wants_is_begun_by_one_run_and_not_when_it_was_cancelled(store: Store) -> None:
    buildset = await buildset_in(store, item())
    first, second = (build(buildset, job, flow_run=None) for job in "ab")
    await store.keep_turn(Turn(builds=[first, second]))
    assert await store.start_build(first.id, "f1")
    assert not await store.start_build(first.id, "f2")
    await store.keep_turn(Turn(cancelled=[first.id, second.id]))
    assert not await store.start_build(second.id, "f3")
    begun, never = await store.builds(buildset.id)
    assert (begun.cancelled is not None, begun.ended) == (True, None)
    assert never.result == "CANCELED"


async def test_pipelines_come_back_as_the_last_turn_left_them(store: Store) -> None:
    there = item()
    buildset = await buildset_in(store, there)
    assert buildset.graph is not None
    builds = {("a", 0): RuledBuild("x", "SUCCESS"), ("b", 0): RuledBuild("y")}
    ruled = RuledBuildset(buildset.id, Preparation.DONE, (CHANGE.key,), buildset.graph, builds=builds, attempts={("a", 0): 2})
    state = PipelineState((Queue("q", "", items=(there.id,)),), {there.id: RuledItem(there.id, (CHANGE.key,), "q", ruled)}, seed="s")
    held = {"one": (("check", buildset.id, ("b", 0)),)}
    turn = Turn(states={("tenant", "check"): state}, items=dict(state.items), semaphores={"tenant": held})
    await store.keep_turn(turn)
    assert await store.tenancy("tenant", ["check"], "other") == Tenancy({"check": state}, held)
    await leave(store, there.id, "abandoned")
    assert (await store.tenancy("tenant", ["check", "gate"], "new")).pipelines["check"].items == {}
    assert await store.item_state(there.id) == state.items[there.id]


async def test_a_command_is_given_once_and_has_an_outcome_when_it_was_taken_in(store: Store) -> None:
    command = Command(new_id(), "tenant", "gate", CommandKind.PROMOTE, NOON, (CHANGE.key,))
    for _ in range(2):
        await store.ask(command)
    assert await store.new_commands() == [command]
    assert await store.outcome(command.id) is None
    await store.keep_turn(Turn(commanded={command.id: "done"}))
    assert (await store.new_commands(), await store.outcome(command.id)) == ([], "done")


async def test_what_a_queue_waits_for_is_answered_when_all_was_said(store: Store) -> None:
    buildset = await buildset_in(store, item())
    reporter = Reporter("gerrit", labels={"Verified": 2}, submit=True)
    said = [
        StoredReport(new_id(), buildset.item, buildset.id, "success", "text", {}, NOON, None, "", CHANGE, (reporter,), True, flow)
        for flow in (True, False)
    ]
    await store.keep_turn(Turn(reports=said))
    assert await store.unsent(buildset.id) == said[:1]
    assert await store.unsent() == said[1:]
    await store.report_sent(said[0].id)
    assert await store.answers([buildset.id]) == {}
    await store.report_sent(said[1].id, "no")
    assert [report.refused for report in (await store.answers([buildset.id]))[buildset.id]] == ["", "no"]


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
    await leave(store, there.id, "reported")
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
    await leave(store, there.id, "reported")
    assert await store.forget(timedelta(days=1)) == 0
    assert await store.forget(timedelta(0)) == 1
    assert await store.builds(buildset.id) == []


async def test_mark_of_a_buildset_is_another_with_whatever_is_said_of_its_builds(store: Store) -> None:
    buildset, quiet = await buildset_in(store, item()), await buildset_in(store, item())
    await store.begin_build(build(quiet))
    first = await store.begin_build(build(buildset))
    seen = [await store.marks_of([buildset.id, quiet.id])]
    for values in ({"failing": NOON}, {"data": {"zuul": {"pause": True}}}):
        await store.set_build(first.id, **values)
        seen.append(await store.marks_of([buildset.id, quiet.id]))
    await store.end_build(first.id, "FAILURE")
    seen.append(await store.marks_of([buildset.id, quiet.id]))
    await store.begin_build(build(buildset, round=2, reason="network"))
    seen.append(await store.marks_of([buildset.id, quiet.id]))
    assert len({marks[buildset.id] for marks in seen}) == len(seen) and len({marks[quiet.id] for marks in seen}) == 1
    assert [each.reason for each in await store.rerun_builds(NOON)] == ["", "network"]
    assert await store.rerun_builds(NOON, "b") == []
