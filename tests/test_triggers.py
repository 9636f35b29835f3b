"""What puts a change into a pipeline: every attribute of triggers and filters, one line each, as Zuul's drivers (Gerrit, timer, zuul) read
them. Each line of the Gerrit tables was given to the classes of Zuul 14.3 too."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
import yaml

from headgate.changes import Approval, Change, Event
from headgate.configuration import Pipeline
from headgate.configuration.parse_pipelines import pipeline, pipeline_shape
from headgate.configuration.stanza import Complaints
from headgate.refs import NOWHERE, change_of_ref
from headgate.triggers import enters, fires, meets_requirements

NOW = datetime(2026, 6, 1, 12, tzinfo=UTC)
DRIVERS = {"gerrit": "gerrit", "other": "gerrit"}
CHANGE = Change("gerrit", "org/demo", "stable/1", 7, 2, "refs/changes/07/7/2", "c0ffee", hashtags=("urgent", "net-fix"))
COMMENT = Event(
    "1", "gerrit", "comment-added", NOW, "org/demo", "stable/1", "refs/changes/07/7/2", 7, 2, "alice", "alice@example.org",
    "Patch Set 2: Approved+1\n\nplease recheck this",
    (Approval("Approved", 1, "alice", changed=True), Approval("Code-Review", 2, "alice")),
)  # fmt: skip
TAGGED = replace(COMMENT, type="hashtags-changed", comment="", approvals=(), added=("urgent",), removed=("slow", "old"))
PUSH = Event("2", "gerrit", "ref-updated", NOW, "org/demo", "stable/1", "refs/heads/stable/1", old_commit="a" * 40, new_commit="b" * 40)
TAG = replace(PUSH, branch="", ref="refs/tags/1.0")
DELETED = replace(PUSH, new_commit=NOWHERE)


def made(**attributes: Any) -> Pipeline:
    """A pipeline as a stanza with these attributes defines it."""
    stanza = {"name": "p", "manager": "independent", **attributes}
    assert pipeline_shape(DRIVERS).ok(stanza)
    return pipeline(stanza, DRIVERS, Complaints())


def given(text: str) -> Any:
    return yaml.safe_load(f"{{{text}}}")


@pytest.mark.parametrize("type", [
    "patchset-created", "draft-published", "change-abandoned", "change-restored", "change-merged", "comment-added", "ref-updated",
    "pending-check", "vote-deleted", "hashtags-changed", "wip-state-changed",
])  # fmt: skip
def test_each_event_of_gerrit_fires_for_its_own_name_only(type: str) -> None:
    event = replace(COMMENT, type=type)
    assert fires(made(trigger={"gerrit": {"event": type}}), event, CHANGE, NOW)
    other = "change-merged" if type != "change-merged" else "comment-added"
    assert not fires(made(trigger={"gerrit": {"event": other}}), event, CHANGE, NOW)
    assert fires(made(trigger={"gerrit": [{"event": [other, type]}]}), event, CHANGE, NOW)
    assert not fires(made(trigger={"other": {"event": type}}), event, CHANGE, NOW)


TRIGGERS: list[tuple[str, Event, bool]] = [
    ("branch: stable/1", COMMENT, True),
    ("branch: stable", COMMENT, True),  # from the start, not to the end
    ("branch: ^stable$", COMMENT, False),
    ("branch: able", COMMENT, False),
    ("branch: [main, stable/.*]", COMMENT, True),
    ("branch: {regex: main, negate: true}", COMMENT, True),
    ("branch: {regex: stable, negate: true}", COMMENT, False),
    ("branch: main", PUSH, False),
    ("ref: refs/changes/07", COMMENT, True),
    ("ref: refs/heads/", PUSH, True),
    ("ref: stable", PUSH, False),
    ("ref: [refs/tags/, nothing]", TAG, True),
    ("ref: refs/heads/", TAG, False),
    ("ref: refs/heads/", DELETED, False),
    ("ignore-deletes: true", DELETED, False),
    ("ignore-deletes: false", DELETED, True),
    ("ignore-deletes: false", PUSH, True),
    ("comment: recheck", COMMENT, True),
    ("comment: ^recheck", COMMENT, False),
    ("comment: [nothing, '(?i)RECHECK']", COMMENT, True),
    ("comment_filter: recheck", COMMENT, True),
    ("comment: {regex: recheck, negate: true}", COMMENT, False),
    ("comment: '.*'", replace(COMMENT, comment=""), True),
    ("email: '@example.org'", COMMENT, True),
    ("email: ^example", COMMENT, False),
    ("email_filter: ['@example.com', alice]", COMMENT, True),
    ("email: '.*'", replace(COMMENT, email=""), False),  # whoever has no address has none that matches
    ("email: alice", replace(PUSH, username="", email=""), True),  # nobody is named: nobody can be asked
    ("username: lic", COMMENT, True),
    ("username: ^bob$", COMMENT, False),
    ("username_filter: [bob, alice]", COMMENT, True),
    ("username: bob", replace(PUSH, username="", email=""), True),
    ("approval: {Approved: 1}", COMMENT, True),
    ("approval: {Approved: 2}", COMMENT, False),
    ("approval: [{Approved: 1}, {Code-Review: 2}]", COMMENT, True),
    ("approval: [{Approved: 1}, {Code-Review: 1}]", COMMENT, False),
    ("approval: {Approved: '+1'}", COMMENT, True),
    ("approval: {approved: 1}", COMMENT, False),
    ("approval-change: {Approved: 1}", COMMENT, True),
    ("approval-change: {Code-Review: 2}", COMMENT, False),  # it was 2 before
    ("added: urgent", TAGGED, True),
    ("added: slow", TAGGED, False),
    ("removed: ['^ol', nothing]", TAGGED, True),
    ("removed: urgent", TAGGED, False),
    ("added: urgent", COMMENT, False),
    ("debug: true", COMMENT, True),
    ("require: {open: true}", COMMENT, True),
    ("require: {open: false}", COMMENT, False),
    ("require: {status: NEW, wip: false}", COMMENT, True),
    ("reject: {hashtags: urgent}", COMMENT, False),
    ("reject: {hashtags: other}", COMMENT, True),
    ("require-approval: {Code-Review: 2}", COMMENT, False),  # of the change, not of the event
    ("reject-approval: {Code-Review: 2}", COMMENT, True),
    ("require: {open: true}", PUSH, False),  # a branch is no review
    ("reject: {open: true}", PUSH, False),
]  # fmt: skip


@pytest.mark.parametrize(("trigger", "event", "expected"), TRIGGERS)
def test_trigger(trigger: str, event: Event, expected: bool) -> None:
    change = CHANGE if event.change is not None else change_of_ref(event)
    found = made(trigger={"gerrit": {"event": event.type, **given(trigger)}})
    assert fires(found, event, change, NOW) is expected


def voted(**values: Any) -> Change:
    approval = Approval(**{"label": "Code-Review", "value": 2, "username": "alice", "email": "alice@example.org", **values})
    return replace(CHANGE, approvals=(Approval("Verified", -1, "bob"), approval))


OLD = voted(granted=NOW - timedelta(hours=48))
MERGED = replace(CHANGE, open=False, merged=True)
ABANDONED = replace(CHANGE, open=False)

ASKED: list[tuple[str, Change, bool, bool]] = [
    # what is asked, of which change, required: may it be there?, rejected: may it be there?
    ("open: true", CHANGE, True, False),
    ("open: true", MERGED, False, True),
    ("open: false", MERGED, True, False),
    ("current-patchset: true", CHANGE, True, False),
    ("current-patchset: true", replace(CHANGE, current=False), False, True),
    ("current-patchset: false", replace(CHANGE, current=False), True, False),
    ("wip: true", replace(CHANGE, wip=True), True, False),
    ("wip: false", replace(CHANGE, wip=True), False, True),
    ("status: NEW", CHANGE, True, False),
    ("status: [MERGED, ABANDONED]", MERGED, True, False),
    ("status: [MERGED, ABANDONED]", ABANDONED, True, False),
    ("status: MERGED", CHANGE, False, True),
    ("hashtags: urgent", CHANGE, True, False),
    ("hashtags: [urgent, fix]", CHANGE, True, False),
    ("hashtags: [urgent, other]", CHANGE, False, False),  # all are required, any is rejected
    ("hashtags: ^fix", CHANGE, False, True),
    ("approval: {Code-Review: 2}", voted(), True, False),
    ("approval: {Code-Review: 2}", CHANGE, False, True),
    ("approval: {Code-Review: 1}", voted(), False, True),
    ("approval: {Code-Review: [1, 2]}", voted(), True, False),
    ("approval: [{Code-Review: 2}, {Verified: -1}]", voted(), True, False),
    ("approval: [{Code-Review: 2}, {Verified: 1}]", voted(), False, False),
    ("approval: {Code-Review: 2, Verified: -1}", voted(), False, True),  # no one vote is both
    ("approval: {username: alice, Code-Review: 2}", voted(), True, False),
    ("approval: {username: ^lice, Code-Review: 2}", voted(), False, True),
    ("approval: {username: bob, Code-Review: 2}", voted(), False, True),  # his is another label
    ("approval: {username: bob}", voted(), True, False),
    ("approval: {email: '@example.org$'}", voted(), True, False),
    ("approval: {email: '@example.com'}", voted(), False, True),
    ("approval: {Code-Review: 2, newer-than: 48h}", OLD, True, False),
    ("approval: {Code-Review: 2, newer-than: 47h}", OLD, False, True),
    ("approval: {Code-Review: 2, older-than: 2d}", OLD, False, True),
    ("approval: {Code-Review: 2, older-than: 172799s}", OLD, True, False),
    ("approval: {Code-Review: 2, older-than: 1w}", OLD, False, True),
    ("approval: {Code-Review: 2, newer-than: 3d, older-than: 60m}", OLD, True, False),
]  # fmt: skip


@pytest.mark.parametrize(("asked", "change", "required", "rejected"), ASKED)
def test_what_pipelines_and_triggers_ask_of_a_change(asked: str, change: Change, required: bool, rejected: bool) -> None:
    for word, expected in (("require", required), ("reject", rejected)):
        assert meets_requirements(made(**{word: {"gerrit": given(asked)}}), change, NOW) is expected
        found = made(trigger={"gerrit": {"event": "comment-added", word: given(asked)}})
        assert fires(found, COMMENT, change, NOW) is expected
        assert meets_requirements(made(**{word: {"other": given(asked)}}), change, NOW)  # of that server's changes only


def test_a_pipeline_that_lets_no_other_connections_in_knows_them_by_what_it_names() -> None:
    trigger = {"gerrit": {"event": "comment-added"}}
    closed = made(trigger=trigger, **{"allow-other-connections": False})
    assert enters(closed, COMMENT, CHANGE, NOW)
    other = replace(CHANGE, connection="other")
    assert not meets_requirements(closed, other, NOW) and meets_requirements(made(trigger=trigger), other, NOW)
    assert meets_requirements(made(trigger=trigger, success={"other": {}}, **{"allow-other-connections": False}), other, NOW)


TIMER = Event("3", "timer", "timer", NOW, "org/demo", "main", "refs/heads/main", pipeline="p", time="0 4 * * *")


@pytest.mark.parametrize(("trigger", "event", "expected"), [
    ("time: 0 4 * * *", TIMER, True),
    ("time: 0 4 * * *, dereference: true", TIMER, True),
    ("time: 0 5 * * *", TIMER, False),
    ("time: 0 4 * * *", replace(TIMER, pipeline="another"), False),
])  # fmt: skip
def test_timers_fire_for_their_own_line_and_pipeline(trigger: str, event: Event, expected: bool) -> None:
    assert fires(made(trigger={"timer": given(trigger)}), event, change_of_ref(event), NOW) is expected


ENQUEUED = Event("4", "zuul", "parent-change-enqueued", NOW, "org/demo", "main", "", 7, 2, pipeline="gate")


@pytest.mark.parametrize(("trigger", "event", "expected"), [
    ("event: parent-change-enqueued", ENQUEUED, True),
    ("event: parent-change-enqueued, pipeline: gate", ENQUEUED, True),
    ("event: parent-change-enqueued, pipeline: [check, ga]", ENQUEUED, True),
    ("event: parent-change-enqueued, pipeline: check", ENQUEUED, False),
    ("event: project-change-merged", ENQUEUED, False),
    ("event: [project-change-merged, parent-change-enqueued]", ENQUEUED, True),
    ("event: project-change-merged", replace(ENQUEUED, type="project-change-merged"), True),
])  # fmt: skip
def test_pipelines_hear_of_each_other(trigger: str, event: Event, expected: bool) -> None:
    assert fires(made(trigger={"zuul": given(trigger)}), event, CHANGE, NOW) is expected


def test_reporters_vote_submit_and_stay_silent_as_they_are_told() -> None:
    told = {"Verified": 2, "submit": True, "comment": False, "notify": "NONE", "checks-api": {"state": "SUCCESSFUL"}}
    found = made(success={"gerrit": told, "other": {}}, failure={"gerrit": {"Verified": -2}})
    first, second = found.success
    assert (first.labels, first.submit, first.comment, first.notify) == ({"Verified": 2}, True, False, "NONE")
    assert (second.connection, second.labels, second.submit, second.comment) == ("other", {}, False, True)
    assert found.merge_conflict == found.config_error == found.failure
    assert found.start == found.enqueue == found.dequeue == found.no_jobs == found.disabled == ()
