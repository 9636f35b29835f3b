"""The web pages over a world in memory: by ASGI calls, by a real server for streams, and in a real browser."""

from __future__ import annotations

import asyncio
import json
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path

import httpx
import pytest
import uvicorn
import websockets
from starlette.applications import Starlette

from headgate.jobs import JobGraph
from services.web import WebSettings, create_app
from services.web.excerpt import failure
from services.web.queries import BadQuery, build_query
from tasks.following import Watcher, follow
from tests.fake_reader import CONSOLE, FakeReader, world

FAILED = "1002-tox-py311-2"
RUNNING = "1001-tox-py311-1"


@pytest.fixture
def reader(tmp_path: Path) -> FakeReader:
    return world(tmp_path / "logs")


@pytest.fixture
def app(reader: FakeReader) -> Starlette:
    return create_app(reader, WebSettings(prefect_url="http://127.0.0.1:4200/", web_url="https://ci.example.org"))


@pytest.fixture
async def web(app: Starlette) -> AsyncIterator[httpx.AsyncClient]:
    transport = httpx.ASGITransport(app, raise_app_exceptions=False)
    async with httpx.AsyncClient(transport=transport, base_url="http://headgate.test") as client:
        yield client


@asynccontextmanager
async def serving(app: Starlette, port: int = 0) -> AsyncIterator[str]:
    """A real server, since `httpx.ASGITransport` gives an answer only when it is whole."""
    server = uvicorn.Server(uvicorn.Config(app, host="127.0.0.1", port=port, log_level="warning", timeout_graceful_shutdown=0))
    task = asyncio.create_task(server.serve())
    while not server.started:
        await asyncio.sleep(0.01)
    port = server.servers[0].sockets[0].getsockname()[1]
    try:
        yield f"http://127.0.0.1:{port}"
    finally:
        server.should_exit = True
        await task


async def page(web: httpx.AsyncClient, path: str) -> str:
    answer = await web.get(path)
    assert answer.status_code == 200, answer.text
    assert "script-src 'self'" in answer.headers["content-security-policy"]
    return answer.text


