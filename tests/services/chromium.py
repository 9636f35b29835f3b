"""A real browser (Debian's chromium, headless) for tests of pages."""

from __future__ import annotations

import shutil
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from playwright.async_api import Browser, async_playwright, expect

PATIENCE = 60_000
"""Milliseconds for what appears on a page."""
ARGUMENTS = (
    "--no-sandbox --disable-gpu --disable-quic --no-first-run --disable-background-networking --disable-component-update --disable-sync"
)


@asynccontextmanager
async def chromium() -> AsyncIterator[Browser]:
    """The browser, started. What is expected of a page may take `PATIENCE`: set here, since Playwright keeps it for the whole process."""
    path = shutil.which("chromium")
    assert path, "chromium is not installed (Debian: chromium)"
    expect.set_options(timeout=PATIENCE)
    async with async_playwright() as playwright:
        browser = await playwright.chromium.launch(executable_path=path, args=ARGUMENTS.split())
        yield browser
        await browser.close()
