"""How what several variants say is joined: mappings by their keys, roles by project and name."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from headgate.jobs import RoleSource


def deep_update(below: Mapping[str, Any], above: Mapping[str, Any]) -> dict[str, Any]:
    """Nested mappings joined, anything else (lists too) taken from `above`; keys of `below` alone come first."""
    merged: dict[str, Any] = {key: value for key, value in below.items() if key not in above}
    for key, value in above.items():
        under = below.get(key)
        merged[key] = deep_update(under, value) if isinstance(under, dict) and isinstance(value, dict) else value
    return merged


def deep_update_all(values: Sequence[Mapping[str, Any]]) -> Mapping[str, Any]:
    """All joined, the later above the earlier. By halves, so that thousands do not cost the square of their number."""
    if len(values) < 2:
        return values[0] if values else {}
    half = len(values) // 2
    return deep_update(deep_update_all(values[:half]), deep_update_all(values[half:]))


def joined_roles(known: list[RoleSource], added: tuple[RoleSource, ...]) -> list[RoleSource]:
    """New roles go first; one that was implicit becomes explicit when said. A role is its project and name."""
    if all(role in known for role in added):
        return known
    new = {(role.project, role.name): role for role in reversed(added)}
    merged = []
    for role in known:
        again = new.get((role.project, role.name))
        merged.append(again if again is not None and role.implicit and not again.implicit else role)
    names = {(role.project, role.name) for role in merged}
    for role in reversed(added):
        if (role.project, role.name) not in names:
            names.add((role.project, role.name))
            merged.insert(0, role)
    return merged