class TestPages:
    async def test_status_shows_each_item_with_its_jobs_and_where_to_look(self, web: httpx.AsyncClient) -> None:
        text = await page(web, "/")
        assert "Report a clear error when the cell database is unreachable" in text
        assert 'href="https://review.example.org/c/openstack/nova/+/1001"' in text
        assert f'href="/console/{RUNNING}"' in text
        assert 'href="http://127.0.0.1:4200/runs/flow-run/flow-1001-tox-py311"' in text
        assert "waits for nodes: cloud-north has no room" in text
        assert "waits for tox-py311" in text
        assert "attempt 2 of 3" in text
        assert "glance/api/v2/images.py does not merge with master." in text

    async def test_status_says_which_pipelines_are_empty_and_when_all_are(self, web: httpx.AsyncClient, reader: FakeReader) -> None:
        assert "Empty:" in await page(web, "/")
        reader.items = {name: replace(item, dequeued=reader.now) for name, item in reader.items.items()}
        text = await page(web, "/")
        assert "Nothing is being tested." in text
        assert "Just finished" in text
        assert f'href="/build/{FAILED}"' in text

    async def test_problems_are_on_the_status_page(self, web: httpx.AsyncClient, reader: FakeReader) -> None:
        reader.problems = ("gerrit: not reachable since 11:40.",)
        reader.tenant_problems = ("zuul.yaml:3: job x has no parent <y>.",)
        text = await page(web, "/")
        assert "gerrit: not reachable since 11:40." in text
        assert "1 configuration error<" in text
        assert "has no parent &lt;y&gt;" in text

    async def test_a_build_says_what_failed_and_leads_to_everything_about_it(self, web: httpx.AsyncClient) -> None:
        text = await page(web, f"/build/{FAILED}")
        assert f'href="/console/{FAILED}#L10"' in text
        assert "AssertionError: 409 != 202" in text
        assert "192.0.2.17" in text
        assert f'href="/logs/{FAILED}/console.log"' in text
        assert 'href="/build/1002-tox-py311-1"' in text
        assert 'href="/buildset/set-1002"' in text
        assert "The role ensure-tox is deprecated." in text

    async def test_job_that_comes_to_something_else_when_run_again_is_named_with_the_reasons(
        self, web: httpx.AsyncClient, reader: FakeReader
    ) -> None:
        assert "Reruns" not in await page(web, "/builds?job=tox-py311")
        again = replace(reader.build_records[FAILED], id="again", round=2, attempt=1, result="SUCCESS", reason="jane asked for it.")
        reader.build_records["again"] = again
        for text in (await page(web, "/builds?job=tox-py311"), await page(web, f"/build/{FAILED}")):
            assert "1 (100 %)" in text and "1 × jane asked for it." in text
        assert "rerun 1: jane asked for it." in await page(web, "/build/again")

    async def test_jobs_of_one_name_in_a_cycle_have_a_place_each(self, web: httpx.AsyncClient, reader: FakeReader) -> None:
        buildset = reader.buildsets["set-1002"]
        assert buildset.graph is not None
        item = reader.items[buildset.item]
        twice = tuple(replace(job, changes=(position,)) for job in buildset.graph.jobs[:1] for position in (0, 1))
        other = replace(item.change, number=1099, patchset=4)
        reader.buildsets["set-1002"] = replace(buildset, graph=JobGraph(twice), changes=(item.change, other))
        name = twice[0].name
        failed = replace(reader.build_records[FAILED], job=name, attempt=1)
        own = [replace(failed, id="own-0", result="SUCCESS"), replace(failed, id="own-1", position=1, result="TIMED_OUT")]
        reader.build_records = {build.id: build for build in own}
        text = await page(web, "/buildset/set-1002")
        assert f"of {item.change}" in text and "of 1099,4" in text
        assert 'href="/build/own-0"' in text and 'href="/build/own-1"' in text and "TIMED_OUT" in text

    async def test_artifacts_of_a_job_are_links_but_never_scripts(self, web: httpx.AsyncClient) -> None:
        text = await page(web, f"/build/{FAILED}")
        assert f'href="/logs/{FAILED}/testr_results.html"' in text
        assert "javascript:" not in text

    async def test_a_buildset_shows_jobs_votes_and_earlier_attempts(self, web: httpx.AsyncClient) -> None:
        text = await page(web, "/buildset/set-1002")
        assert "Verified -1" in text
        assert 'id="earlier-1002-tox-py311-1"' in text
        assert f'href="/build/{FAILED}"' in text

    async def test_builds_are_filtered_and_turned_over(self, web: httpx.AsyncClient) -> None:
        text = await page(web, "/builds?project=openstack/placement&result=FAILURE")
        assert FAILED in text
        assert "1001-linters" not in text
        text = await page(web, "/builds?limit=5&skip=5&pipeline=check")
        assert "/builds?pipeline=check&amp;limit=5&amp;skip=0" in text
        assert "No build matches" in await page(web, "/builds?job=nothing")

    async def test_the_beginning_of_a_build_id_leads_to_the_build(self, web: httpx.AsyncClient) -> None:
        answer = await web.get("/build/1001-tox-py")
        assert (answer.status_code, answer.headers["location"]) == (307, f"/build/{RUNNING}")

    @pytest.mark.parametrize("path", ["/nothing", "/build/none", "/buildset/none", "/console/none", "/logs/none/x", "/events/build/none"])
    async def test_what_is_missing_is_said_kindly(self, web: httpx.AsyncClient, path: str) -> None:
        answer = await web.get(path)
        assert answer.status_code == 404
        assert "This is not here" in answer.text
        assert 'href="/builds"' in answer.text

    async def test_a_wrong_filter_names_the_nearest(self, web: httpx.AsyncClient) -> None:
        answer = await web.get("/builds?projct=x")
        assert answer.status_code == 400
        assert "did you mean project?" in answer.text

    async def test_a_failure_of_ours_shows_no_traceback(self, web: httpx.AsyncClient, reader: FakeReader) -> None:
        reader.items.pop("item-1002")
        answer = await web.get(f"/build/{FAILED}")
        assert answer.status_code == 500
        assert "Something went wrong on the server" in answer.text
        assert "KeyError" not in answer.text

    async def test_names_from_a_change_are_never_markup(self, web: httpx.AsyncClient, reader: FakeReader) -> None:
        item = reader.items["item-1001"]
        evil = replace(item.change, subject="<script>alert(1)</script>", owner='"><img src=x>', url="javascript:alert(1)")
        reader.items[item.id] = replace(item, change=evil)
        for path in ("/", "/builds", f"/build/{RUNNING}", "/buildset/set-1001", f"/console/{RUNNING}"):
            text = await page(web, path)
            assert "<script>alert" not in text
            assert "<img" not in text
            assert "javascript:" not in text


