"""Keys of nodes that were launched ahead of any build: each node has its own, until the build's takes its place.

The private keys are at home, in `STATE/node-keys`, readable by their owner only; a worker elsewhere keeps none, because any worker may be
given the node. A key goes as soon as it logs in nowhere any more.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable
from pathlib import Path

import asyncssh

from providers.base import Node
from providers.ssh import LoginFailed, replace_key
from tasks.home import Home
from tasks.home_requests import NODE_KEYS


def _path(state: Path, node_id: str) -> Path:
    return state / "node-keys" / node_id


async def _kept(state: Path, home: Home | None, node_id: str) -> asyncssh.SSHKey | None:
    if home is not None:
        kept = await home.kept(NODE_KEYS, node_id)
    else:
        path = _path(state, node_id)
        kept = await asyncio.to_thread(path.read_bytes) if path.exists() else None
    return None if kept is None else asyncssh.import_private_key(kept)


async def make_key(state: Path, home: Home | None, node_id: str) -> str:
    """The node's public key line; the same again when it was made before. Raises `HomeProblem`."""
    key = await _kept(state, home, node_id)
    if key is None:
        key = asyncssh.generate_private_key("ssh-ed25519", comment="headgate")
        if home is not None:
            await home.keep(NODE_KEYS, node_id, key.export_private_key())
        else:
            await asyncio.to_thread(_write, _path(state, node_id), key.export_private_key())
    return key.export_public_key().decode().strip()


def _write(path: Path, private: bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    partial = path.with_name(f".{path.name}.new")
    partial.touch(mode=0o600)
    partial.write_bytes(private)
    partial.replace(path)


async def hand_over(state: Path, home: Home | None, node: Node, public_key: str) -> str:
    """Give a node that was launched ahead to whoever has `public_key`: why that could not be done, or `""`. A node whose own key is gone
    was handed over before. Raises `HomeProblem`."""
    if node.connection == "ssh" and (key := await _kept(state, home, node.id)) is not None:
        try:
            await replace_key(node, key, public_key)
        except LoginFailed as problem:
            return f"the ready node cannot be handed over: {problem}"
    await forget_key(state, home, node.id)
    return ""


async def forget_key(state: Path, home: Home | None, node_id: str) -> None:
    """The node needs it no more. Raises `HomeProblem`."""
    _path(state, node_id).unlink(missing_ok=True)
    if home is not None:
        await home.drop(NODE_KEYS, node_id)


async def forget_keys_of_others(state: Path, known: Callable[[], Awaitable[Iterable[str]]]) -> None:
    """Remove the keys here of all nodes but those that are `known`, which is asked after looking: a node is known before it has a key."""
    there = list((state / "node-keys").glob("[!.]*"))
    nodes = set(await known()) if there else set()
    for path in there:
        if path.name not in nodes:
            path.unlink(missing_ok=True)
