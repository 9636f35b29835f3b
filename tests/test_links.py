"""How changes hang together: the rest of the contract of `tasks.connections.Connection`, which every kind passes against a real server."""

from __future__ import annotations

import uuid
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from tasks.connection_registry import open_connection
from tasks.connections import Connection, Report
from tasks.gerrit_rest import GerritRest
from tests.services.author import Author
from tests.services.gerrit import GerritServer
from tests.services.review import ReviewServer as Server


def pushed(server: Server, author: Author, message: str = "A change", target: str = "main") -> int:
    """A new change on top of what the author has."""
    author.commit({f"file-{uuid.uuid4().hex[:6]}": "1\n"}, message)
    return server.push(author, target)


async def test_change_alone_is_linked_to_nothing_and_reads_as_it_is(server: Server, connection: Connection, alice: Author) -> None:
    number = pushed(server, alice)
    found = await connection.linked(number)
    assert found.change == await connection.change(number)
    assert (found.git_needs, found.needed_by) == ((), ())


async def test_series_is_linked_to_its_neighbours_only(server: Server, connection: Connection, alice: Author) -> None:
    first, second, third = (pushed(server, alice) for _ in range(3))
    assert [(found.git_needs, found.needed_by) for number in (first, second, third) for found in [await connection.linked(number)]] == [
        ((), ((second, 1),)), (((first, 1),), ((third, 1),)), (((second, 1),), ()),
    ]  # fmt: skip


async def test_child_of_an_outdated_patchset_needs_that_one(server: Server, connection: Connection, alice: Author) -> None:
    first = pushed(server, alice)
    below = alice.git("rev-parse", "HEAD")
    second = pushed(server, alice)
    alice.git("checkout", "-q", below)
    alice.amend({"more": "1"})
    server.push(alice)
    assert (await connection.linked(second)).git_needs == ((first, 1),)
    assert (await connection.linked(first)).needed_by == ()
    old = await connection.linked(first, 1)
    assert (old.change.patchset, old.change.current, old.needed_by) == (1, False, ((second, 1),))


async def test_outdated_child_is_no_child(server: Server, connection: Connection, alice: Author) -> None:
    first, second = pushed(server, alice), pushed(server, alice)
    alice.git("fetch", "-q", "origin", "main")
    alice.git("rebase", "-q", "--onto", "FETCH_HEAD", "HEAD^")
    server.push(alice)
    assert (await connection.linked(first)).needed_by == ()
    assert (await connection.linked(second)).git_needs == ()


async def test_abandoned_child_is_no_child_and_an_abandoned_parent_still_needed(
    server: Server, connection: Connection, alice: Author
) -> None:
    first, second, third = (pushed(server, alice) for _ in range(3))
    server.abandon(alice, third)
    assert (await connection.linked(second)).needed_by == ()
    server.abandon(alice, first)
    assert (await connection.linked(second)).git_needs == ((first, 1),)
    closed = await connection.linked(first)
    assert (closed.change.open, closed.git_needs, closed.needed_by) == (False, (), ())


async def test_merged_parent_is_not_needed(server: Server, connection: Connection, alice: Author) -> None:
    first, second = pushed(server, alice), pushed(server, alice)
    server.vote(alice, first, "Code-Review", 2)
    change = await connection.change(first)
    await connection.report(Report(uuid.uuid4().hex, change, "gate", "Build succeeded.", {"Verified": 2}, submit=True))
    assert (await connection.linked(second)).git_needs == ()


async def test_merge_of_two_changes_needs_both_and_touches_what_it_brings_in(server: Server, connection: Connection, alice: Author) -> None:
    below = alice.git("rev-parse", "HEAD")
    one = pushed(server, alice)
    here = alice.git("rev-parse", "HEAD")
    alice.git("checkout", "-q", below)
    alice.commit({"other": "1"})
    other = server.push(alice)
    alice.git("merge", "-q", "--no-ff", here, "-m", f"Merge\n\nChange-Id: I{uuid.uuid4().hex}{uuid.uuid4().hex[:8]}")
    found = await connection.linked(server.push(alice))
    assert sorted(found.git_needs) == [(one, 1), (other, 1)]
    assert set(found.change.files) - {"/COMMIT_MSG", "/MERGE_LIST"} == set((await connection.change(one)).files) - {"/COMMIT_MSG"}