class TestQuery:
    def test_zuuls_words_and_ours(self) -> None:
        assert build_query({"job_name": "tox", "change": " 12 "}) == build_query({"job": "tox", "change": "12"})

    def test_a_number_is_a_number(self) -> None:
        with pytest.raises(BadQuery, match="change: 'abc' is no number between 0 and"):
            build_query({"change": "abc"})
        with pytest.raises(BadQuery, match="limit: '1000' is no number between 0 and 500"):
            build_query({"limit": "1000"})


class TestLogs:
    async def test_text_is_shown_inline_as_text(self, web: httpx.AsyncClient) -> None:
        answer = await web.get(f"/logs/{FAILED}/console.log")
        assert answer.text == CONSOLE
        assert answer.headers["content-type"] == "text/plain; charset=utf-8"
        assert answer.headers["x-content-type-options"] == "nosniff"

    async def test_html_of_a_job_is_sandboxed_without_scripts(self, web: httpx.AsyncClient) -> None:
        answer = await web.get(f"/logs/{FAILED}/testr_results.html")
        assert answer.headers["content-type"].startswith("text/html")
        assert answer.headers["content-security-policy"].startswith("sandbox; default-src 'none'")
        assert "allow-scripts" not in answer.headers["content-security-policy"]

    async def test_directories_are_listed(self, web: httpx.AsyncClient) -> None:
        assert (await web.get(f"/logs/{FAILED}")).headers["location"] == f"/logs/{FAILED}/"
        text = await page(web, f"/logs/{FAILED}/controller/logs/")
        assert f'href="/logs/{FAILED}/controller/logs/nova-api.txt.gz"' in text

    async def test_compressed_text_is_shown_as_text(self, web: httpx.AsyncClient) -> None:
        answer = await web.head(f"/logs/{FAILED}/controller/logs/nova-api.txt.gz")
        assert (answer.headers["content-encoding"], answer.headers["content-type"]) == ("gzip", "text/plain; charset=utf-8")

    @pytest.mark.parametrize(
        ("name", "content", "kind"),
        [
            ("a.js", b"alert(1)", "text/plain; charset=utf-8"),
            ("a.xml", b"<a/>", "text/plain; charset=utf-8"),
            ("noname", b"text", "text/plain; charset=utf-8"),
            ("a.txt", b"\0\1", "application/octet-stream"),
            ("a.png", b"\x89PNG", "image/png"),
            ("a.pdf", b"%PDF\0", "application/octet-stream"),
            ("a.tar.gz", b"\x1f\x8b", "application/octet-stream"),
            ("a.svg", b"<svg/>", "image/svg+xml"),
        ],
    )
    async def test_nothing_runs_and_what_is_no_text_is_a_download(
        self, web: httpx.AsyncClient, reader: FakeReader, name: str, content: bytes, kind: str
    ) -> None:
        reader.write(reader.build_records[FAILED], name, content)
        answer = await web.get(f"/logs/{FAILED}/{name}")
        assert answer.headers["content-type"] == kind
        assert ("content-disposition" in answer.headers) == (kind == "application/octet-stream")
        assert answer.headers["content-security-policy"].startswith("sandbox;")

    async def test_no_path_leaves_the_directory(self, web: httpx.AsyncClient, reader: FakeReader, tmp_path: Path) -> None:
        (tmp_path / "secret").write_text("secret")
        root = reader.logs(FAILED)
        (root / "link").symlink_to(tmp_path / "secret")
        (root / "linked").symlink_to(tmp_path)
        (root / "sub").mkdir()
        os.mkfifo(root / "pipe")
        for path in (
            "link",
            "linked/secret",
            "../../../secret",
            "%2e%2e/%2e%2e/%2e%2e/secret",
            "sub/..%2f..%2f..%2fsecret",
            "..%5c..%5csecret",
            "%00",
            "pipe",
        ):
            answer = await web.get(f"http://headgate.test/logs/{FAILED}/{path}")
            assert answer.status_code == 404, path
        for path in (f"/{tmp_path}/secret", "%2fetc%2fpasswd"):
            assert (await web.get(f"/logs/{FAILED}/{path}")).status_code == 404, path
        assert "linked" not in await page(web, f"/logs/{FAILED}/")

    async def test_a_job_cannot_put_a_file_in_the_place_of_the_console(self, web: httpx.AsyncClient, reader: FakeReader) -> None:
        (reader.logs(FAILED) / "console.log").write_text("all is well")
        assert (await web.get(f"/logs/{FAILED}/console.log")).text == CONSOLE
        assert (await page(web, f"/logs/{FAILED}/")).count("/console.log") == 1

    async def test_a_part_can_be_asked_for(self, web: httpx.AsyncClient) -> None:
        answer = await web.get(f"/logs/{FAILED}/console.log", headers={"Range": "bytes=5-9"})
        assert (answer.status_code, answer.text) == (206, CONSOLE[5:10])
        assert answer.headers["content-range"] == f"bytes 5-9/{len(CONSOLE)}"
        answer = await web.get(f"/logs/{FAILED}/console.log", headers={"Range": "bytes=-4"})
        assert answer.text == CONSOLE[-4:]
        answer = await web.get(f"/logs/{FAILED}/console.log", headers={"Range": "bytes=99999-"})
        assert (answer.status_code, answer.text) == (200, CONSOLE)

    async def test_an_unchanged_file_is_not_sent_again(self, web: httpx.AsyncClient) -> None:
        tag = (await web.get(f"/logs/{FAILED}/console.log")).headers["etag"]
        assert (await web.get(f"/logs/{FAILED}/console.log", headers={"If-None-Match": tag})).status_code == 304

    async def test_no_descriptor_is_left_open(self, web: httpx.AsyncClient) -> None:
        before = len(list(Path("/proc/self/fd").iterdir()))
        for path in ("console.log", "", "none", "controller/", "controller/logs/nova-api.txt.gz"):
            await web.head(f"/logs/{FAILED}/{path}")
        await web.get(f"/logs/{FAILED}/console.log")
        assert len(list(Path("/proc/self/fd").iterdir())) == before


