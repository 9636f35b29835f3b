"""The demo's story: two changes are pushed, and what becomes of them is told as it happens."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from deployments.reviews import BAD, GOOD, ReviewServer
from headgate.builds import current
from headgate.records import Build, Item
from headgate.settings import Settings
from tasks.building import build_directory
from tasks.runtime import Runtime, set_runtime

Say = Callable[[str], None]
GIVE_UP_SECONDS = 300.0


async def tell_story(settings: Settings, reviews: ReviewServer, say: Say, keep: bool) -> None:
    """Push, follow, tell. Raises `TimeoutError` when the votes do not come."""
    runtime = await Runtime.open(settings)
    set_runtime(runtime)
    try:
        await Story(runtime, reviews, say).tell(keep)
    finally:
        await runtime.close()


class Story:
    """Pushes the changes and tells what happens, until both have their votes."""

    def __init__(self, runtime: Runtime, reviews: ReviewServer, say: Say) -> None:
        self._runtime = runtime
        self._reviews = reviews
        self._say = say
        self._consoles: set[asyncio.Task[None]] = set()
        self._shown: set[str] = set()

    async def tell(self, keep: bool) -> None:
        for number, proposal in enumerate((GOOD, BAD), 1):
            self._say(f"\npush {number}: “{proposal.subject}”")
            await asyncio.to_thread(self._reviews.push, proposal)
        async with asyncio.timeout(GIVE_UP_SECONDS):
            reported = await self._follow(2)
        self._say("")
        for item in reported:
            await self._verdict(item)
        self._end(keep)

    async def _follow(self, count: int) -> list[Item]:
        """Show consoles as they grow, until `count` items were reported."""
        store = self._runtime.store
        async with store.watch("items") as changed:
            while True:
                changed.clear()
                items = await store.items()
                for item in items:
                    buildset = await store.buildset_of(item.id)
                    for build in await store.builds(buildset.id) if buildset is not None else []:
                        self._show(item, build)
                reported = await store.told_items()
                if len(reported) >= count:
                    await asyncio.gather(*self._consoles)
                    return reported
                await changed.wait()

    def _show(self, item: Item, build: Build) -> None:
        if build.started is not None and build.id not in self._shown:
            self._shown.add(build.id)
            self._consoles.add(asyncio.create_task(self._console(item, build)))

    async def _console(self, item: Item, build: Build) -> None:
        """The lines of one build's console, as they are written."""
        path = build_directory(self._runtime, build.id) / "console.log"
        position = 0
        while True:
            latest = await self._runtime.store.build(build.id)
            if path.exists():
                with path.open("rb") as file:
                    file.seek(position)
                    text = file.read()
                whole = text[: text.rfind(b"\n") + 1]
                position += len(whole)
                for line in whole.decode(errors="replace").splitlines():
                    self._say(f"  {item.change} {build.job:12} {line.partition(' | ')[2] or line}")
            if latest is None or latest.ended is not None:
                return
            await asyncio.sleep(0.1)

    async def _verdict(self, item: Item) -> None:
        store = self._runtime.store
        buildset = await store.buildset_of(item.id)
        builds = current(await store.builds(buildset.id)) if buildset is not None else {}
        for report in await store.reports(item.id):
            votes = ", ".join(f"{label} {value:+d}" for label, value in report.labels.items())
            self._say(f"change {item.change} “{item.change.subject}”: {report.kind}, voted {votes}")
            self._say("\n".join(f"    {line}" for line in report.message.splitlines()))
        self._say(f"    Prefect: {self._runtime.settings.prefect_ui}/runs/flow-run/{item.flow_run}   ({len(builds)} job runs below it)\n")

    def _end(self, keep: bool) -> None:
        settings = self._runtime.settings
        if not keep and not self._reviews.stays:
            self._say("Gerrit stops with the demo: `make demo ARGS='--gerrit --keep'` leaves all of it running. Then:")
        elif not keep:
            self._say(f"All of it is kept: `.venv/bin/headgate up --config {settings.directory / 'headgate.yaml'}` brings it back. Then:")
        self._say(f"  status and consoles      {settings.web_url}")
        self._say(f"  runs, Retry and Cancel   {settings.prefect_ui}")
        if self._reviews.url:
            self._say(f"  the changes              {self._reviews.url}")
        self._say("  push a change yourself:")
        for line in self._reviews.hint():
            self._say(f"    {line}")
        self._say("  run one of its jobs without a server: .venv/bin/headgate try --help")
        self._say("  check your own configuration:         .venv/bin/headgate check --help")
        self._say("README.md says how to go on from here.")
