"""References of a provider: its sections, and the images, flavors and labels that it and they name."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from headgate.configuration.definitions import Provider, Section
from headgate.configuration.problems import nearest
from headgate.configuration.stanza import Wrong
from headgate.configuration.state import LayoutState


def check_provider(state: LayoutState, provider: Provider) -> None:
    """Raises `Wrong` for what is not there, a connection that is missing or given twice, or counts that contradict."""
    chain: list[Mapping[str, Any]] = [provider.settings]
    connection = provider.settings.get("connection")
    name, seen = provider.section, set[str]()
    while name:
        section = _section(state, name)
        if name in seen:
            raise Wrong(f'the section "{name}" inherits from itself', ("section",))
        seen.add(name)
        if section.connection and connection:
            raise Wrong(f'the section "{name}" may not change the connection "{connection}"', ("section",))
        connection = connection or section.connection
        chain.append(section.settings)
        name = section.parent or ""
    if not connection:
        raise Wrong("neither the provider nor one of its sections names a connection", ("section",), "Unknown Connection")
    for settings in chain:
        _check_entries(state, settings)


def _section(state: LayoutState, name: str) -> Section:
    named = state.named.get(("section", name))
    if named is None:
        known = (each for kind, each in state.named if kind == "section")
        raise Wrong(f'no section "{name}"{nearest(name, known)}', ("section",))
    section: Section = named.value
    return section


def _check_entries(state: LayoutState, settings: Mapping[str, Any]) -> None:
    for kind in ("image", "flavor", "label"):
        for entry in settings.get(f"{kind}s") or ():
            name = entry.get("name") if isinstance(entry, dict) else entry
            if not isinstance(name, str) or (kind, name) not in state.named:
                known = (each for found, each in state.named if found == kind)
                raise Wrong(f'no {kind} "{name}"{nearest(str(name), known)}', (f"{kind}s",))
            if kind == "image" and isinstance(entry, dict):
                _check_counts(entry)


def _check_counts(image: Mapping[str, Any]) -> None:
    count, most = image.get("retain-count"), image.get("max-retain-count")
    if isinstance(count, int) and isinstance(most, int) and count > most:
        raise Wrong(f"retain-count {count} is more than max-retain-count {most}", ("images",))
