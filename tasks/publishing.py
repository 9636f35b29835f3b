"""A build's logs, published: what its tests say is kept with it, and its files are put where the settings say."""

from __future__ import annotations

import asyncio
from dataclasses import asdict
from pathlib import Path
from typing import Any

from headgate.settings import LogSettings
from tasks.log_files import INDEX, MANIFEST, index, log_files, manifest, suite_result
from tasks.log_storage import put_all, storage

LONGEST_NAME = 1024
"""Bytes in the name of an object: the limit of S3, and what Swift is set to unless told otherwise. A file beyond it is left out."""


async def with_tests(data: dict[str, Any], logs: Path) -> dict[str, Any]:
    """What a build returned, and below `zuul.tests` what the reports of tests among its logs say, if there are any."""
    found = await asyncio.to_thread(suite_result, logs)
    return data if found is None else _with(data, tests=asdict(found))


def with_log_url(data: dict[str, Any], url: str) -> dict[str, Any]:
    """What a build returned, with `zuul.log_url` unless a role of its own has published logs."""
    zuul = data.get("zuul")
    return data if isinstance(zuul, dict) and isinstance(zuul.get("log_url"), str) else _with(data, log_url=url)


def _with(data: dict[str, Any], **values: Any) -> dict[str, Any]:
    zuul = data.get("zuul")
    return {**data, "zuul": {**(zuul if isinstance(zuul, dict) else {}), **values}}


async def publish(settings: LogSettings, logs: Path, build: str, title: str) -> str:
    """Put all of `logs` into the store; the address of the directory there, "" if there is none but this machine's disk. Repeatable.
    Raises `StorageProblem`."""

    def put() -> str:
        store = storage(settings)
        if store is None:
            return ""
        prefix = f"{settings.prefix}{build[:3]}/{build}/"
        everything = log_files(logs)
        found = [each for each in everything if len(f"{prefix}{each.path}".encode()) <= LONGEST_NAME]
        extra = {INDEX: index(found, title, len(everything) - len(found)), MANIFEST: manifest(found)}
        there = {each.path for each in found}
        missing = {name: content for name, content in extra.items() if name not in there}
        return put_all(store, prefix, found, missing)

    return await asyncio.to_thread(put)
