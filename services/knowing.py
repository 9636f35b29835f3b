"""What the scheduler knows of the world while it decides: the tenants' layouts, and what was read of changes."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterable

from headgate.changes import Change
from headgate.configuration import Layout
from headgate.gating import Key
from headgate.gating.announcing import ZUUL
from headgate.gating.knowledge import Knowledge
from headgate.gating.turning import Turning
from headgate.refs import is_ref
from tasks.readings import Readings
from tasks.runtime import Runtime

logger = logging.getLogger("headgate.scheduler")


class Known:
    """Keeps the facts of `turning` up to date."""

    def __init__(self, runtime: Runtime, turning: Turning) -> None:
        self.layouts_changed = asyncio.Event()
        self.readings = Readings(runtime.connections)
        self._runtime = runtime
        self._turning = turning
        self._links: dict[str, tuple[bool, bool]] = {}

    @property
    def layouts(self) -> list[Layout]:
        return [facts.layout for facts in self._turning.facts.values()]

    def has(self, canonical: str) -> bool:
        """Is the project in some tenant?"""
        return any(canonical in layout.projects.by_canonical for layout in self.layouts)

    async def read_layouts(self, project: str | None = None) -> None:
        """Read every tenant's configuration, or only tenants that have `project` (a canonical name), fetching only that."""
        tenants = self._runtime.tenants
        for tenant in tenants.tenants():
            if project is not None and project not in {tenants.canonical(each) for each in tenant.projects}:
                continue
            layout = await tenants.read(tenant, None if project is None else [project])
            former = self._turning.facts.get(tenant.name)
            if former is not None and former.layout is layout:
                continue
            self._links[tenant.name] = _links_wanted(layout)
            self.layouts_changed.set()
            self._turning.know(tenant.name, Knowledge(layout, self.readings, f"{self._runtime.settings.web_url}/"))
            self._say_errors(layout)

    @staticmethod
    def _say_errors(layout: Layout) -> None:
        errors = [problem for problem in layout.problems if problem.severity == "error"]
        logger.info("Tenant %s: %d pipelines, %d errors.", layout.tenant.name, len(layout.pipelines), len(errors))
        for problem in errors:
            logger.warning("%s", problem)

    async def read_all(self) -> None:
        """Read the configuration of tenants that were never read."""
        if any(tenant.name not in self._turning.facts for tenant in self._runtime.tenants.tenants()):
            await self.read_layouts()

    async def read(self, key: Key) -> None:
        """Read a change anew, with what it depends on. Raises `LookupError` when it is gone, `ConnectionProblem`, `TooManyLinks`."""
        if is_ref(key):
            return  # a branch or tag: all there is to know of it was in its event
        topics, gates = (any(each) for each in zip(*self._links.values(), strict=True)) if self._links else (False, False)
        await self.readings.read(key, topics=topics, search=gates)
        for facts in self._turning.facts.values():
            if isinstance(facts, Knowledge):
                facts.forget_links()

    def keep_refs(self, changes: Iterable[Change]) -> None:
        """Branches and tags: all there is to know of one is in its event."""
        for change in changes:
            self.readings.keep_ref(change)


def _links_wanted(layout: Layout) -> tuple[bool, bool]:
    """Does any queue count topics as dependencies; does any pipeline let in, or tell of it, what waited for a change?"""
    queues = (found.value for (kind, _), found in layout.state.named.items() if kind == "queue")
    pipelines = layout.pipelines.values()
    gates = any(pipeline.manager == "dependent" for pipeline in pipelines)
    tells = any(trigger.connection == ZUUL for pipeline in pipelines for trigger in pipeline.triggers)
    return any(queue.dependencies_by_topic for queue in queues), gates or tells
