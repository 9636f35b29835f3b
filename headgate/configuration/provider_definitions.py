"""Parsed objects that say what nodes are made of and where: images, flavors, labels, sections and providers. `None` means "not said"."""

from __future__ import annotations

from dataclasses import dataclass, field

from headgate.configuration.definitions import Values


@dataclass(frozen=True, slots=True)
class Image:
    name: str
    type: str
    description: str | None = None
    retain_count: int = 2
    max_retain_count: int | None = None


@dataclass(frozen=True, slots=True)
class Flavor:
    name: str
    description: str | None = None


@dataclass(frozen=True, slots=True)
class Label:
    """Ages and times are seconds."""

    name: str
    image: str
    flavor: str
    description: str | None = None
    min_ready: int | None = None
    max_ready_age: int | None = None
    max_age: int | None = None
    max_nodes: int | None = None
    min_retention_time: int | None = None
    aliases: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Section:
    """`settings` is the whole stanza: what its driver's provider shape allows."""

    name: str
    parent: str | None = None
    abstract: bool | None = None
    connection: str | None = None
    description: str | None = None
    settings: Values = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Provider:
    name: str
    section: str
    description: str | None = None
    settings: Values = field(default_factory=dict)
