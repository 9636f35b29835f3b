"""What one event changes in the queues."""

from __future__ import annotations

from datetime import UTC, datetime
from itertools import count

from headgate.changes import Change, Event
from headgate.configuration import Layout, SourceFile, load_layout, parse_tenants
from headgate.queues import CancelItem, Decision, StartItem, actions, decide
from headgate.records import Item

NOON = datetime(2026, 1, 1, 12, tzinfo=UTC)
PROJECT = "host/org/project"
CHANGE = Change("gerrit", "org/project", "master", 1234, 1, "refs/changes/34/1234/1", "c" * 40, files=("README",))


def layout(manager: str = "independent") -> Layout:
    (tenant,) = parse_tenants(
        "- tenant: {name: t, source: {gerrit: {config-projects: [config], untrusted-projects: [org/project, org/idle]}}}", "main.yaml"
    )
    text = f"""
- pipeline:
    name: check
    manager: {manager}
    trigger: {{gerrit: [{{event: patchset-created}}, {{event: comment-added, comment: recheck}}]}}
    success: {{gerrit: {{Verified: 1}}}}
- job: {{name: base, parent: null, run: play.yaml}}
- project: {{name: org/project, check: {{jobs: [base]}}}}
"""
    return load_layout(
        tenant, [SourceFile("host/config", "master", "zuul.yaml", text)], {"gerrit": "host"}, {}, drivers={"gerrit": "gerrit"}
    )


def event(type: str, comment: str = "") -> Event:
    return Event(
        f"{type}-{comment}", "gerrit", type, NOON, project="org/project", branch="master", change=1234, patchset=1, comment=comment
    )


def decided(
    what: Event, items: tuple[Item, ...] = (), change: Change = CHANGE, project: str = PROJECT, manager: str = "independent"
) -> Decision:
    numbers = count()
    return decide(what, change, {"t": layout(manager)}, project, items, NOON, lambda: f"item-{next(numbers)}")


def item(patchset: int = 1, **values: object) -> Item:
    change = Change("gerrit", "org/project", "master", 1234, patchset, f"refs/changes/34/1234/{patchset}", "c" * 40)
    return Item("old", "t", "check", PROJECT, change, NOON, **values)  # type: ignore[arg-type]  # fields of Item


def test_a_new_patchset_enters_the_pipeline_that_waits_for_it() -> None:
    assert [(each.pipeline, each.change) for each in decided(event("patchset-created")).enqueue] == [("check", CHANGE)]


def test_a_comment_enters_only_if_it_says_the_word() -> None:
    assert decided(event("comment-added", "looks good")).enqueue == ()
    assert len(decided(event("comment-added", "recheck")).enqueue) == 1


def test_a_change_that_is_there_already_does_not_enter_twice() -> None:
    assert decided(event("comment-added", "recheck"), (item(),)).enqueue == ()


def test_a_newer_patchset_takes_the_place_of_the_older() -> None:
    newer = Change("gerrit", "org/project", "master", 1234, 2, "refs/changes/34/1234/2", "d" * 40, files=("README",))
    after = decided(event("patchset-created"), (item(),), newer)
    assert after.dequeue == (("old", "replaced by patchset 2"),)
    assert [each.change.patchset for each in after.enqueue] == [2]


def test_an_abandoned_change_leaves() -> None:
    assert decided(event("change-abandoned"), (item(),)).dequeue == (("old", "abandoned"),)


def test_a_project_without_jobs_there_does_not_enter() -> None:
    assert decided(event("patchset-created"), project="host/org/idle").enqueue == ()


def test_a_change_to_the_configuration_enters_since_it_may_bring_jobs() -> None:
    change = Change("gerrit", "org/idle", "master", 1, 1, "refs/changes/01/1/1", "c" * 40, files=(".zuul.yaml",))
    assert len(decided(event("patchset-created"), change=change, project="host/org/idle").enqueue) == 1


def test_nothing_enters_a_pipeline_whose_manager_is_not_known_here() -> None:
    assert decided(event("patchset-created"), manager="dependent").enqueue == ()


def test_a_live_item_without_a_run_is_started_and_one_with_a_run_is_left_alone() -> None:
    assert actions([item()]) == (StartItem(item()),)
    assert actions([item(flow_run="f")]) == ()


def test_the_run_of_an_item_that_left_is_cancelled_once() -> None:
    left = item(flow_run="f", dequeued=NOON, reason="abandoned")
    assert actions([left]) == (CancelItem(left),)
    assert actions([item(flow_run="f", dequeued=NOON, reason="abandoned", cancelled=NOON)]) == ()
    assert actions([item(flow_run="f", dequeued=NOON, reason="reported")]) == ()