class TestExcerpt:
    def test_the_first_failed_task_from_its_banner_to_the_next(self, tmp_path: Path) -> None:
        path = tmp_path / "console.log"
        path.write_text(CONSOLE)
        lines = failure(path)
        assert [line.number for line in lines] == [6, 7, 8, 9, 10, 11]
        assert [line.number for line in lines if line.failed] == [10]

    def test_what_a_program_prints_of_failures_is_not_a_failed_task(self, tmp_path: Path) -> None:
        path = tmp_path / "console.log"
        path.write_text(CONSOLE.replace("AssertionError: 409 != 202", "FAILED (failures=1)"))
        assert [line.number for line in failure(path) if line.failed] == [10]

    def test_an_ignored_failure_is_none(self, tmp_path: Path) -> None:
        path = tmp_path / "console.log"
        path.write_text(CONSOLE.replace("FAILED: rc", "FAILED (ignored): rc"))
        assert failure(path) == ()
        assert failure(tmp_path / "none") == ()


class TestApi:
    async def test_status_has_zuuls_shape(self, web: httpx.AsyncClient) -> None:
        status = (await web.get("/api/tenant/openstack/status")).json()
        gate = next(pipeline for pipeline in status["pipelines"] if pipeline["name"] == "gate")
        [queue] = gate["change_queues"]
        head, second, _ = queue["heads"][0]
        assert second["item_ahead"] == head["id"]
        assert second["failing_reasons"]
        assert head["refs"][0]["url"] == "https://review.example.org/c/openstack/nova/+/1010"
        assert head["jobs"][0]["result"] == "SUCCESS"
        assert (await web.get("/api/status")).json()["tenants"] == [status]

    async def test_build_and_builds_have_zuuls_keys(self, web: httpx.AsyncClient) -> None:
        build = (await web.get(f"/api/build/{FAILED}")).json()
        assert (build["uuid"], build["job_name"], build["result"], build["duration"]) == (FAILED, "tox-py311", "FAILURE", 31.0)
        assert build["ref"]["change"] == 1002
        assert build["log_url"] == f"https://ci.example.org/logs/{FAILED}/"
        assert (await web.get("/api/tenant/openstack/builds?job_name=tox-py311&change=1002&result=FAILURE")).json() == [build]
        assert (await web.get("/api/tenant/other/builds")).json() == []

    async def test_buildset_has_its_builds_and_votes(self, web: httpx.AsyncClient) -> None:
        buildset = (await web.get("/api/buildset/set-1002")).json()
        assert buildset["result"] is None
        assert len(buildset["builds"]) == 5
        assert buildset["reports"][0]["labels"] == {"Verified": -1}

    @pytest.mark.parametrize("path", ["build/none", "buildset/none", "tenant/none/status", f"tenant/other/build/{FAILED}", "nothing"])
    async def test_what_is_missing_is_said_in_json(self, web: httpx.AsyncClient, path: str) -> None:
        answer = await web.get(f"/api/{path}")
        assert answer.status_code == 404
        assert "There is no" in answer.json()["error"]


