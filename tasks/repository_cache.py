"""The cache of repositories that images take with them: brought up to date all at once before a build, instead of one by one in it."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from tasks.git import Caches, GitProblem

AT_ONCE = 16
"""Fetches under way at once: they wait for servers most of their time."""

ELEMENTS = frozenset({"ci-repositories", "cache-bindep"})
"""Images with one of these take the repositories."""


@dataclass(frozen=True, slots=True)
class Origin:
    """Where a repository comes from."""

    url: str
    environment: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Warmed:
    """`listing` is the file that the element `ci-repositories` reads; `failed` says by name why a repository is as it was before, or
    missing."""

    listing: Path
    count: int
    failed: Mapping[str, str]


async def warm(directory: Path, origins: Mapping[str, Origin], at_once: int = AT_ONCE) -> Warmed:
    """Bring the bare repositories below `directory` up to date, and list them. One that cannot be fetched does not stop a build: an older
    state of it is as good a start for a job's fetch."""
    directory.mkdir(parents=True, exist_ok=True)
    caches = Caches(directory)
    turn = asyncio.Semaphore(at_once)
    failed: dict[str, str] = {}

    async def fetch(name: str, origin: Origin) -> None:
        async with turn:
            try:
                await caches.fetch(name, origin.url, origin.environment)
            except GitProblem as problem:
                failed[name] = str(problem)

    async with asyncio.TaskGroup() as group:
        for name, origin in origins.items():
            group.create_task(fetch(name, origin))
    there = [name for name in sorted(origins) if name not in failed or _has_something(caches.path(name))]
    listing = directory / "repositories.list"
    await asyncio.to_thread(listing.write_text, "".join(f"{name} {caches.path(name)}\n" for name in there))
    return Warmed(listing, len(there), failed)


def _has_something(repository: Path) -> bool:
    """Whether an earlier fetch brought anything."""
    return (repository / "packed-refs").exists() or any(path.is_file() for path in (repository / "refs").rglob("*"))
