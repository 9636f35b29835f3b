"""Nodes that are launched ahead of requests: who knows that they were, and where their keys are until they are handed over."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import asyncssh
import pytest
from starlette.applications import Starlette

from headgate.node_pools import Pool
from headgate.nodes import Capacity, NodeState, Offer, Size
from providers.base import Node
from providers.ssh import LoginFailed
from services.web.home import HomeDoor
from tasks import node_keys
from tasks.database import open_engine
from tasks.home import Home
from tasks.node_keys import forget_keys_of_others, hand_over, make_key
from tasks.node_store import NodeStore
from tests.fake_reader import world
from tests.test_home import SECRET, home_at

OFFERS = [Offer("here", {"small": Size()}, Capacity(nodes=2))]
NODE = Node("node-1", "small", "here", "1", "ssh", "127.0.0.1", 22, "zuul", "/home/zuul")


async def test_a_node_that_was_launched_ahead_is_known_as_such_when_it_is_given_to_a_build(database: str) -> None:
    store = NodeStore(open_engine(database, connections=2))
    names = iter(("spare", "own"))
    [spare] = await store.fill_pools([Pool("small", 1)], OFFERS, lambda: next(names))
    assert spare.ahead
    await store.up(replace(NODE, id="spare"))
    await store.ask("build", ["small", "small"], 200, "nova", "openstack")
    await store.decide(OFFERS, lambda: next(names))
    assert {node.id: (node.state, node.ahead) for node in await store.nodes_of("build")} == {
        "spare": (NodeState.READY, True),
        "own": (NodeState.BUILDING, False),
    }
    await store._engine.dispose()


class Places:
    """Two workers on machines of their own, and home."""

    def __init__(self, directory: Path) -> None:
        self.home, self.one, self.other = (directory / name for name in ("home", "one", "other"))

        self.app = Starlette(routes=HomeDoor(world(directory), self.home, SECRET).routes())

    def way(self) -> Home:
        return home_at(self.app)[0]

    def keys(self) -> list[Path]:
        return [path for place in (self.home, self.one, self.other) for path in place.rglob("node-*") if path.is_file()]


@pytest.fixture
def places(tmp_path: Path) -> Places:
    return Places(tmp_path)


@pytest.fixture
def replaced(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[tuple[str, str]]]:
    """The keys of nodes that were replaced: node and public key of the old one."""
    found: list[tuple[str, str]] = []

    async def replace_key(node: Node, old: asyncssh.SSHKey, new: str) -> None:
        if new == "refused":
            raise LoginFailed("nobody answers")
        found.append((node.id, old.export_public_key().decode().strip()))

    monkeypatch.setattr(node_keys, "replace_key", replace_key)
    yield found


async def test_a_key_made_by_one_worker_opens_the_node_to_another_and_is_then_nowhere(
    places: Places, replaced: list[tuple[str, str]]
) -> None:
    public = await make_key(places.one, places.way(), "node-1")
    assert await make_key(places.other, places.way(), "node-1") == public
    assert places.keys() == [places.home / "node-keys" / "node-1"]
    assert "cannot be handed over: nobody answers" in await hand_over(places.other, places.way(), NODE, "refused")
    assert await hand_over(places.other, places.way(), NODE, "the build's") == ""
    assert await hand_over(places.other, places.way(), NODE, "the build's") == ""  # again, after a crash
    assert replaced == [("node-1", public)]
    assert places.keys() == []


async def test_keys_of_nodes_that_are_gone_are_forgotten(tmp_path: Path) -> None:
    for number in (1, 2):
        await make_key(tmp_path, None, f"node-{number}")

    async def known() -> list[str]:
        return ["node-2", "node-3"]

    await forget_keys_of_others(tmp_path, known)
    assert [path.name for path in (tmp_path / "node-keys").iterdir()] == ["node-2"]
