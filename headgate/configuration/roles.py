"""Roles that a repository offers without being asked."""

from __future__ import annotations


def implicit_role_name(project: str) -> str:
    """The name of the role that a repository is, if it is one: the last part of its name, without `ansible-` and `role-` before it."""
    name = project.rsplit("/", 1)[-1]
    rest = name
    for prefix in ("ansible", "role"):
        while rest.startswith(prefix):
            rest = rest.removeprefix(prefix).lstrip("-_.+")
    return rest or name
