"""The pages in a real browser (Debian's chromium, headless): what only a browser can show."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path

import pytest
from playwright.async_api import Browser, Page, expect

from services.web import WebSettings, create_app
from tests.fake_reader import FakeReader, world
from tests.services.chromium import chromium
from tests.test_web import FAILED, RUNNING, serving

pytestmark = pytest.mark.slow


@pytest.fixture
def reader(tmp_path: Path) -> FakeReader:
    return world(tmp_path / "logs")


@pytest.fixture
async def browser() -> AsyncIterator[Browser]:
    async with chromium() as started:
        yield started


@asynccontextmanager
async def looking(browser: Browser, reader: FakeReader, path: str, width: int = 1280, height: int = 800) -> AsyncIterator[Page]:
    """A page that must not complain, nor ask any other server for anything."""
    complaints: list[str] = []
    async with serving(create_app(reader, WebSettings(prefect_url="http://127.0.0.1:4200"))) as url:
        context = await browser.new_context(viewport={"width": width, "height": height}, base_url=url)
        page = await context.new_page()
        page.on("console", lambda message: complaints.append(message.text) if message.type == "error" else None)
        page.on("pageerror", lambda problem: complaints.append(str(problem)))
        page.on("request", lambda request: None if request.url.startswith((url, "data:")) else complaints.append(request.url))
        await page.goto(path)
        yield page
        await context.close()
    assert complaints == []


def lines(count: int, first: int = 0) -> str:
    return "".join(f"2026-11-22 11:40:01.{number % 1000000:06} | node-1 | line {number}\n" for number in range(first, first + count))


async def test_the_console_streams_follows_and_ends(browser: Browser, reader: FakeReader) -> None:
    build = reader.build_records[RUNNING]
    async with looking(browser, reader, f"/console/{RUNNING}") as page:
        await expect(page.locator("#progress")).to_have_text("waiting for the first line")
        path = reader.write(build, "console.log", lines(200))
        await expect(page.locator("#L200")).to_be_in_viewport()
        await expect(page.locator("#progress")).to_have_text("200 lines, live")

        await page.mouse.move(600, 400)
        await page.mouse.wheel(0, -1500)
        await expect(page.locator("#follow")).to_have_attribute("aria-pressed", "false")
        with path.open("a") as file:
            file.write(lines(50, 200))
        await expect(page.locator("#progress")).to_have_text("250 lines, live")
        await expect(page.locator("#L250")).not_to_be_in_viewport()

        await page.click("#follow")
        await expect(page.locator("#L250")).to_be_in_viewport()
        with path.open("a") as file:
            file.write(lines(1, 250))
        await expect(page.locator("#L251")).to_be_in_viewport()

        reader.build_records[RUNNING] = replace(build, ended=reader.now, result="SUCCESS")
        await reader.changed()
        await expect(page.locator("#progress")).to_have_text("251 lines")
        await expect(page.locator("#result")).to_contain_text("SUCCESS")


async def test_a_console_survives_a_restart_of_the_server(browser: Browser, reader: FakeReader) -> None:
    path = reader.write(reader.build_records[RUNNING], "console.log", lines(3))
    context = await browser.new_context()
    page = await context.new_page()
    async with serving(create_app(reader)) as url:
        await page.goto(f"{url}/console/{RUNNING}")
        await expect(page.locator("#progress")).to_have_text("3 lines, live")
    await expect(page.locator("#progress")).to_contain_text("connection lost")
    with path.open("a") as file:
        file.write(lines(2, 3))
    async with serving(create_app(reader), int(url.rsplit(":", 1)[1])):
        await expect(page.locator("#progress")).to_have_text("5 lines, live")
        await expect(page.locator("#console .block > div")).to_have_count(5)
        await expect(page.locator("#L5 span")).to_have_text("node-1 line 4")
        await context.close()


async def test_a_hundred_thousand_lines_are_shown_and_the_failure_among_them_is_found(browser: Browser, reader: FakeReader) -> None:
    text = lines(77_000) + "2026-11-22 11:40:02.000000 | node-1 | FAILED: rc=1\n" + lines(22_999, 77_000)
    reader.write(reader.build_records[FAILED], "console.log", text)
    async with looking(browser, reader, f"/console/{FAILED}") as page:
        await expect(page.locator("#progress")).to_have_text("100,000 lines")
        await expect(page.locator("#L100000")).to_be_in_viewport()
        await page.click("#failure")
        await expect(page.locator("#L77001.failed.target")).to_be_in_viewport()
        assert page.url.endswith("#L77001")


async def test_a_link_to_a_line_shows_that_line(browser: Browser, reader: FakeReader) -> None:
    reader.write(reader.build_records[FAILED], "console.log", lines(30_000))
    async with looking(browser, reader, f"/console/{FAILED}#L12345") as page:
        await expect(page.locator("#L12345.target")).to_be_in_viewport()
        await expect(page.locator("#progress")).to_have_text("30,000 lines")
        await expect(page.locator("#L12345.target")).to_be_in_viewport()
        await expect(page.locator("#follow")).to_have_attribute("aria-pressed", "false")


async def test_times_can_be_hidden_and_stay_hidden(browser: Browser, reader: FakeReader) -> None:
    async with looking(browser, reader, f"/console/{FAILED}") as page:
        await expect(page.locator("#L1 time")).to_be_visible()
        await page.click("#times")
        await expect(page.locator("#L1 time")).to_be_hidden()
        await page.reload()
        await expect(page.locator("#L1 span")).to_be_visible()
        await expect(page.locator("#L1 time")).to_be_hidden()


async def test_markup_in_a_console_stays_text(browser: Browser, reader: FakeReader) -> None:
    evil = "2026-11-22 11:40:02.000000 | <img src=x onerror=alert(1)> | </div><script>alert(1)</script> &amp; \x1b[31mred\x1b[0m\n"
    reader.write(reader.build_records[FAILED], "console.log", evil + "2026-11-22 11:40:02.000000 | a<b> | ok: <i>x</i>\n")
    async with looking(browser, reader, f"/console/{FAILED}") as page:
        await expect(page.locator("#L1 span")).to_have_text("<img src=x onerror=alert(1)> | </div><script>alert(1)</script> &amp; red")
        await expect(page.locator("#L2 span")).to_have_text("a<b> ok: <i>x</i>")
        assert await page.locator("#console img, #console i, #console script").count() == 0


async def test_the_status_page_changes_by_itself_and_keeps_what_a_person_did(browser: Browser, reader: FakeReader) -> None:
    async with looking(browser, reader, "/") as page:
        details = page.locator("#jobs-item-1001")
        await details.locator("summary").click()
        assert not await details.evaluate("element => element.open")
        reader.add_build(1001, "functional", None, 0.1)
        item = reader.enqueue("check", 1099, "openstack/nova", "Brand new", 0)
        await reader.changed()
        await expect(page.locator("#item-item-1099")).to_contain_text("Brand new")
        await expect(page.locator("#item-item-1001 summary")).to_contain_text("2 running")
        assert not await details.evaluate("element => element.open")

        await page.fill("#filter", "placement bob")
        await expect(page.locator(".item:visible")).to_have_count(1)
        reader.items[item.id] = replace(item, dequeued=reader.now)
        await reader.changed()
        await expect(page.locator("#item-item-1099")).to_have_count(0)
        await expect(page.locator(".item:visible")).to_have_count(1)
        await page.fill("#filter", "no such thing")
        await expect(page.locator(".nothing")).to_be_visible()


async def test_a_build_page_shows_the_result_when_it_comes(browser: Browser, reader: FakeReader) -> None:
    async with looking(browser, reader, f"/build/{RUNNING}") as page:
        await expect(page.locator(".heading .badge")).to_have_text("running")
        reader.build_records[RUNNING] = replace(reader.build_records[RUNNING], ended=reader.now, result="FAILURE")
        reader.write(reader.build_records[RUNNING], "console.log", "2026-11-22 11:40:02.000000 | node-1 | FAILED: rc=1\n")
        await reader.changed()
        await expect(page.locator(".heading .badge")).to_have_text("FAILURE")
        await expect(page.locator(".excerpt .failed")).to_contain_text("FAILED: rc=1")


async def test_html_of_a_job_is_shown_but_not_run(browser: Browser, reader: FakeReader) -> None:
    context = await browser.new_context()
    page = await context.new_page()
    async with serving(create_app(reader)) as url:
        await page.goto(f"{url}/logs/{FAILED}/testr_results.html")
        await expect(page.locator("h1")).to_have_text("Results")
        assert await page.title() != "executed"
        await context.close()


@pytest.mark.parametrize("width", [1280, 390])
@pytest.mark.parametrize("path", ["/", "/builds", f"/build/{FAILED}", "/buildset/set-1002", f"/console/{FAILED}", f"/logs/{FAILED}/"])
async def test_no_page_is_wider_than_the_screen(browser: Browser, reader: FakeReader, path: str, width: int) -> None:
    async with looking(browser, reader, path, width) as page:
        assert await page.evaluate("document.documentElement.scrollWidth") <= width
