"""Differences as a person reads them: what is the same for many jobs is said once, and lists say what came and what went."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import fields, is_dataclass
from typing import Any

from headgate.configuration.answers import plain
from headgate.configuration.differing import Difference
from headgate.jobs import Dependency, IncludeVars, Nodeset, Playbook, RequiredProject, RoleSource, SecretUse, SemaphoreUse

_CALLED = {"declared_dependencies": "dependencies", "nodesets": "nodeset"}


def readable(found: Iterable[Difference]) -> list[str]:
    """Lines of text: each change of what runs, and below it, indented, where: `project (branch) pipeline: jobs`."""
    grouped: dict[tuple[str, ...], dict[str, dict[str, None]]] = {}
    for each in found:
        where = f"{each.project} ({each.branch}) {each.pipeline}"
        grouped.setdefault(tuple(_changes(each)), {}).setdefault(where, {})[each.job] = None
    lines: list[str] = []
    for changes, places in grouped.items():
        lines += changes
        lines += ["    " + (f"{where}: {', '.join(jobs)}" if any(jobs) else where) for where, jobs in places.items()]
    return lines


def _changes(difference: Difference) -> Iterator[str]:
    before, after = difference.before, difference.after
    if not difference.job and after is None:
        yield f"jobs can run again, which could not because {before}"
    elif not difference.job:
        yield f"{'no job can run any more' if before is None else 'still no job can run, now because'}: {after}"
    elif not difference.attribute:
        yield "runs now" if before is None else "runs no longer"
    else:
        yield from _between(_named(difference.attribute), before, after)


def _named(attribute: str) -> str:
    return _CALLED.get(attribute, attribute).replace("_", "-")


def _between(name: str, before: Any, after: Any) -> Iterator[str]:
    if isinstance(before, Mapping) and isinstance(after, Mapping):
        for key in {**before, **after}:
            if key not in before or key not in after or before[key] != after[key]:
                yield from _between(f"{name}.{key}", before.get(key), after.get(key))
    elif isinstance(before, (tuple, frozenset)) and isinstance(after, (tuple, frozenset)):
        yield from _between_lists(name, {_text(each): each for each in before}, {_text(each): each for each in after})
    else:
        yield f"{name}: {_text(before)} -> {_text(after)}"


def _between_lists(name: str, before: Mapping[str, Any], after: Mapping[str, Any]) -> Iterator[str]:
    gone, new = [text for text in before if text not in after], [text for text in after if text not in before]
    if len(before) == len(after) == len(new) == 1:
        yield f"{name}: {gone[0]} -> {new[0]}"
        return
    yield from (f"{name}: - {text}" for text in gone)
    yield from (f"{name}: + {text}" for text in new)
    altered = [text for text in before if text in after and before[text] != after[text]]
    for text in altered:
        yield from _within(f"{name}: {text}", before[text], after[text])
    if not (gone or new or altered):
        yield f"{name}: in another order: {', '.join(after)}"


def _within(name: str, before: Any, after: Any) -> Iterator[str]:
    """What differs in an item that is called the same: a playbook's roles, say."""
    if not is_dataclass(before):
        yield f"{name}: {before} -> {after}"
        return
    for each in fields(before):
        old, new = getattr(before, each.name), getattr(after, each.name)
        if old != new:
            yield from _between(f"{name}: {_named(each.name)}", old, new)


def _text(value: Any) -> str:
    match value:
        case None:
            return "not set"
        case Playbook():
            return f"{value.project}/{value.path} ({value.branch})"
        case RoleSource():
            return f"{value.project} ({value.branch})"
        case SecretUse():
            return f"{value.name} ({value.secret} of {value.project})"
        case Dependency():
            return f"{value.name} (soft)" if value.soft else value.name
        case SemaphoreUse():
            return f"{value.name} (resources first)" if value.resources_first else value.name
        case RequiredProject():
            return f"{value.name} at {value.override_checkout}" if value.override_checkout else value.name
        case IncludeVars():
            return f"{value.name} of {value.project} ({value.branch})"
        case Nodeset():
            return _nodeset(value)
        case str():
            return value
    return json.dumps(plain(value), default=str)


def _nodeset(nodeset: Nodeset) -> str:
    nodes = [f"{'/'.join(node.names)} ({node.label})" for node in nodeset.nodes]
    groups = [f"group {group.name} ({' '.join(group.nodes)})" for group in nodeset.groups]
    return ", ".join((*nodes, *groups)) or "no node"