async def test_labels_are_missing_until_they_are_at_their_maximum_without_a_veto(
    server: Server, connection: Connection, alice: Author
) -> None:
    number = pushed(server, alice)
    assert (await connection.linked(number)).missing_labels >= {"Code-Review", "Verified"}
    server.vote(alice, number, "Code-Review", 1)
    assert "Code-Review" in (await connection.linked(number)).missing_labels
    server.vote(alice, number, "Code-Review", 2)
    server.vote(alice, number, "Workflow", 1)
    ready = await connection.linked(number)
    assert ready.missing_labels == {"Verified"}
    assert all("label:Verified" in expression for expression in ready.unsatisfied)
    await connection.report(Report(uuid.uuid4().hex, ready.change, "gate", "Build succeeded.", {"Verified": 2}))
    done = await connection.linked(number)
    assert (done.missing_labels, done.unsatisfied) == (frozenset(), ())
    server.vote(alice, number, "Code-Review", -2)
    assert (await connection.linked(number)).missing_labels == {"Code-Review"}


async def test_address_of_a_change_means_it(server: Server, connection: Connection, alice: Author) -> None:
    number = pushed(server, alice)
    assert await connection.find_change((await connection.change(number)).url) == number
    for other in (
        "https://review.example.com/c/org/demo/+/7",
        f"{number}",
        "",
        "https://[",
        "I" + 40 * "0",
        "file:///#refs/changes/01/1/1",
    ):
        assert await connection.find_change(other) is None


async def test_change_that_is_depended_on_finds_who_says_so(server: Server, connection: Connection, alice: Author) -> None:
    needed = pushed(server, alice)
    change = await connection.change(needed)
    alice.start()
    sayer = pushed(server, alice, f"Use it\n\nSee {change.url}.\n\ndepends-on:  {change.url}  \nDepends-On: https://example.com/{needed}7")
    alice.start()
    old = pushed(server, alice, f"Use it\n\nDepends-On: {change.change_id}")
    alice.start()
    for text in (f"See {change.url}", f" Depends-On: {change.url}", f"Depends-On: {change.url.replace(str(needed), f'{needed}9')}"):
        pushed(server, alice, f"Mentions\n\n{text}")
        alice.start()
    gone = pushed(server, alice, f"Use it\n\nDepends-On: {change.url}")
    server.abandon(alice, gone)
    assert await connection.depending_on(change) == (sayer, old)
    assert sayer in await connection.depending_on(replace(change, connection="another", change_id=""))


async def test_changes_are_found_by_change_id_and_by_topic(server: Server, connection: Connection, alice: Author) -> None:
    topic = f"its-{uuid.uuid4().hex[:6]}'s/own"
    numbers = []
    for _ in range(2):
        alice.start()
        numbers.append(pushed(server, alice, target=f"main%topic={topic}"))
    found = await connection.change(numbers[0])
    assert found.topic == topic
    assert await connection.same_topic(found.topic) == tuple(numbers)
    assert await connection.open_changes(found.project) == tuple(numbers)
    server.abandon(alice, numbers[1])
    assert await connection.same_topic(found.topic) == await connection.open_changes(found.project) == (numbers[0],)
    for strange in (found.topic[:-1], 'with "both} kinds {of', "back\\slash", 'one "kind'):
        assert await connection.same_topic(strange) == ()
    assert await connection.with_change_id(found.change_id) == (numbers[0],)
    assert await connection.with_change_id("I" + 40 * "0") == ()


async def test_links_of_no_change_are_a_lookup_error(server: Server, connection: Connection, alice: Author) -> None:
    with pytest.raises(LookupError, match="999999"):
        await connection.linked(999999)
    number = pushed(server, alice)
    with pytest.raises(LookupError):
        await connection.linked(number, 9)


@pytest.mark.slow
async def test_change_of_a_gerrit_costs_two_requests(gerrit: GerritServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    server = gerrit.with_new_project()
    author = server.author(tmp_path / "bob")
    numbers = [pushed(server, author) for _ in range(3)]
    asked: list[str] = []
    get = GerritRest.get

    async def counted(rest: GerritRest, path: str, **parameters: str | int | Sequence[str]) -> Any:
        asked.append(path)
        return await get(rest, path, **parameters)

    monkeypatch.setattr(GerritRest, "get", counted)
    connection = open_connection(server.settings())
    await connection.linked(numbers[1])
    await connection.linked(numbers[1], 1)
    await connection.close()
    assert len(asked) == 4
