"""Consoles for people: the command, and plain TCP."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import pytest
import typer
from typer.testing import CliRunner

from cli.console import from_file, from_web, moment, newer, register
from headgate.problems import Problem
from services.finger import finger_server
from services.web.app import create_app
from tests.fake_reader import CONSOLE, FakeReader, world
from tests.services.sshd import free_port
from tests.test_web import FAILED, RUNNING, serving

NOON = datetime(2026, 11, 22, 12, tzinfo=UTC)


@pytest.fixture
def reader(tmp_path: Path) -> FakeReader:
    return world(tmp_path)


@pytest.fixture
async def port(reader: FakeReader) -> AsyncIterator[int]:
    async with finger_server(reader, "127.0.0.1", free_port()) as listening:
        yield listening


async def ask(port: int, question: bytes) -> bytes:
    asking, telling = await asyncio.open_connection("127.0.0.1", port)
    telling.write(question)
    telling.write_eof()
    try:
        return await asking.read()
    finally:
        telling.close()


async def test_who_sends_a_builds_id_reads_its_console(port: int) -> None:
    assert (await ask(port, f"{FAILED}\r\n".encode())).decode() == CONSOLE
    assert (await ask(port, f"/W {FAILED}\n".encode())).decode() == CONSOLE


@pytest.mark.parametrize("question", [b"\n", b"none\n", b"../../etc/passwd\n", b"\xff\xfe\n"])
async def test_what_is_no_build_is_told(port: int, question: bytes) -> None:
    assert await ask(port, question) == b"There is no such build.\n"


@pytest.mark.parametrize("question", [b"", b"no end", b"x" * 10_000])
async def test_what_is_no_question_gets_no_answer(port: int, question: bytes) -> None:
    try:
        assert await ask(port, question) == b""
    except ConnectionResetError:
        assert len(question) > 256


async def test_lines_are_read_as_they_are_written_until_the_build_ends(port: int, reader: FakeReader) -> None:
    build = reader.build_records[RUNNING]
    path = reader.write(build, "console.log", "one\n")
    asking, telling = await asyncio.open_connection("127.0.0.1", port)
    telling.write(f"{RUNNING}\n".encode())
    assert await asking.readline() == b"one\n"
    with path.open("a") as file:
        file.write("two\n")
    assert await asking.readline() == b"two\n"
    reader.build_records[RUNNING] = replace(build, ended=reader.now, result="SUCCESS")
    await reader.changed()
    assert await asking.read() == b""
    telling.close()


async def test_without_a_port_nothing_listens(reader: FakeReader) -> None:
    async with finger_server(reader, "127.0.0.1", None) as listening:
        assert listening == 0


@pytest.mark.parametrize(
    ("said", "meant"),
    [
        ("90s", "2026-11-22 11:58:30"),
        ("10m", "2026-11-22 11:50:00"),
        ("1d", "2026-11-21 12:00:00"),
        ("11:40", "2026-11-22 11:40:00"),
        ("2026-11-01", "2026-11-01 00:00:00"),
        ("2026-11-01T10:20", "2026-11-01 10:20:00"),
    ],
)
def test_since_is_a_time_or_how_long_ago(said: str, meant: str) -> None:
    assert moment(said, NOON) == meant


def test_since_that_is_no_time_is_one_sentence() -> None:
    with pytest.raises(Problem, match=r"^'yesterday' is no time: 90s, 10m"):
        moment("yesterday", NOON)


def test_lines_older_than_since_are_left_out() -> None:
    lines = [f"{line}\n".encode() for line in CONSOLE.splitlines()]
    assert list(newer(lines, "2026-11-22 11:40:31")) == lines[7:]
    assert list(newer(lines, "")) == lines
    assert list(newer(lines, "2026-11-23")) == []


async def test_the_command_reads_by_http_what_there_is_and_to_the_end(reader: FakeReader) -> None:
    build = reader.build_records[RUNNING]
    reader.write(build, "console.log", "one\nunfinished")
    async with serving(create_app(reader)) as url:
        now = await asyncio.to_thread(lambda: list(from_web(url, RUNNING, follow=False)))
        assert now == [b"one\n", b"unfinished"]
        following = asyncio.create_task(asyncio.to_thread(lambda: list(from_web(url, RUNNING, follow=True))))
        reader.build_records[RUNNING] = replace(build, ended=reader.now, result="SUCCESS")
        await reader.changed()
        assert await following == now
        with pytest.raises(Problem, match=r"^There is no build none at http"):
            await asyncio.to_thread(lambda: list(from_web(url, "none", follow=False)))


def test_the_command_reads_the_file_when_nobody_answers(tmp_path: Path) -> None:
    (tmp_path / "headgate.yaml").write_text(
        f"tenants: main.yaml\nstate-dir: state\nconnections: [{{name: x}}]\nweb: {{port: {free_port()}}}\n"
    )
    for build in ("abc1", "abc2"):
        (tmp_path / f"state/builds/{build}").mkdir(parents=True)
        (tmp_path / f"state/builds/{build}/console.log").write_text(CONSOLE)
    app = typer.Typer()
    register(app)
    config = ["--config", str(tmp_path / "headgate.yaml")]
    assert CliRunner().invoke(app, ["abc1", *config]).output == CONSOLE
    assert (
        CliRunner().invoke(app, ["abc1", "--since", "2026-11-22 11:40:32", *config]).output == "\n".join(CONSOLE.splitlines()[-2:]) + "\n"
    )
    assert "does not answer" in str(CliRunner().invoke(app, ["abc1", "-f", *config]).exception)
    with pytest.raises(Problem, match="more than one build abc in"):
        list(from_file(tmp_path / "state/builds", "abc"))
    with pytest.raises(Problem, match="no build \\.\\. in"):
        list(from_file(tmp_path / "state/builds", ".."))
