"""What there is to say about each owner in each phase of building a layout; problems are told in the order of the phases."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from headgate.configuration.files import problem
from headgate.configuration.objects import Named, identity
from headgate.configuration.problems import Problem
from headgate.configuration.stanza import Complaint, Wrong
from headgate.configuration.state import LayoutState

PHASES = {
    "file": 0,
    "pipeline": 10,
    "nodeset": 20,
    "secret": 30,
    "job": 40,
    "image": 50,
    "flavor": 51,
    "label": 52,
    "semaphore": 53,
    "section": 54,
    "provider": 55,
    "nodeset check": 60,
    "job check": 61,
    "queue": 70,
    "project-template": 71,
    "project": 72,
    "regex": 73,
    "project check": 80,
}


class Notes:
    """The problems of a state that no one else has yet."""

    def __init__(self, state: LayoutState) -> None:
        self.state = state

    def note(self, phase: str, order: tuple[Any, ...], problems: list[Problem]) -> None:
        """Note all there is to say about an owner in a phase, in the place of what was noted before."""
        owner = (PHASES[phase], order)
        if problems or self.state.found.get(owner) is not None:
            self.state.found.put(owner, tuple(problems) or None)

    def complain(self, phase: str, item: Any, wrong: Wrong | None) -> None:
        """Note (or forget, with `None`) what is wrong with an object in a phase."""
        self.note(phase, item.order, [] if wrong is None else [self.describe(item, wrong)])

    def describe(self, item: Any, wrong: Wrong) -> Problem:
        """What is wrong with an object, at its place."""
        source = item.source
        complaint = Complaint("error", wrong.name, str(wrong), *identity(item), wrong.path)
        bounds = self.state.files.get((source.project, source.branch)) or ()
        text = next((bound.file.text for bound in bounds if bound.file.path == source.path), "")
        found = problem(complaint, text, source.project, source.branch, source.path)
        nodeless = isinstance(item, Named) and item.kind == "nodeset" and not item.value.nodeset.nodes
        return replace(found, placeless=True) if nodeless else found
