"""The fewest steps of a scenario that still show what the whole showed."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from tests.gating.scenarios import Step


def without(played: Step, start: int, count: int) -> Step | None:
    """The scenario without some steps, and without what is said of changes that then are not made."""
    steps = [*played["steps"][:start], *played["steps"][start + count :]]
    made = {step["id"] for step in steps if step["op"] == "change"}
    kept: list[Step] = []
    for step in steps:
        if step.get("id", next(iter(made), None)) not in made or step.get("parent", next(iter(made), None)) not in made:
            continue
        if not set(step.get("ids", ())) <= made:
            continue
        if step.get("depends_on"):
            step = {**step, "depends_on": [each for each in step["depends_on"] if each in made]}
        kept.append(step)
    return {**played, "steps": kept} if made and len(kept) < len(played["steps"]) else None


def shrunk(played: Step, differs: Callable[[Sequence[Step]], list[bool]]) -> Step:
    """Fewer steps that still differ: pieces are left out, larger ones first, several tries at a time."""
    size = max(len(played["steps"]) // 2, 1)
    while True:
        tries = [without(played, start, size) for start in range(0, len(played["steps"]), size)]
        candidates = [each for each in tries if each is not None]
        smaller = None
        for start in range(0, len(candidates), 5):
            some = candidates[start : start + 5]
            smaller = next((each for each, still in zip(some, differs(some), strict=True) if still), None)
            if smaller is not None:
                break
        if smaller is not None:
            played = smaller
            size = min(size, max(len(played["steps"]) // 2, 1))
        elif size == 1:
            return played
        else:
            size //= 2
