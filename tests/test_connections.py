"""The contract of `tasks.connections.Connection`: every kind of connection passes it, against a real server."""

from __future__ import annotations

import re
import subprocess
import uuid
from pathlib import Path

import pytest

from headgate.changes import Change
from headgate.records import FileComment
from tasks.connections import Connection, Report, ReportRefused
from tests.services.author import Author
from tests.services.review import ReviewServer as Server
from tests.services.review import listening

RECHECK = re.compile(r"(?i)^(Patch Set [0-9]+:)?( [\w\\+-]*)*(\n\n)?\s*recheck")
"""As OpenStack configures it."""


def report_on(change: Change, message: str = "Build succeeded.", **more: object) -> Report:
    values = {"id": uuid.uuid4().hex, "pipeline": "check", "labels": {"Verified": 1}, **more}
    return Report(change=change, message=message, **values)  # type: ignore[arg-type]  # a test's own shorthand


def votes(change: Change) -> dict[str, int]:
    return {approval.label: approval.value for approval in change.approvals}


async def test_check_passes_on_a_good_configuration(connection: Connection) -> None:
    await connection.check()


async def test_push_is_heard_and_its_change_can_be_read_and_fetched(
    server: Server, connection: Connection, alice: Author, tmp_path: Path
) -> None:
    async with listening(connection, server.now()) as heard:
        commit = alice.commit({"dir/a.txt": "a\n"}, "Add a\n\nBecause.")
        number = server.push(alice)
        event = await heard.wait("patchset-created", number)
    assert (event.connection, event.project, event.branch, event.patchset) == (connection.name, server.project, "main", 1)
    assert event.username and event.created.tzinfo
    change = await connection.change(number)
    assert (change.project, change.branch, change.number, change.patchset, change.commit) == (server.project, "main", number, 1, commit)
    assert change.subject == "Add a" and "Because." in change.message and change.change_id in change.message
    assert set(change.files) - {"/COMMIT_MSG"} == {"dir/a.txt"}
    assert change.open and change.current and not change.merged and not change.wip and not change.approvals
    assert change.parents == (alice.git("rev-parse", "HEAD^"),) and change.ref == event.ref
    url, environment = connection.git(server.project)
    subprocess.run(["git", "init", "-q", "--bare", str(tmp_path / "cache")], check=True)
    fetch = ["git", "-C", str(tmp_path / "cache"), "fetch", "-q", url, change.ref]
    subprocess.run(fetch, check=True, env={**alice.environment, **environment})
    assert alice.git("-C", str(tmp_path / "cache"), "rev-parse", "FETCH_HEAD") == commit


async def test_new_patchset_replaces_the_old(server: Server, connection: Connection, alice: Author) -> None:
    async with listening(connection, server.now()) as heard:
        first = alice.commit({"a": "1"})
        number = server.push(alice)
        second = alice.amend({"a": "2"})
        assert server.push(alice) == number
        assert (await heard.wait("patchset-created", number, count=2)).patchset == 2
    old, new = await connection.change(number, 1), await connection.change(number)
    assert (old.commit, old.current, new.commit, new.current) == (first, False, second, True)


async def test_recheck_matches_the_regex_of_openstack_each_time_it_is_said(server: Server, connection: Connection, alice: Author) -> None:
    alice.commit({"a": "1"})
    number = server.push(alice)
    async with listening(connection, server.now()) as heard:
        server.comment(alice, number, "recheck")
        server.comment(alice, number, "recheck")
        server.comment(alice, number, "looks fine, no recheck needed")
        await heard.wait("comment-added", number, count=3)
    said = heard.of("comment-added", number)
    # Gerrit keeps times to the second: texts of one person's comments within one may change places.
    assert sorted(bool(RECHECK.search(event.comment)) for event in said) == [False, True, True]
    assert len({event.id for event in said}) == 3 and {event.patchset for event in said} == {1}


