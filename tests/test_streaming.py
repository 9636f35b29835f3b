"""Frames of task output: whatever way a connection cuts the bytes, the console has the same lines and Ansible the same rest."""

from __future__ import annotations

import itertools
import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tasks.ansible import streaming
from tasks.ansible.streaming import HEADER, LONGEST_PART, MAGIC, Frames


def frame(data: bytes, stream: int = 1, when: float = 1767225600.5) -> bytes:
    return MAGIC + HEADER.pack(stream, when, len(data)) + data


@pytest.fixture
def console(tmp_path: Path) -> Iterator[Path]:
    path = tmp_path / "console"
    descriptor = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT)
    before = streaming.console
    streaming.use(streaming.Console(descriptor, ["hunter2hunter2"], {}))
    yield path
    streaming.console = before
    os.close(descriptor)


def lines(path: Path) -> list[str]:
    return [line.partition(" | localhost | ")[2] for line in path.read_text().splitlines()]


def feed(pieces: list[bytes]) -> bytes:
    frames = Frames()
    return b"".join(frames.feed(piece) for piece in pieces) + frames.close()


def test_a_frame_is_lines_with_the_nodes_time_and_the_host(console: Path) -> None:
    assert feed([frame(b"one\ntwo\n")]) == b""
    assert console.read_text() == "2026-01-01 00:00:00.500000 | localhost | one\n2026-01-01 00:00:00.500000 | localhost | two\n"


def test_a_line_in_two_frames_is_one_line_and_streams_do_not_mix(console: Path) -> None:
    feed([frame(b"a1 "), frame(b"b1 ", 2), frame(b"a2\n"), frame(b"b2\n", 2)])
    assert lines(console) == ["a1 a2", "b1 b2"]


def test_an_unfinished_last_line_is_written_at_the_end(console: Path) -> None:
    feed([frame(b"whole\npart")])
    assert lines(console) == ["whole", "part"]


def test_an_endless_line_is_written_in_pieces(console: Path) -> None:
    feed([frame(b"x" * LONGEST_PART), frame(b"y"), frame(b"z\n")])
    assert lines(console) == ["x" * LONGEST_PART + "y", "z"]


def test_what_is_no_frame_goes_through_even_if_it_looks_like_one(console: Path) -> None:
    liar = MAGIC + HEADER.pack(9, 0.0, 1 << 30)
    assert feed([b"warning: " + liar + frame(b"line\n") + b" end" + MAGIC[:3]]) == b"warning: " + liar + b" end" + MAGIC[:3]
    assert lines(console) == ["line"]


def test_a_value_to_hide_is_hidden_in_lines_and_in_our_own(console: Path) -> None:
    feed([frame(b"password=hunter2hunter2;\n")])
    streaming.console.say("TASK [log in with hunter2hunter2]")
    assert "hunter2" not in console.read_text()
    assert console.read_text().count("(redacted)") == 2


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=200, deadline=None)
@given(
    parts=st.lists(st.tuples(st.booleans(), st.binary(max_size=40).filter(lambda data: MAGIC[:1] not in data)), max_size=8),
    cuts=st.lists(st.integers(0, 400), max_size=12),
)
def test_cutting_the_bytes_elsewhere_changes_nothing(console: Path, parts: list[tuple[bool, bytes]], cuts: list[int]) -> None:
    data = b"".join(frame(part) if framed else part for framed, part in parts)
    edges = sorted({0, len(data), *(cut for cut in cuts if cut < len(data))})
    console.write_bytes(b"")
    whole = feed([data])
    expected = [line[27:] for line in console.read_bytes().split(b"\n")]  # an unfinished line has the time of now
    console.write_bytes(b"")
    assert feed([data[start:end] for start, end in itertools.pairwise(edges)]) == whole == b"".join(p for f, p in parts if not f)
    assert [line[27:] for line in console.read_bytes().split(b"\n")] == expected


def test_a_read_that_was_all_frames_is_not_the_end(console: Path) -> None:
    receive, send = os.pipe()
    with open(receive, "rb", buffering=0) as stream:
        framed = streaming.FramedStderr(stream)  # type: ignore[arg-type]
        os.write(send, frame(b"x\n"))
        ended = framed.read(100) == b""  # as the plugin asks
        assert not ended
        os.close(send)
        assert framed.read(100) == b""


def test_stdin_and_both_outputs_pass_a_process_through(console: Path) -> None:
    script = f"import os, sys; data = sys.stdin.buffer.read(); os.write(2, {frame(b'told')!r}); os.write(2, b'rest'); os.write(1, data)"
    process = streaming.FramedProcess(["python3", "-c", script], stdin=-1, stdout=-1, stderr=-1)
    assert process.communicate(b"in" * 200_000) == (b"in" * 200_000, b"rest")
    assert lines(console) == ["told"]
