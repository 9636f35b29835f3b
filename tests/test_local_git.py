"""What a directory of bare repositories does beyond the contract of connections: what people see who push with plain git."""

from __future__ import annotations

import os
import sqlite3
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from tasks.connection_registry import open_connection
from tasks.connection_settings import LocalGitSettings
from tasks.connections import ConnectionProblem, Report
from tests.services.author import Author
from tests.services.review import LocalGitServer, listening


@pytest.fixture
def server(tmp_path: Path) -> LocalGitServer:
    return LocalGitServer(tmp_path / "repositories")


@pytest.fixture
def alice(server: LocalGitServer, tmp_path: Path) -> Author:
    return server.author(tmp_path / "alice")


def test_each_commit_of_a_series_is_a_change(server: LocalGitServer, alice: Author) -> None:
    alice.commit({"a": "1"}, "First")
    alice.commit({"b": "1"}, "Second")
    said = alice.push()
    assert "Change 1,1 (new): First" in said and "Change 2,1 (new): Second" in said
    alice.amend({"b": "2"})
    said = alice.push()
    assert "Change 1,1 (unchanged): First" in said and "Change 2,2 (new patchset): Second" in said


def test_commit_without_a_change_id_is_pushed_anew_by_number(server: LocalGitServer, alice: Author) -> None:
    alice.git("commit", "-q", "--allow-empty", "-m", "No footer")
    said = alice.push()
    assert "git push -o change=1 " in said
    alice.git("commit", "-q", "--allow-empty", "--amend", "-m", "Still none")
    assert "Change 1,2 (new patchset): Still none" in alice.push("main", "change=1")
    alice.git("commit", "-q", "--allow-empty", "--amend", "-m", "Nor here")
    assert "there is no change 9 of org/demo on main" in alice.push("main", "change=9", check=False)


def test_options_are_taken_as_gerrit_writes_them(server: LocalGitServer, alice: Author) -> None:
    alice.commit({"a": "1"})
    alice.push("main%topic=a-topic,hashtag=x,wip,l=Code-Review+1")
    alice.push("main", "hashtag=y", "ready", "hashtag=x")
    change = server.reviews.read(1)
    assert (change["topic"], change["hashtags"], change["wip"]) == ("a-topic", '["x","y"]', 0)
    assert [(vote["label"], vote["value"]) for vote in change["votes"]] == [("Code-Review", 1)]


@pytest.mark.parametrize(
    ("push", "sentence"),
    [
        (["HEAD:refs/for/maim"], "has no branch 'maim' (it has main)"),
        (["-o", "recheck", "HEAD:refs/for/main"], "unknown option 'recheck'"),
        (["-o", "vote=Verified+9", "HEAD:refs/for/main"], "Verified -2..+2"),
        (["-o", "vote=1", "HEAD:refs/for/main"], "write it as Label+1"),
        (["-o", "restore", "HEAD:refs/for/main"], "change 1 is new"),
        (["HEAD:refs/changes/01/1/2"], "written by the server alone"),
        (["HEAD:refs/for/main"], "no new changes"),
        (["-o", "comment=hello", "origin/main:refs/for/main"], "was never a change"),
        (["origin/main:refs/for/main"], "no new changes"),
    ],
)
def test_push_that_cannot_be_is_refused_in_one_sentence_and_changes_nothing(
    server: LocalGitServer, alice: Author, push: list[str], sentence: str
) -> None:
    alice.commit({"a": "1"})
    alice.push()
    before = server.reviews.read(1), server.reviews.events_after(0)
    *options, refspec = push
    said = alice.git("push", *options, "origin", refspec, check=False)
    assert sentence in said and "Traceback" not in said
    assert (server.reviews.read(1), server.reviews.events_after(0)) == before


def test_abandoned_change_takes_no_patchset_until_it_is_restored(server: LocalGitServer, alice: Author) -> None:
    alice.commit({"a": "1"})
    alice.push()
    alice.push("main", "abandon")
    alice.amend({"a": "2"})
    assert "git push -o restore" in alice.push(check=False)
    server.restore(alice, 1)
    assert "Change 1,2" in alice.push()


async def test_vote_is_seen_with_plain_git(server: LocalGitServer, alice: Author) -> None:
    alice.commit({"a": "1"})
    said = alice.push()
    connection = open_connection(server.settings())
    change = await connection.change(1)
    await connection.report(Report("id-1", change, "check", "Build succeeded.\n\n- unit SUCCESS", {"Verified": 1}))
    command = said.partition("Votes:")[2].splitlines()[0]
    fetch, show = (part.split()[1:] for part in command.replace("'", "").split(";"))
    alice.git(*fetch)
    note = alice.git(*show)
    assert "Verified+1 by headgate" in note and "- unit SUCCESS" in note


async def test_plain_push_of_a_change_to_its_branch_merges_it(server: LocalGitServer, alice: Author) -> None:
    alice.commit({"a": "1"})
    number = server.push(alice)
    alice.git("push", "-q", "origin", "HEAD:main")
    connection = open_connection(server.settings())
    async with listening(connection, server.now().replace(year=2000)) as heard:
        await heard.wait("change-merged", number)
        await heard.wait("ref-updated")
    assert (await connection.change(number)).merged


def test_pushes_at_the_same_time_get_numbers_of_their_own(server: LocalGitServer, tmp_path: Path) -> None:
    authors = [server.author(tmp_path / f"author{index}") for index in range(8)]
    for index, author in enumerate(authors):
        author.commit({f"file{index}": "1"}, f"Change by {index}")
    with ThreadPoolExecutor(len(authors)) as pool:
        numbers = list(pool.map(server.push, authors))
    assert sorted(numbers) == list(range(1, 9))
    created = [facts["change"] for _, _, _, facts in server.reviews.events_after(0)]
    assert sorted(created) == list(range(1, 9))


async def test_two_listeners_both_hear_everything(server: LocalGitServer, alice: Author) -> None:
    connection = open_connection(server.settings())
    async with listening(connection, server.now()) as one, listening(connection, server.now()) as other:
        alice.commit({"a": "1"})
        number = server.push(alice)
        assert await one.wait("patchset-created", number) == await other.wait("patchset-created", number)
    assert not list(server.reviews.listeners.iterdir())


async def test_reader_that_died_is_in_nobodys_way(server: LocalGitServer, alice: Author) -> None:
    server.reviews.make_home()
    os.mkfifo(server.reviews.listeners / "dead")
    alice.commit({"a": "1"})
    assert server.push(alice) == 1


async def test_missing_directory_and_newer_database_are_told(server: LocalGitServer, tmp_path: Path) -> None:
    nowhere = open_connection(LocalGitSettings(name="demo", path=tmp_path / "nowhere"))
    with pytest.raises(ConnectionProblem, match=r"connection demo: .*nowhere is no directory; .* create"):
        await nowhere.check()
    with pytest.raises(ConnectionProblem, match="nowhere"):
        await nowhere.change(1)
    assert not (tmp_path / "nowhere").exists()
    assert server.reviews.last_seq() == 0
    with sqlite3.connect(server.reviews.home / "reviews.sqlite") as database:
        database.execute("PRAGMA user_version = 99")
    with pytest.raises(ConnectionProblem, match="version 99"):
        await open_connection(server.settings()).check()


async def test_project_outside_the_directory_is_none(server: LocalGitServer) -> None:
    connection = open_connection(server.settings())
    with pytest.raises(LookupError):
        await connection.branches("../elsewhere")
