"""Downloading Gerrit without Maven, from a server of our own; and what is said where it cannot be."""

from __future__ import annotations

import functools
import hashlib
import http.server
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from deployments import gerrit, gerrit_jars
from deployments.gerrit_jars import Jar, fetch_jars
from headgate.problems import Problem


@pytest.fixture
def central(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """The directory that Maven Central is for this test, with no mvn on the PATH."""
    root = tmp_path / "central"
    root.mkdir()
    handler = functools.partial(http.server.SimpleHTTPRequestHandler, directory=str(root))
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    monkeypatch.setattr(gerrit_jars, "CENTRAL", f"http://127.0.0.1:{server.server_port}")
    monkeypatch.setenv("PATH", str(tmp_path))
    yield root
    server.shutdown()
    server.server_close()


def publish(central: Path, content: bytes) -> Jar:
    jar = Jar("org.example", "thing", "1.0", hashlib.sha256(b"right").hexdigest())
    file = central / "org/example/thing/1.0" / jar.file
    file.parent.mkdir(parents=True)
    file.write_bytes(content)
    return jar


def test_jars_come_by_https_where_there_is_no_maven(central: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gerrit_jars, "JARS", (publish(central, b"right"),))
    said: list[str] = []
    for _ in range(2):
        fetch_jars(tmp_path / "jars", said.append)
    assert [file.name for file in (tmp_path / "jars").iterdir()] == ["thing-1.0.jar"] and len(said) == 1


def test_jar_with_another_checksum_is_not_kept(central: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gerrit_jars, "JARS", (publish(central, b"wrong"),))
    with pytest.raises(Problem, match="checksum"):
        fetch_jars(tmp_path / "jars", lambda _: None)
    assert not list((tmp_path / "jars").iterdir())


def test_missing_jar_is_named_by_its_address(central: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gerrit_jars, "JARS", (Jar("org.example", "other", "2", ""),))
    with pytest.raises(Problem, match=r"org/example/other/2/other-2\.jar could not be downloaded: .*404"):
        fetch_jars(tmp_path / "jars", lambda _: None)


def test_missing_java_is_one_sentence_with_the_cure(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(Problem, match="apt install openjdk"):
        gerrit.template(print)
