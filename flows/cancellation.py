"""How a flow of ours ends when somebody cancels it: tidied up, and shown as Cancelled rather than as crashed.

The worker cancels a run's coroutine. Inside, `finally` blocks give back what was taken; at the edge of the flow's body the cancellation
becomes Prefect's Cancelled state. When the whole worker stops it stays a crash, because then the run is to start again elsewhere.
"""

from __future__ import annotations

import asyncio
import functools
from collections.abc import Callable, Coroutine
from typing import Any, ParamSpec, TypeVar

from prefect.exceptions import CancelledRun
from prefect.states import Cancelled

from tasks.runtime import runtime

Parameters = ParamSpec("Parameters")
Result = TypeVar("Result")


def cancellable(body: Callable[Parameters, Coroutine[Any, Any, Result]]) -> Callable[Parameters, Coroutine[Any, Any, Result]]:
    """A flow's body whose cancellation is its result."""

    @functools.wraps(body)
    async def run(*args: Parameters.args, **keywords: Parameters.kwargs) -> Result:
        try:
            return await body(*args, **keywords)
        except (asyncio.CancelledError, CancelledRun):
            if (await runtime()).stopping:
                raise
            current = asyncio.current_task()
            if current is not None:
                current.uncancel()
            return Cancelled(message="Cancelled.")  # type: ignore[return-value]  # Prefect takes a state in place of a result

    return run
