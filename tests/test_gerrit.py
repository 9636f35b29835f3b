"""What is Gerrit's own, beyond the contract of connections: keys and passwords, lost connections, its ways of speaking."""

from __future__ import annotations

import asyncio
import re
import uuid
from collections.abc import AsyncIterator
from pathlib import Path

import asyncssh
import pytest

from deployments.gerrit import CI, PERSON, free_port
from headgate.records import FileComment
from tasks.connection_registry import open_connection
from tasks.connection_settings import GerritSettings
from tasks.connections import Connection, ConnectionProblem, Report
from tests.services.author import Author
from tests.services.cable import Cable
from tests.services.gerrit import GerritServer
from tests.services.review import listening

pytestmark = pytest.mark.slow


@pytest.fixture
def server(gerrit: GerritServer) -> GerritServer:
    return gerrit.with_new_project()


@pytest.fixture
async def connection(server: GerritServer) -> AsyncIterator[Connection]:
    opened = open_connection(server.settings())
    yield opened
    await opened.close()


@pytest.fixture
def alice(server: GerritServer, tmp_path: Path) -> Author:
    return server.author(tmp_path / "alice")


async def problem_of(settings: GerritSettings) -> str:
    """The sentence `check` has for these settings."""
    connection = open_connection(settings)
    with pytest.raises(ConnectionProblem) as caught:
        await connection.check()
    await connection.close()
    sentence = str(caught.value)
    print(sentence)
    assert sentence.startswith(f"connection {settings.name}: ") and "\n" not in sentence
    return sentence


async def test_unknown_host_key_is_shown_with_the_line_to_add(server: GerritServer, tmp_path: Path) -> None:
    known = tmp_path / "known_hosts"
    known.write_text("")
    settings = server.settings().model_copy(update={"known_hosts": str(known)})
    sentence = await problem_of(settings)
    assert "SHA256:" in sentence
    known.write_text(sentence.rpartition("`known-hosts`: ")[2] + "\n")
    connection = open_connection(settings)
    await connection.check()
    await connection.close()


async def test_changed_host_key_is_never_accepted(server: GerritServer) -> None:
    other = asyncssh.generate_private_key("ssh-ed25519").export_public_key().decode()
    sentence = await problem_of(server.settings().model_copy(update={"known_hosts": other}))
    assert "is not the one" in sentence


async def test_wrong_key_tells_the_line_to_add_to_the_account(server: GerritServer, tmp_path: Path) -> None:
    key = asyncssh.generate_private_key("ssh-ed25519")
    (tmp_path / "key").write_bytes(key.export_private_key())
    (tmp_path / "no-key").write_text("hello")

    def using(name: str) -> GerritSettings:
        return server.settings().model_copy(update={"sshkey": tmp_path / name})

    assert key.export_public_key().decode().split()[1] in await problem_of(using("key"))
    assert "is no usable private key" in await problem_of(using("no-key"))
    assert "No such file" in await problem_of(using("none"))


async def test_wrong_password_and_missing_right_are_told_apart(server: GerritServer) -> None:
    values = {**server.settings().model_dump(), "password": "wrong"}
    assert "does not take the password" in await problem_of(GerritSettings.model_validate(values))
    assert "Stream Events" in await problem_of(server.settings().model_copy(update={"user": PERSON}))


async def test_unreachable_and_wrong_addresses_are_named(server: GerritServer) -> None:
    nowhere = free_port()
    assert "cannot be reached" in await problem_of(server.settings().model_copy(update={"baseurl": f"http://127.0.0.1:{nowhere}"}))
    assert "ssh to 127.0.0.1" in await problem_of(server.settings().model_copy(update={"port": nowhere}))
    assert "ssh to 127.0.0.1" in await problem_of(server.settings().model_copy(update={"port": server.gerrit.http_port}))
    assert "`baseurl`" in await problem_of(server.settings().model_copy(update={"baseurl": f"{server.gerrit.url}/nonsense"}))


async def test_nothing_is_missed_or_doubled_when_the_network_goes_away(server: GerritServer, alice: Author) -> None:
    async with Cable(server.gerrit.ssh_port) as cable:
        settings = server.settings().model_copy(update={"port": cable.port, "known_hosts": server.gerrit.host_key()})
        connection = open_connection(settings)
        async with listening(connection, server.now()) as heard:
            alice.commit({"a": "1"})
            number = await asyncio.to_thread(server.push, alice)
            await heard.wait("patchset-created", number)
            for round in (2, 3):
                cable.cut()
                await asyncio.to_thread(alice.amend, {"a": str(round)})
                await asyncio.to_thread(server.push, alice)
                await asyncio.to_thread(server.comment, alice, number, f"recheck {round}")
                cable.plug()
                await heard.wait("patchset-created", number, count=round)
                await heard.wait("comment-added", number, count=round - 1)
            await cable.used(3)
        await connection.close()
    ours = [event for event in heard.events if event.change == number]
    assert [(event.type, event.patchset) for event in ours] == [
        ("patchset-created", 1), ("patchset-created", 2), ("comment-added", 2), ("patchset-created", 3), ("comment-added", 3)]  # fmt: skip


async def test_restart_of_gerrit_in_the_middle(server: GerritServer, connection: Connection, alice: Author) -> None:
    async with listening(connection, server.now()) as heard:
        alice.commit({"a": "1"})
        number = await asyncio.to_thread(server.push, alice)
        await heard.wait("patchset-created", number)
        change = await connection.change(number)
        await asyncio.to_thread(server.restart)
        alice.amend({"a": "2"})
        await asyncio.to_thread(server.push, alice)
        await heard.wait("patchset-created", number, count=2)
        await connection.report(Report(uuid.uuid4().hex, await connection.change(number), "check", "Fine.", {"Verified": 1}))
    assert change.patchset == 1 and server.votes(number) == {CI: 1}