async def test_vote_of_a_person_is_heard(server: Server, connection: Connection, alice: Author) -> None:
    alice.commit({"a": "1"})
    number = server.push(alice)
    async with listening(connection, server.now()) as heard:
        server.vote(alice, number, "Code-Review", 2)
        event = await heard.wait("comment-added", number)
    assert ("Code-Review", 2) in [(approval.label, approval.value) for approval in event.approvals]
    (approval,) = (await connection.change(number)).approvals
    assert (approval.label, approval.value, approval.username) == ("Code-Review", 2, event.username) and approval.granted


async def test_abandon_and_restore(server: Server, connection: Connection, alice: Author) -> None:
    alice.commit({"a": "1"})
    number = server.push(alice)
    async with listening(connection, server.now()) as heard:
        server.abandon(alice, number)
        assert (await heard.wait("change-abandoned", number)).patchset == 1
        assert not (await connection.change(number)).open
        server.restore(alice, number)
        await heard.wait("change-restored", number)
        assert (await connection.change(number)).open


async def test_what_happened_while_nobody_listened_arrives_after_and_nothing_twice(
    server: Server, connection: Connection, alice: Author
) -> None:
    async with listening(connection, server.now()) as before:
        alice.commit({"a": "1"})
        number = server.push(alice)
        last = await before.wait("patchset-created", number)
    alice.amend({"a": "2"})
    server.push(alice)
    server.comment(alice, number, "recheck")
    server.comment(alice, number, "recheck")
    server.abandon(alice, number)
    async with listening(connection, last.created) as after:
        await after.wait("change-abandoned", number)
        server.restore(alice, number)
        await after.wait("change-restored", number)
    known = {event.id: event for event in [*before.events, *after.events] if event.change == number}
    assert [(event.type, event.patchset) for event in known.values()] == [
        ("patchset-created", 1), ("patchset-created", 2), ("comment-added", 2), ("comment-added", 2),
        ("change-abandoned", 2), ("change-restored", 2)]  # fmt: skip
    assert len({event.id for event in after.events}) == len(after.events)


async def test_ids_are_the_same_for_who_heard_it_and_for_who_comes_later(server: Server, connection: Connection, alice: Author) -> None:
    start = server.now()
    async with listening(connection, start) as live:
        alice.commit({"a": "1"})
        number = server.push(alice)
        await live.wait("patchset-created", number)
        server.comment(alice, number, "recheck")
        server.vote(alice, number, "Code-Review", 1)
        await live.wait("comment-added", number, count=2)
        server.abandon(alice, number)
        await live.wait("change-abandoned", number)
    async with listening(connection, start) as late:
        await late.wait("change-abandoned", number)
    told = [[event for event in each.events if event.change == number] for each in (live, late)]
    assert len(told[0]) == 4 and told[0] == told[1]


async def test_plain_push_to_a_branch_is_heard(server: Server, connection: Connection, alice: Author) -> None:
    before = await connection.branches(server.project)
    async with listening(connection, server.now()) as heard:
        alice.commit({"a": "1"})
        number = server.push(alice)
        await heard.wait("patchset-created", number)
        new = alice.commit({"b": "1"}, "Directly")
        alice.git("push", "-q", "origin", "HEAD:refs/heads/stable")
        event = await heard.wait("ref-updated")
    assert (event.ref, event.branch, event.new_commit) == ("refs/heads/stable", "stable", new)
    assert await connection.branches(server.project) == {**before, "stable": new}


async def test_report_votes_and_says_it_once_however_often_it_is_called(server: Server, connection: Connection, alice: Author) -> None:
    alice.commit({"a": "1\n"})
    number = server.push(alice)
    change = await connection.change(number)
    comments = (FileComment("a", 1, "line too long"),)
    report = report_on(change, "Build failed.\n\n- unit FAILURE in 3s", labels={"Verified": -1}, comments=comments)
    await connection.report(report)
    await connection.report(report)
    assert votes(await connection.change(number)) == {"Verified": -1}
    assert sum("unit FAILURE in 3s" in message for message in server.messages(number)) == 1


