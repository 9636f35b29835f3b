"""A task of ours: one effect on one outside system. Prefect's `@task` without result caching, which effects must not have."""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from typing import Any, ParamSpec, TypeVar

from prefect import Task, task
from prefect.cache_policies import NO_CACHE

Parameters = ParamSpec("Parameters")
Result = TypeVar("Result")
Function = Callable[Parameters, Coroutine[Any, Any, Result]]


def effect(**options: Any) -> Callable[[Function[Parameters, Result]], Task[Parameters, Coroutine[Any, Any, Result]]]:
    """`@effect(name=..., retries=...)` is `@task(...)`; inputs may be live objects: nothing is hashed, pickled or stored."""
    return task(cache_policy=NO_CACHE, persist_result=False, **options)
