"""Logs in an object store: whoever is killed while putting them there, they get there whole, once, and the vote leads to them."""

from __future__ import annotations

import asyncio
import os
import re
import signal

import httpx
import pytest

from tests.services.installation import Installation
from tests.services.object_store import object_store
from tests.services.until import until

pytestmark = pytest.mark.slow


async def test_logs_whose_upload_was_killed_in_the_middle_are_published_by_the_next_worker(ci: Installation) -> None:
    with object_store() as store:
        ci.configure(logs={"driver": "s3", "endpoint": store.url, "access-key": "key", "secret-key": "secret"})
        ci.start()
        try:
            store.shut()
            change = ci.propose("passes")
            await asyncio.to_thread(store.waiting.wait, 120)
            (build,) = await ci.ask("select id, result, unpublished, data from builds where job = 'passes' order by created desc limit 1")
            assert build["result"] == "SUCCESS" and build["unpublished"] is not None and "log_url" not in build["data"]
            assert ci.verified(change) == 1 or await ci.report(change)
            for worker in await ci.workers():
                os.kill(worker, signal.SIGKILL)
            store.open.set()

            async def published() -> bool:
                return not await ci.ask("select 1 from builds where id = $1 and unpublished is not null", build["id"])

            await until(published, "the logs are published", seconds=120)
            link = re.search(rf"{ci.web}/build/{build['id']}", ci.reports(change)[-1])
            assert link is not None
            page = httpx.get(link[0]).text
            address = re.search(rf"{store.url}/headgate-logs/[^\"]+/", page)
            assert address is not None
            console = httpx.get(f"{address[0]}job-output.txt")
            assert console.text == httpx.get(f"{ci.web}/api/console/{build['id']}?follow=0").text
            index = httpx.get(f"{address[0]}index.html").text
            for name in ("job-output.txt", "job-output.json"):
                assert name in index
            named = {path.partition(build["id"])[2] for path in store.put}
            assert {"/job-output.txt", "/job-output.json", "/index.html", "/zuul-manifest.json"} <= named
            assert store.put[f"/headgate-logs/{build['id'][:3]}/{build['id']}/index.html"] == 1
            assert len(ci.reports(change)) == 1
        finally:
            ci.configure(logs=None)
