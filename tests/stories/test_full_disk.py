"""A disk that fills in the middle: the build that fills it ends, and nothing else is lost."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import asyncpg
import pytest

from services.postgres import EmbeddedPostgres
from tests.services.bell import Bell
from tests.services.gerrit import GerritServer
from tests.services.installation import Installation, playbook
from tests.services.small_disk import small_disk
from tests.services.sshd import SshNode
from tests.services.until import until

pytestmark = pytest.mark.slow

FILLS = {
    "zuul.d/fills.yaml": "- job: {name: fills, run: playbooks/fills.yaml}\n",
    "playbooks/fills.yaml": playbook("dd if=/dev/zero of=big bs=1M"),
}


@pytest.fixture
async def database_of_its_own(postgres: EmbeddedPostgres) -> AsyncIterator[str]:
    connection = await asyncpg.connect(postgres.url("postgres"))
    await connection.execute("create database small")
    yield postgres.url("small")
    await connection.execute("drop database small with (force)")
    await connection.close()


@pytest.fixture
def ci(gerrit: GerritServer, node: SshNode, database_of_its_own: str) -> Iterator[Installation]:
    """An installation whose state directory is on a small disk."""
    directory = Path(tempfile.mkdtemp(prefix="headgate-small-"))
    bell = Bell()
    installed = Installation(directory / "ci", gerrit, node, bell, database=database_of_its_own)
    with small_disk(directory / "ci" / "state", megabytes=300):
        installed.start()
        yield installed
        installed.clean()
    shutil.rmtree(directory, ignore_errors=True)
    bell.close()


async def test_who_fills_the_disk_ends_and_nothing_else_is_lost(ci: Installation) -> None:
    ci.land(FILLS)
    other = ci.propose("waits")
    ring = await ci.bell.ring(other.number)
    fills = ci.propose("fills")
    report = await ci.report(fills)
    assert ci.verified(fills) == -1
    assert " : DISK_FULL" in report
    (build,) = await ci.ask("select message from builds where result = 'DISK_FULL'")
    assert build["message"].startswith(f"The disk of {ci.directory / 'state' / 'builds'}")
    assert build["message"].endswith("Make room there.")

    ring.print("still here")
    ring.end(0)
    await ci.report(other)
    assert ci.verified(other) == 1
    after = ci.propose("passes")
    await ci.report(after)
    assert ci.verified(after) == 1
    for change in (other, fills, after):
        await ci.over(change)
        assert len(ci.reports(change)) == 1


async def test_on_a_disk_that_others_fill_builds_do_not_begin_and_say_why(ci: Installation) -> None:
    big = ci.directory / "state" / "big"
    with big.open("wb") as file:
        file.write(b"x" * 150_000_000)
    change = ci.propose("passes")
    report = await ci.report(change)
    assert " : DISK_FULL" in report
    assert "MB are free. Make room there." in report
    assert ci.verified(change) == -1
    big.unlink()
    ci.comment(change, "recheck")
    await ci.report(change, 2)
    assert ci.verified(change) == 1
    await until(lambda: "Traceback" not in ci.said(), "nobody was told of a traceback")
