"""Nodes are ready ahead of requests from the start on, and again as soon as one was taken or deleted: nobody waits for housekeeping."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.services.bell import Bell
from tests.services.gerrit import GerritServer
from tests.services.installation import Installation
from tests.services.sshd import SshNode
from tests.services.until import until

pytestmark = pytest.mark.slow


@pytest.fixture
def ci(gerrit: GerritServer, node: SshNode) -> Iterator[Installation]:
    place = Path(tempfile.mkdtemp(prefix="headgate-ready-"))  # PostgreSQL of root is another user: not below pytest's directory
    bell = Bell()
    installed = Installation(place / "ci", gerrit, node, bell, labels=[{"name": "local", "min-ready": 2}])
    installed.start()
    yield installed
    installed.clean()
    bell.close()
    shutil.rmtree(place)


async def ready(ci: Installation) -> set[str]:
    return {row["id"] for row in await ci.ask("select id from nodes where state = 'ready'")}


async def two_ready(ci: Installation) -> set[str]:
    found = await ready(ci)
    return found if len(found) == 2 else set()


def reasons(ci: Installation) -> list[str]:
    """Of the runs that filled pools."""
    runs = ci.prefect("POST", "flow_runs/filter", {"flows": {"name": {"any_": ["ready-nodes"]}}})
    return sorted(run["name"] for run in runs)


async def test_a_ready_node_that_was_taken_is_replaced_at_once(ci: Installation) -> None:
    before = await until(lambda: two_ready(ci), "two nodes are ready")
    change = ci.propose("waits")
    ring = await ci.bell.ring(change.number)
    [used] = await ci.ask("select id from nodes where state = 'in-use'")
    assert used["id"] in before
    after = await until(lambda: two_ready(ci), "two nodes are ready again, while the job still runs")
    assert used["id"] not in after
    ring.end(0)
    await ci.over(change)
    assert [name.split(" on ")[0] for name in reasons(ci)] == ["ready nodes after waits", "ready nodes at the start"]
    unwanted = next(iter(after))
    ci.headgate("nodes", "delete", unwanted)

    async def gone() -> bool:
        return not await ci.ask("select id from nodes where id = $1", unwanted)

    await until(gone, "the node that was not wanted is destroyed")
    await until(lambda: two_ready(ci), "another one is there in its place")
