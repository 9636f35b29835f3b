"""Node requests and nodes in the store, and the pass that applies the rules of `headgate.node_allocation` to them.

A pass runs in whichever process needs one, under one lease, and writes down what it decided before anybody acts on it. A node is in the
table before it can exist outside and leaves it after it is gone there, so nothing that exists is ever unknown. Topics: `nodes`,
`nodes:REQUEST`, and `nodes discarded`.
"""

from __future__ import annotations

from sqlalchemy.ext.asyncio import AsyncEngine

from tasks.node_store.base import DISCARDED, TOPIC, Past, StoredNode, StoredRequest, request_topic
from tasks.node_store.holds import Autohold, NodeHolds
from tasks.node_store.lives import NodeLives
from tasks.node_store.passes import NodePasses

__all__ = ["DISCARDED", "TOPIC", "Autohold", "NodeStore", "Past", "StoredNode", "StoredRequest", "request_topic"]


class NodeStore(NodePasses, NodeLives):
    """Everything Headgate remembers about nodes."""

    def __init__(self, engine: AsyncEngine) -> None:
        super().__init__(engine)
        self.holds = NodeHolds(engine)
