"""Keys of nodes that were launched ahead of any build: each node has its own, until the build's takes its place.

The private keys are in `STATE/node-keys`, readable by their owner only; a key goes as soon as it logs in nowhere any more. A worker that
is not where home is keeps them there too, because another one may be given the node.
"""

from __future__ import annotations

import asyncio
from pathlib import Path

import asyncssh

from providers.base import Node
from providers.ssh import LoginFailed, replace_key
from tasks.home import Home
from tasks.home_requests import NODE_KEYS


def _path(state: Path, node_id: str) -> Path:
    return state / "node-keys" / node_id


async def make_key(state: Path, home: Home | None, node_id: str) -> str:
    """The node's public key line; the same again when it was made before."""
    path = _path(state, node_id)
    if not await asyncio.to_thread(path.exists):
        private = asyncssh.generate_private_key("ssh-ed25519", comment="headgate").export_private_key()
        if home is not None:
            await home.keep(NODE_KEYS, node_id, private)
        _write(path, private)
    return asyncssh.read_private_key(path).export_public_key().decode().strip()


def launched_ahead(state: Path, node_id: str) -> bool:
    """Whether the node has a key of its own: it was launched ahead of any build and not handed over yet."""
    return _path(state, node_id).exists()


def _write(path: Path, private: bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    partial = path.with_name(f".{path.name}.new")
    partial.touch(mode=0o600)
    partial.write_bytes(private)
    partial.replace(path)


async def hand_over(state: Path, home: Home | None, node: Node, public_key: str) -> tuple[str, str]:
    """The node's id, and why the build's key could not be put on it, or `""`. A node that has no key of its own was launched with the
    build's."""
    path = _path(state, node.id)
    if node.connection == "ssh" and home is not None and not path.exists() and (kept := await home.kept(NODE_KEYS, node.id)) is not None:
        _write(path, kept)
    if node.connection == "ssh" and await asyncio.to_thread(path.exists):
        try:
            await replace_key(node, path, public_key)
        except LoginFailed as problem:
            return node.id, f"the ready node cannot be handed over: {problem}"
        await forget_key(state, home, node.id)
    return node.id, ""


async def forget_key(state: Path, home: Home | None, node_id: str) -> None:
    """The node needs it no more. Raises `HomeProblem`."""
    _path(state, node_id).unlink(missing_ok=True)
    if home is not None:
        await home.drop(NODE_KEYS, node_id)
