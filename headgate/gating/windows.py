"""How many items of a queue may run at once: more after each that merged, fewer after each that failed."""

from __future__ import annotations

from headgate.configuration import Pipeline


def first_window(pipeline: Pipeline) -> int:
    """The window a new queue starts with; 0 is no limit."""
    if pipeline.manager == "dependent":
        return pipeline.window
    return 0 if pipeline.manager == "independent" else 1


def grown(pipeline: Pipeline, window: int) -> int:
    if not window or pipeline.manager != "dependent":
        return window
    factor = pipeline.window_increase_factor
    larger = window + factor if pipeline.window_increase_type == "linear" else window * factor
    return larger if pipeline.window_ceiling is None else min(pipeline.window_ceiling, larger)


def shrunk(pipeline: Pipeline, window: int) -> int:
    if not window or pipeline.manager != "dependent":
        return window
    factor = pipeline.window_decrease_factor
    smaller = window - factor if pipeline.window_decrease_type == "linear" else int(window / factor)
    return max(pipeline.window_floor, smaller)