async def test_second_report_replaces_the_vote_of_the_first(server: Server, connection: Connection, alice: Author) -> None:
    alice.commit({"a": "1"})
    number = server.push(alice)
    change = await connection.change(number)
    await connection.report(report_on(change, "Build failed.", labels={"Verified": -1}))
    await connection.report(report_on(change, "Build succeeded.", labels={"Verified": 1}))
    assert votes(await connection.change(number)) == {"Verified": 1}
    assert len([message for message in server.messages(number) if "Build" in message]) == 2


async def test_report_without_labels_is_a_message(server: Server, connection: Connection, alice: Author) -> None:
    alice.commit({"a": "1"})
    number = server.push(alice)
    await connection.report(report_on(await connection.change(number), "Starting check jobs.", labels={}))
    assert "Starting check jobs." in server.messages(number)[-1]
    assert not votes(await connection.change(number))


async def test_vote_on_an_abandoned_change_is_refused(server: Server, connection: Connection, alice: Author) -> None:
    alice.commit({"a": "1"})
    number = server.push(alice)
    change = await connection.change(number)
    server.abandon(alice, number)
    with pytest.raises(ReportRefused, match=str(number)):
        await connection.report(report_on(change))
    assert not votes(await connection.change(number))


async def test_report_on_a_replaced_patchset_is_no_vote_on_the_new(server: Server, connection: Connection, alice: Author) -> None:
    alice.commit({"a": "1"})
    number = server.push(alice)
    old = await connection.change(number)
    alice.amend({"a": "2"})
    server.push(alice)
    try:
        await connection.report(report_on(old, "Too late."))
    except ReportRefused as refused:
        print(refused)
    assert not votes(await connection.change(number))


async def test_unknown_label_and_value_out_of_range_are_refused(server: Server, connection: Connection, alice: Author) -> None:
    alice.commit({"a": "1"})
    number = server.push(alice)
    change = await connection.change(number)
    for labels in ({"Nonsense": 1}, {"Verified": 7}):
        with pytest.raises(ReportRefused, match=next(iter(labels))):
            await connection.report(report_on(change, labels=labels))
    assert not votes(await connection.change(number))


async def test_report_with_submit_merges_once(server: Server, connection: Connection, alice: Author) -> None:
    alice.commit({"a": "1"})
    number = server.push(alice)
    server.vote(alice, number, "Code-Review", 2)
    change = await connection.change(number)
    report = report_on(change, labels={"Verified": 2}, submit=True)
    async with listening(connection, server.now()) as heard:
        await connection.report(report)
        await connection.report(report)
        await heard.wait("change-merged", number)
    after = await connection.change(number)
    assert after.merged and not after.open
    assert (await connection.branches(server.project))["main"] == change.commit
    assert len(heard.of("change-merged", number)) == 1


async def test_submit_of_a_change_that_conflicts_is_refused(server: Server, connection: Connection, alice: Author) -> None:
    numbers = []
    for text in ("one", "two"):
        alice.start()
        alice.commit({"same": text})
        numbers.append(server.push(alice))
        server.vote(alice, numbers[-1], "Code-Review", 2)
    await connection.report(report_on(await connection.change(numbers[0]), labels={"Verified": 2}, submit=True))
    with pytest.raises(ReportRefused, match=r"(?i)conflict"):
        await connection.report(report_on(await connection.change(numbers[1]), labels={"Verified": 2}, submit=True))
    assert (await connection.change(numbers[1])).open


async def test_what_is_not_there_is_a_lookup_error(connection: Connection) -> None:
    with pytest.raises(LookupError, match="999999"):
        await connection.change(999999)
    with pytest.raises(LookupError, match="no/such"):
        await connection.branches("no/such")
