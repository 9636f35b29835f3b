"""Waiting for Prefect's server to answer."""

from __future__ import annotations

import asyncio
import time

import httpx

from headgate.problems import Problem
from headgate.settings import Settings

START_SECONDS = 180.0
"""A fresh database on a busy machine has taken 68 s."""


async def wait_for_prefect(settings: Settings) -> None:
    """Until its API answers. It says so to nobody, so this asks, ten times a second. Raises `Problem` after `START_SECONDS`."""
    deadline = time.monotonic() + START_SECONDS
    auth = httpx.BasicAuth(*settings.prefect.auth.split(":", 1)) if settings.prefect.auth else None
    async with httpx.AsyncClient(timeout=2, auth=auth) as client:
        while time.monotonic() < deadline:
            try:
                if (await client.get(f"{settings.prefect_url}/health")).status_code == 200:
                    return
            except httpx.HTTPError:
                pass
            await asyncio.sleep(0.1)
    raise Problem(f"Prefect does not answer at {settings.prefect_url}; the log of its server is {settings.state}/logs/prefect.log.")
