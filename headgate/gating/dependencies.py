"""What a change needs before it: git parents, `Depends-On`, topics; and cycles among them, which are tested as one.

Law: a merged change is needed by nobody. Changes that need each other in a circle are one item, ordered so that git parents come first.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from headgate.gating.facts import Facts
from headgate.gating.state import Key

Graph = dict[Key, list[Key]]
"""What each change needs, unmerged ones only."""


class TooManyDependencies(Exception):
    """More than the tenant allows."""


def extend_graph(graph: Graph, start: Key, facts: Facts, limit: int | None = None) -> None:
    """Add everything that `start` needs, however far. Raises `TooManyDependencies`."""
    _extend(graph, start, facts, limit, set())


def _extend(graph: Graph, start: Key, facts: Facts, limit: int | None, seen: set[Key]) -> None:
    seen.add(start)
    for needed in facts.known(start).needs:
        if facts.known(needed).change.merged:
            continue
        if limit is not None and limit >= 0 and len(graph) > limit:
            raise TooManyDependencies(f"change {start[1]},{start[2]} has more than {limit} dependencies")
        node = graph.setdefault(start, [])
        if needed not in node:
            node.append(needed)
        if needed not in seen:
            _extend(graph, needed, facts, limit, seen)


def cycle_of(start: Key, graph: Mapping[Key, list[Key]]) -> tuple[Key, ...]:
    """The circle of changes that `start` is in, () if in none; in the order in which Tarjan's algorithm closes it."""
    if start not in graph:
        return ()
    return next((component for component in _components(graph) if len(component) > 1 and start in component), ())


def _components(graph: Mapping[Key, list[Key]]) -> list[tuple[Key, ...]]:
    """Strongly connected components (Tarjan 1972)."""
    index: dict[Key, int] = {}
    low: dict[Key, int] = {}
    stack: list[Key] = []
    found: list[tuple[Key, ...]] = []

    def visit(node: Key) -> None:
        index[node] = low[node] = len(index)
        stack.append(node)
        for other in graph.get(node, ()):
            if other not in index:
                visit(other)
                low[node] = min(low[node], low[other])
            elif other in stack:
                low[node] = min(low[node], index[other])
        if low[node] == index[node]:
            component: list[Key] = []
            while not component or component[-1] != node:
                component.append(stack.pop())
            found.append(tuple(component))

    for node in graph:
        if node not in index:
            visit(node)
    return found


def parents_first(cycle: Iterable[Key], facts: Facts) -> tuple[Key, ...]:
    """The same changes, each after those of them that are its git parents."""
    waiting = list(cycle)
    ordered: list[Key] = []

    def place(key: Key) -> None:
        waiting.remove(key)
        for parent in facts.known(key).git_needs:
            if parent in waiting:
                place(parent)
        ordered.append(key)

    while waiting:
        place(waiting[0])
    return tuple(ordered)
