"""Keys of nodes that were launched ahead of any build: each node has its own, until the build's takes its place.

The private keys are in `STATE/node-keys`, readable by their owner only; a key goes as soon as it logs in nowhere any more.
"""

from __future__ import annotations

import asyncio
from pathlib import Path

import asyncssh

from providers.base import Node
from providers.ssh import LoginFailed, replace_key


def _path(state: Path, node_id: str) -> Path:
    return state / "node-keys" / node_id


def make_key(state: Path, node_id: str) -> str:
    """The node's public key line; the same again when it was made before."""
    path = _path(state, node_id)
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        partial = path.with_name(f".{node_id}.new")
        partial.touch(mode=0o600)
        partial.write_bytes(asyncssh.generate_private_key("ssh-ed25519", comment="headgate").export_private_key())
        partial.replace(path)
    return asyncssh.read_private_key(path).export_public_key().decode().strip()


async def hand_over(state: Path, node: Node, public_key: str) -> tuple[str, str]:
    """The node's id, and why the build's key could not be put on it, or `""`. A node that has no key of its own was launched with the
    build's."""
    path = _path(state, node.id)
    if node.connection == "ssh" and await asyncio.to_thread(path.exists):
        try:
            await replace_key(node, path, public_key)
        except LoginFailed as problem:
            return node.id, f"the ready node cannot be handed over: {problem}"
    forget_key(state, node.id)
    return node.id, ""


def forget_key(state: Path, node_id: str) -> None:
    _path(state, node_id).unlink(missing_ok=True)