class TestFollowing:
    async def test_a_file_is_followed_from_before_it_exists_to_its_end(self, tmp_path: Path) -> None:
        path, watcher, end = tmp_path / "a" / "b" / "console.log", Watcher(), asyncio.Event()

        async def ended() -> None:
            await end.wait()

        stream = follow(path, 0, watcher, ended)
        first = asyncio.ensure_future(anext(stream))
        await asyncio.sleep(0)
        path.parent.mkdir(parents=True)
        path.write_text("one\n")
        assert await first == b"one\n"
        for word in (b"two\n", b"three\n"):
            following = asyncio.ensure_future(anext(stream))
            await asyncio.sleep(0)
            with path.open("ab") as file:
                file.write(word)
            assert await following == word
        with path.open("ab") as file:
            file.write(b"last\n")
        end.set()
        assert [chunk async for chunk in stream] == [b"last\n"]
        watcher.close()

    async def test_many_followers_share_one_watch(self, tmp_path: Path) -> None:
        path, watcher, end = tmp_path / "console.log", Watcher(), asyncio.Event()
        path.write_text("")

        async def ended() -> None:
            await end.wait()

        async def read() -> bytes:
            return b"".join([chunk async for chunk in follow(path, 0, watcher, ended)])

        readers = [asyncio.create_task(read()) for _ in range(300)]
        await asyncio.sleep(0)
        path.write_text("all of it\n")
        end.set()
        assert set(await asyncio.gather(*readers)) == {b"all of it\n"}
        watcher.close()


class TestStreams:
    async def test_the_console_streams_until_the_build_has_ended(self, app: Starlette, reader: FakeReader) -> None:
        build = reader.build_records[RUNNING]
        path = reader.write(build, "console.log", "one\n")
        async with serving(app) as url, httpx.AsyncClient(base_url=url) as client:
            async with client.stream("GET", f"/api/console/{RUNNING}?offset=1") as answer:
                chunks = answer.aiter_text()
                assert await anext(chunks) == "ne\n"
                with path.open("a") as file:
                    file.write("two\n")
                assert await anext(chunks) == "two\n"
                reader.build_records[RUNNING] = replace(build, ended=reader.now, result="SUCCESS")
                await reader.changed()
                assert [chunk async for chunk in chunks] == []
            assert (await client.get(f"/api/console/{RUNNING}?offset=8")).status_code == 204
            assert (await client.get(f"/api/console/{RUNNING}?offset=4")).text == "two\n"

    async def test_zuuls_console_stream(self, app: Starlette, reader: FakeReader) -> None:
        async with serving(app) as url:
            address = url.replace("http", "ws")
            for path in ("/api/console-stream", "/api/tenant/openstack/console-stream"):
                async with websockets.connect(address + path) as socket:
                    await socket.send(json.dumps({"uuid": FAILED, "logfile": "console.log"}))
                    assert await socket.recv() == CONSOLE
                    with pytest.raises(websockets.ConnectionClosedOK):
                        await socket.recv()
            for request, code in (("[]", 4000), ("{", 4000), ('{"uuid": "none"}', 4011), ('{"uuid": "x", "logfile": "../x"}', 4000)):
                async with websockets.connect(address + "/api/console-stream") as socket:
                    await socket.send(request)
                    with pytest.raises(websockets.ConnectionClosed) as closed:
                        await socket.recv()
                    assert closed.value.rcvd and closed.value.rcvd.code == code

    async def test_another_site_may_not_read_consoles(self, app: Starlette) -> None:
        async with serving(app) as url:
            with pytest.raises(websockets.InvalidStatus):
                await websockets.connect(url.replace("http", "ws") + "/api/console-stream", origin="https://evil.example")

    async def test_the_status_page_is_pushed_when_it_changes(self, app: Starlette, reader: FakeReader) -> None:
        async with serving(app) as url, httpx.AsyncClient(base_url=url) as client, client.stream("GET", "/events/status") as answer:
            assert answer.headers["content-type"].startswith("text/event-stream")
            events = answer.aiter_text()
            text = await anext(events)
            while not text.endswith("\n\n"):
                text += await anext(events)
            assert "Brand new" not in text
            reader.enqueue("check", 1099, "openstack/nova", "Brand new", 0)
            await reader.changed()
            text = await anext(events)
            while not text.endswith("\n\n"):
                text += await anext(events)
            assert all(line.startswith("data: ") for line in text.strip().splitlines())
            assert "Brand new" in text
