"""The door of home: who comes in by it, and what becomes of what is sent, however often."""

from __future__ import annotations

import stat
import time
from collections.abc import AsyncIterator
from pathlib import Path

import httpx
import pytest
from starlette.applications import Starlette

from headgate.configuration.definitions import Secret
from headgate.configuration.encryption import BadKey, encrypt
from services.web.home import HomeDoor
from tasks import returned_file
from tasks.home import Home, HomeProblem
from tasks.home_requests import NODE_KEYS, SECRET_DATA, SIGNATURE, TIME, SharedSecret, make_secret, read_secret
from tasks.secret_keys import SecretKeys
from tasks.sending import Sending
from tests.fake_reader import FakeReader, world
from tests.services.until import until

SECRET = SharedSecret("s" * 40)


@pytest.fixture
def reader(tmp_path: Path) -> FakeReader:
    return world(tmp_path)


@pytest.fixture
def build(reader: FakeReader) -> str:
    return next(iter(reader.build_records))


class Network(httpx.AsyncBaseTransport):
    """Between worker and home; `losing` answers are lost, and when `replaying` the first is given to every request."""

    def __init__(self, app: Starlette) -> None:
        self._inner = httpx.ASGITransport(app)
        self.losing = 0
        self.replaying = False
        self._first: bytes | None = None

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        answer = await self._inner.handle_async_request(request)
        if self.replaying:
            self._first = self._first or await answer.aread()
            return httpx.Response(200, content=self._first)
        if self.losing:
            self.losing -= 1
            raise httpx.ReadError("the connection is lost")
        return answer


def home_at(app: Starlette, secret: SharedSecret = SECRET) -> tuple[Home, Network]:
    home = Home("http://home", secret)
    network = Network(app)
    home._client = httpx.AsyncClient(base_url="http://home", transport=network)
    return home, network


@pytest.fixture
def app(reader: FakeReader, tmp_path: Path) -> Starlette:
    return Starlette(routes=HomeDoor(reader, tmp_path, SECRET).routes())


@pytest.fixture
async def home(app: Starlette) -> AsyncIterator[Home]:
    home, _ = home_at(app)
    yield home
    await home.close()


async def test_what_is_appended_twice_is_there_once(app: Starlette, reader: FakeReader, build: str) -> None:
    console = reader.console(build)
    console.unlink(missing_ok=True)
    home, network = home_at(app)
    network.losing = 1
    assert await home.append(build, "console.log", 0, b"one\n") == 4
    assert await home.append(build, "console.log", 4, b"two\n") == 8
    assert await home.append(build, "console.log", 0, b"other\n") == 8
    assert console.read_text() == "one\ntwo\n"
    await home.close()


async def test_a_console_is_sent_as_it_grows_and_corrected_at_the_end(home: Home, reader: FakeReader, build: str, tmp_path: Path) -> None:
    directory = tmp_path / "far" / build
    reader.console(build).unlink(missing_ok=True)
    sending = Sending(home, build, directory)
    directory.mkdir(parents=True)
    (directory / "console.log").write_text("it is hunter2\n")
    await until(lambda: reader.console(build).exists(), "what is there is sent")
    (directory / "logs" / "deep").mkdir(parents=True)
    (directory / "logs" / "deep" / "one.txt").write_text("kept")
    (directory / "logs" / "elsewhere").symlink_to("/etc/passwd")
    (directory / "console.log").write_text("it is ***\n")  # a secret that only the end revealed
    assert await sending.end() == ""
    await sending.close()
    assert reader.console(build).read_text() == "it is ***\n"
    logs = reader.console(build).parent / "logs"
    assert [path.relative_to(logs).as_posix() for path in sorted(logs.rglob("*"))] == ["deep", "deep/one.txt"]
    assert not directory.exists()


async def test_only_with_the_secret_and_now_is_anything_done(app: Starlette, build: str, home: Home) -> None:
    stranger, _ = home_at(app, SharedSecret("t" * 40))
    with pytest.raises(HomeProblem, match="secret of this worker is not that of its home"):
        await stranger.append(build, "console.log", 0, b"x")
    async with httpx.AsyncClient(base_url="http://home", transport=httpx.ASGITransport(app)) as client:
        assert (await client.get("/home/")).status_code == 401
        for moment, body, status in ((time.time(), b"", 200), (time.time(), b"changed", 401), (time.time() - 900, b"", 401)):
            signed = {TIME: str(int(moment)), SIGNATURE: SECRET.sign("GET", "/", str(int(moment)), b"")}
            assert (await client.request("GET", "/home/", headers=signed, content=body)).status_code == status


async def test_an_answer_is_only_taken_for_the_request_it_was_made_for(app: Starlette) -> None:
    home, network = home_at(app)
    await home.keep(NODE_KEYS, "one", b"key of one")
    await home.keep(NODE_KEYS, "two", b"key of two")
    network.replaying = True
    assert await home.kept(NODE_KEYS, "one") == b"key of one"
    with pytest.raises(HomeProblem, match="belongs to another request"):
        await home.kept(NODE_KEYS, "two")
    await home.close()


async def test_as_much_as_a_build_may_return_is_kept(home: Home) -> None:
    returned = b"x" * returned_file.LARGEST
    await home.keep(SECRET_DATA, "0" * 32, returned)
    assert await home.kept(SECRET_DATA, "0" * 32) == returned


async def test_nothing_is_written_but_what_belongs_to_a_build(home: Home, build: str, tmp_path: Path) -> None:
    before = sorted(path for path in tmp_path.rglob("*"))
    for where, file in (("0" * 32, "console.log"), (build, "key"), (build[:5], "console.log"), ("..%2f..", "console.log")):
        with pytest.raises(HomeProblem):
            await home.append(where, file, 0, b"x")
    for kind, name in (("keys", "a"), (NODE_KEYS, "..%2fkeys"), (SECRET_DATA, ".")):
        with pytest.raises(HomeProblem):
            await home.keep(kind, name, b"x")
    assert sorted(path for path in tmp_path.rglob("*")) == before


async def test_secrets_are_revealed_but_keys_do_not_travel(home: Home, tmp_path: Path) -> None:
    keys = SecretKeys(tmp_path / "keys")
    secret = Secret("login", {"password": encrypt("hunter2", keys.public("localhost/org/one")), "user": "me"})
    assert await home.reveal("localhost/org/one", secret) == {"password": "hunter2", "user": "me"}
    with pytest.raises(BadKey, match='the secret "login" was encrypted for another key'):
        await home.reveal("localhost/org/two", secret)


async def test_small_secrets_are_kept_for_their_owner_and_other_workers_only(home: Home, tmp_path: Path) -> None:
    assert await home.kept(NODE_KEYS, "n1") is None
    await home.keep(NODE_KEYS, "n1", b"a key")
    assert await home.kept(NODE_KEYS, "n1") == b"a key"
    assert stat.S_IMODE((tmp_path / "node-keys" / "n1").stat().st_mode) == 0o600
    await home.drop(NODE_KEYS, "n1")
    await home.drop(NODE_KEYS, "n1")
    assert await home.kept(NODE_KEYS, "n1") is None


def test_the_secret_is_made_once_for_its_owner_only(tmp_path: Path) -> None:
    make_secret(tmp_path / "secret")
    text = (tmp_path / "secret").read_text()
    assert stat.S_IMODE((tmp_path / "secret").stat().st_mode) == 0o600
    make_secret(tmp_path / "secret")
    assert (tmp_path / "secret").read_text() == text
    assert read_secret(tmp_path / "secret").unseal(make_secret(tmp_path / "secret").seal(b"x", "it"), "it") == b"x"
