"""What a person sees in a browser while a change is tested (Debian's chromium, headless)."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from playwright.async_api import Page, expect

from tests.services.chromium import PATIENCE, chromium
from tests.services.installation import Installation

pytestmark = pytest.mark.slow


@pytest.fixture
async def page() -> AsyncIterator[Page]:
    async with chromium() as browser:
        yield await browser.new_page(viewport={"width": 1400, "height": 1000})


async def test_prefects_pages_show_a_change_with_its_jobs_below_it(ci: Installation, page: Page, tmp_path: Path) -> None:
    change = ci.propose("passes", "fails", {"waits": {"dependencies": ["passes"]}})
    ring = await ci.bell.ring(change.number)
    parent = ci.parent(change)
    await page.goto(f"{ci.prefect_url.removesuffix('/api')}/runs/flow-run/{parent['id']}", timeout=PATIENCE)
    await expect(page.get_by_text(f"check {ci.server.project} {change.name}").first).to_be_visible()
    await page.get_by_text("Subflow Runs", exact=True).click()
    for job in ("passes", "fails", "waits"):
        await expect(page.get_by_text(f"{job} on {change.name}").first).to_be_visible()
    await page.screenshot(path=tmp_path / "jobs.png")
    await page.get_by_text("Task Runs", exact=True).click()
    await expect(page.get_by_text("merge", exact=True).first).to_be_visible()
    await page.screenshot(path=tmp_path / "tasks.png")
    ring.end(0)
    await ci.report(change)


async def test_the_console_of_a_running_job_streams(ci: Installation, page: Page) -> None:
    change = ci.propose("waits")
    ring = await ci.bell.ring(change.number)
    await page.goto(ci.web)
    await page.get_by_role("link", name="waits").first.click()
    await page.goto(f"{ci.web}/console/{ring.build}")
    await expect(page.locator("#progress")).to_contain_text("live")
    ring.print("written while somebody looks")
    await expect(page.locator("#console")).to_contain_text("written while somebody looks")
    ring.end(0)
    await expect(page.locator("#result")).to_contain_text("SUCCESS")
    await ci.report(change)


async def test_links_of_the_vote_lead_to_the_runs_in_prefect(ci: Installation, page: Page) -> None:
    change = ci.propose("fails")
    report = await ci.report(change)
    link = next(word for word in report.split() if "/build/" in word)
    await page.goto(link)
    await expect(page.get_by_text("FAILURE").first).to_be_visible()
    await page.get_by_role("link", name="Prefect run").first.click()
    await expect(page.get_by_text(f"fails on {change.name}").first).to_be_visible()