async def test_vote_whose_answer_was_lost_is_not_said_again(server: GerritServer, alice: Author) -> None:
    alice.commit({"a": "1"})
    number = server.push(alice)
    async with Cable(server.gerrit.http_port) as cable:
        connection = open_connection(server.settings().model_copy(update={"baseurl": f"http://127.0.0.1:{cable.port}"}))
        report = Report(uuid.uuid4().hex, await connection.change(number), "check", "Build succeeded.", {"Verified": 1})
        cable.lose_answer_to = b"POST"
        with pytest.raises(ConnectionProblem):
            await connection.report(report)
        await connection.report(report)
        await connection.close()
    assert sum("Build succeeded." in message for message in server.messages(number)) == 1
    assert server.votes(number) == {CI: 1}


async def test_changes_that_come_about_in_other_ways_are_heard(server: GerritServer, connection: Connection, alice: Author) -> None:
    api = server.gerrit.api
    async with listening(connection, server.now()) as heard:
        made = api("POST", "changes/", {"project": server.project, "branch": "main", "subject": "Made in the pages"}, PERSON)["_number"]
        await heard.wait("patchset-created", made)
        alice.commit({"a": "1"})
        alice.git("push", "-q", "origin", "HEAD:refs/heads/main")
        rebased = api("POST", f"changes/{made}/rebase", {}, PERSON)["_number"]
        await heard.wait("patchset-created", rebased, count=2)
        alice.commit({"b": "1"})
        pushed = server.push(alice)
        alice.git("push", "-q", "origin", "HEAD:refs/heads/main")
        merged = await heard.wait("change-merged", pushed)
        api("DELETE", f"changes/{made}", user="admin")
        alice.commit({"c": "1"})
        await heard.wait("patchset-created", server.push(alice))
    assert rebased == made and merged.patchset == 1
    assert not (await connection.change(pushed)).open


async def test_git_review_pushes_a_change_that_is_heard(server: GerritServer, connection: Connection, alice: Author) -> None:
    async with listening(connection, server.now()) as heard:
        alice.commit({"a": "1"})
        said = await asyncio.to_thread(server.git_review, alice, "-t", "a-topic", "main")
        number = int(re.findall(r"/\+/(\d+)", said)[-1])
        await heard.wait("patchset-created", number)
    assert (await connection.change(number)).topic == "a-topic"


async def test_comment_of_an_old_client_and_hashtags_are_heard(server: GerritServer, connection: Connection, alice: Author) -> None:
    alice.commit({"a": "1"})
    number = server.push(alice)
    async with listening(connection, server.now()) as heard:
        server.review(number, {"message": "recheck", "labels": {"Code-Review": -1}})
        event = await heard.wait("comment-added", number)
        server.gerrit.api("POST", f"changes/{number}/hashtags", {"add": ["one", "two"]}, PERSON)
        tags = await heard.wait("hashtags-changed", number)
        server.gerrit.api("POST", f"changes/{number}/wip", {}, PERSON)
        await heard.wait("wip-state-changed", number)
    assert event.comment == "Patch Set 1: Code-Review-1\n\nrecheck"
    assert [(approval.label, approval.value) for approval in event.approvals] == [("Code-Review", -1)]
    assert (tags.added, tags.removed) == (("one", "two"), ())
    change = await connection.change(number)
    assert change.wip and set(change.hashtags) == {"one", "two"}


async def test_report_that_gerrit_finds_too_long_or_misplaced_is_said_in_short(
    server: GerritServer, connection: Connection, alice: Author
) -> None:
    alice.commit({"a": "1\n"})
    number = server.push(alice)
    change = await connection.change(number)
    comments = (FileComment("no/such/file", 3, "is wrong"),)
    for message in ("Build failed.", "Build failed.\n" + "- a-long-job-name FAILURE\n" * 2000):
        await connection.report(Report(uuid.uuid4().hex, change, "check", message, {"Verified": -1}, comments))
    first, second = server.messages(number)[-2:]
    assert "no/such/file:3: is wrong" in first and "shortened" in second
    assert server.votes(number) == {CI: -1}


async def test_report_is_tagged_by_pipeline_and_comments_on_the_line(server: GerritServer, connection: Connection, alice: Author) -> None:
    alice.commit({"a": "1\n2\n"})
    number = server.push(alice)
    report = Report("an-id", await connection.change(number), "gate", "Build failed.", {"Verified": -1}, (FileComment("a", 2, "here"),))
    await connection.report(report)
    message = server.gerrit.api("GET", f"changes/{number}/messages")[-1]
    assert message["tag"] == "autogenerated:headgate:gate" and "an-id" in message["message"]
    (comment,) = server.gerrit.api("GET", f"changes/{number}/comments")["a"]
    assert (comment["line"], comment["message"]) == (2, "here")


async def test_fetch_over_ssh_works_as_over_http(server: GerritServer, alice: Author, tmp_path: Path) -> None:
    commit = alice.commit({"a": "1"})
    number = server.push(alice)
    for over_ssh in (False, True):
        connection = open_connection(server.settings().model_copy(update={"git_over_ssh": over_ssh}))
        change = await connection.change(number)
        url, environment = connection.git(server.project)
        assert "secret" not in url
        alice.environment = {**alice.environment, **environment}
        assert commit in alice.git("ls-remote", url, change.ref)
        await connection.close()
