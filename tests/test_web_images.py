"""The pages about images: what is built and used, and a build's log while it grows."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import httpx
import pytest
from starlette.applications import Starlette

from headgate.images import BuildState
from services.web import WebSettings, create_app
from tests.fake_reader import FakeReader, world
from tests.test_web import page, serving


@pytest.fixture
def reader(tmp_path: Path) -> FakeReader:
    return world(tmp_path / "logs")


@pytest.fixture
def app(reader: FakeReader) -> Starlette:
    return create_app(reader, WebSettings(prefect_url="http://127.0.0.1:4200/"))


async def get(app: Starlette, path: str) -> httpx.Response:
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://headgate.test") as web:
        return await web.get(path)


async def test_every_image_is_shown_with_what_is_used_by_how_many_nodes(app: Starlette) -> None:
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://headgate.test") as web:
        text = " ".join((await page(web, "/images")).split())
    assert "debian-12 <small>14 14 * * * UTC</small>" in text
    assert "rocky-9 <small>14 14 * * * UTC, paused</small>" in text and "Not built yet." in text
    assert "install.d/90-mine failed with exit code 7: it breaks here" in text
    assert "<strong>in use</strong> 3 nodes" in text and "4 checks passed" in text
    assert 'href="http://127.0.0.1:4200/runs/flow-run/run-of-the-image"' in text
    assert text.index("imagebuild3") < text.index("imagebuild2") < text.index("imagebuild1"), "the newest first"


async def test_a_build_that_is_not_there_is_a_page(app: Starlette) -> None:
    answer = await get(app, "/image/none")
    assert answer.status_code == 404 and "There is no such build of an image" in answer.text
    assert (await get(app, "/api/image-log/none")).status_code == 404


async def test_the_log_streams_until_the_build_has_ended(app: Starlette, reader: FakeReader) -> None:
    build = reader.image_builds["imagebuild3"]
    path = reader.image_log(build)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("one\n")
    async with serving(app) as address, httpx.AsyncClient(base_url=address) as client:
        assert 'data-text="/api/image-log/imagebuild3"' in (await client.get("/image/imagebuild3")).text
        async with client.stream("GET", "/api/image-log/imagebuild3?offset=1") as answer:
            chunks = answer.aiter_text()
            assert await anext(chunks) == "ne\n"
            with path.open("a") as log:
                log.write("two\n")
            assert await anext(chunks) == "two\n"
            reader.image_builds["imagebuild3"] = replace(build, state=BuildState.READY, ended=build.created + timedelta(minutes=1))
            await reader.changed()
            assert [text async for text in chunks] == []
        assert (await client.get("/api/image-log/imagebuild3?offset=8")).status_code == 204


async def test_the_log_so_far_can_be_had_at_once(app: Starlette, reader: FakeReader) -> None:
    path = reader.image_log(reader.image_builds["imagebuild3"])
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("so far\n")
    answer = await get(app, "/api/image-log/imagebuild3?follow=0")
    assert answer.text == "so far\n" and answer.headers["content-type"].startswith("text/plain")
