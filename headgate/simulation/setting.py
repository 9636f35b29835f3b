"""What a simulation starts from: tenants' layouts and the repositories' content, as read from a directory."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from headgate.configuration import Layout
from headgate.simulation.texts import FileTree


@dataclass(frozen=True, slots=True)
class Setting:
    """`layouts` by tenant in the tenant file's order; `trees` by canonical project, then branch."""

    layouts: Mapping[str, Layout]
    trees: Mapping[str, Mapping[str, FileTree]] = field(default_factory=dict)
    web_root: str = "https://zuul.example.com/"
