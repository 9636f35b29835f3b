"""The HTML pages. What a page shows is rendered whole on the server; its live part is rendered again when facts change."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from functools import partial
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from starlette.requests import Request
from starlette.responses import HTMLResponse, RedirectResponse, Response, StreamingResponse
from starlette.routing import Route

from headgate.builds import current
from headgate.reports import duration
from services.web import files, views
from services.web.excerpt import failure
from services.web.feed import Feed
from services.web.queries import BadQuery, build_query
from services.web.reader import FLAKY_DAYS, BuildDetail, BuildQuery, Reader
from services.web.streams import CONSOLE, UNBUFFERED

CONTENT_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self'; "
    "base-uri 'none'; form-action 'self'; frame-ancestors 'none'"
)
HEADERS = {
    "Content-Security-Policy": CONTENT_POLICY,
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "same-origin",
    "Cache-Control": "no-store",
}
RECENT = 8
"""Builds that have ended, below what is being tested."""


class NotFound(Exception):
    """What was looked for and why it may not be there, for a person."""


class Pages:
    def __init__(self, reader: Reader, feed: Feed, name: str, prefect_url: str) -> None:
        self._reader = reader
        self._feed = feed
        self._templates = Environment(
            loader=FileSystemLoader(Path(__file__).parent / "templates"),
            autoescape=True,
            undefined=StrictUndefined,
            trim_blocks=True,
            lstrip_blocks=True,
        )
        self._templates.filters |= {
            "duration": duration,
            "moment": views.moment,
            "size": views.size,
            "kind": views.kind_of,
            "result": views.text_of,
            "image_kind": views.image_kind,
            "safe_url": views.safe_url,
        }
        self._templates.globals |= {"site": name, "prefect_url": prefect_url}

    def routes(self) -> list[Route]:
        return [
            Route("/", self.status),
            Route("/builds", self.builds),
            Route("/build/{id}", self.build),
            Route("/buildset/{id}", self.buildset),
            Route("/console/{id}", self.console),
            Route("/images", self.images),
            Route("/image/{id}", self.image_log),
            Route("/events/{page:str}", self.events),
            Route("/events/{page}/{id}", self.events),
            Route("/logs/{id}", self.logs),
            Route("/logs/{id}/{path:path}", self.logs),
        ]

    def _render(self, template: str, **values: Any) -> str:
        return self._templates.get_template(template).render(**values)

    def _page(self, template: str, status: int = 200, **values: Any) -> HTMLResponse:
        return HTMLResponse(self._render(template, **values), status, headers=HEADERS)

    def problem(self, title: str, message: str, status: int) -> HTMLResponse:
        """A friendly page about something that went wrong."""
        return self._page("problem.html", status, title=title, message=message)

    # --- live pages: `_..._live` renders the part that changes -------------------------------------------------------------------------

    async def status(self, request: Request) -> Response:
        return self._page("status.html", live=await self._status_live())

    async def _status_live(self) -> str:
        status = await self._reader.status()
        recent = [row for row in await self._reader.builds(BuildQuery(limit=2 * RECENT)) if row.build.ended][:RECENT]
        return self._render("status_live.html", status=status, recent=recent, item_view=views.item_view)

    async def build(self, request: Request) -> Response:
        found = await self._found_build(request)
        if found.build.id != request.path_params["id"]:
            return RedirectResponse(f"/build/{found.build.id}")
        return self._page("build.html", found=found, live=await self._build_live(found.build.id))

    async def _build_live(self, build_id: str) -> str:
        found = await self._reader.build(build_id)
        if found is None:
            raise NotFound(f"There is no build {build_id} any more.")
        build, graph = found.build, found.buildset.graph
        entries = await asyncio.to_thread(self._entries, build.id)
        failed = views.kind_of(build) in ("failure", "soft-failure")
        return self._render(
            "build_live.html",
            found=found,
            build=build,
            job=graph.find(build.job, build.position) if graph else None,
            entries=entries,
            artifacts=views.artifacts_of(build),
            tests=views.tests_of(build),
            published=views.log_url_of(build),
            flaky=await self._reader.flakiness(build.job),
            days=FLAKY_DAYS,
            excerpt=await asyncio.to_thread(failure, self._reader.console(build.id)) if failed else (),
        )

    async def buildset(self, request: Request) -> Response:
        found = await self._reader.buildset(request.path_params["id"])
        if found is None:
            raise NotFound("There is no such buildset. Buildsets are deleted after a while, and their ids are long: was it copied whole?")
        return self._page("buildset.html", found=found, live=await self._buildset_live(found.buildset.id))

    async def _buildset_live(self, buildset_id: str) -> str:
        found = await self._reader.buildset(buildset_id)
        if found is None:
            raise NotFound(f"There is no buildset {buildset_id} any more.")
        kind, text = views.buildset_summary(found.buildset, found.builds)
        counting = {build.id for build in current(found.builds).values()}
        return self._render(
            "buildset_live.html",
            found=found,
            kind=kind,
            text=text,
            jobs=views.jobs_of(found.buildset, found.builds, found.waiting, {}),
            earlier=[build for build in found.builds if build.id not in counting],
        )

    async def images(self, request: Request) -> Response:
        return self._page("images.html", live=await self._images_live())

    async def _images_live(self) -> str:
        return self._render("images_live.html", images=await self._reader.images())

    async def events(self, request: Request) -> Response:
        """The live part of a page as server-sent events."""
        page, name = request.path_params["page"], request.path_params.get("id", "")
        renderers: dict[str, partial[Coroutine[None, None, str]]] = {
            "status": partial(self._status_live),
            "build": partial(self._build_live, name),
            "buildset": partial(self._buildset_live, name),
            "images": partial(self._images_live),
        }
        if page not in renderers:
            raise NotFound(f"There are no events of '{page}'; there are some of status, build, buildset and images.")
        await renderers[page]()
        return StreamingResponse(self._feed.follow(f"{page}/{name}", renderers[page]), media_type="text/event-stream", headers=UNBUFFERED)

    # --- other pages -------------------------------------------------------------------------------------------------------------------

    async def builds(self, request: Request) -> Response:
        try:
            query = build_query(request.query_params)
        except BadQuery as problem:
            return self.problem("That filter cannot be used", str(problem), 400)
        rows, flaky = await self._reader.builds(query), await self._reader.flakiness(query.job)
        return self._page(
            "builds.html",
            rows=rows,
            query=query,
            flaky=flaky,
            days=FLAKY_DAYS,
            newer=_other(query, -query.limit),
            older=_other(query, query.limit),
        )

    async def console(self, request: Request) -> Response:
        found = await self._found_build(request)
        if found.build.id != request.path_params["id"]:
            return RedirectResponse(f"/console/{found.build.id}")
        return self._page("console.html", found=found, build=found.build)

    async def image_log(self, request: Request) -> Response:
        build = await self._reader.image_build(request.path_params["id"])
        if build is None:
            raise NotFound("There is no such build of an image. Builds without files are forgotten after a while.")
        if build.id != request.path_params["id"]:
            return RedirectResponse(f"/image/{build.id}")
        return self._page("image_log.html", build=build)

    async def logs(self, request: Request) -> Response:
        found = await self._found_build(request)
        path = request.path_params.get("path", "")
        build_id = found.build.id
        try:
            if not path:
                return self._listing(request, found, "", self._entries(build_id))
            console = self._reader.console(build_id)
            root, name = (console.parent, console.name) if path == CONSOLE else (self._reader.logs(build_id), path)
            descriptor = files.open_below(root, name)
        except files.NotThere:
            raise NotFound(f"This build has no log called {path}.") from None
        listing = files.entries_if_directory(descriptor)
        if listing is None:
            return files.file_response(request, descriptor, path)
        return self._listing(request, found, path.strip("/"), listing)

    def _listing(self, request: Request, found: BuildDetail, path: str, entries: tuple[files.Entry, ...]) -> Response:
        if not request.url.path.endswith("/"):
            return RedirectResponse(f"{request.url.path}/")
        return self._page("logs.html", found=found, build=found.build, path=path, entries=entries)

    def _entries(self, build_id: str) -> tuple[files.Entry, ...]:
        """The console, then what the build left."""
        console = self._reader.console(build_id)
        first = (files.Entry(CONSOLE, False, console.stat().st_size),) if console.is_file() else ()
        return (*first, *(entry for entry in files.listing(self._reader.logs(build_id)) if entry.name != CONSOLE))

    async def _found_build(self, request: Request) -> BuildDetail:
        found = await self._reader.build(request.path_params["id"])
        if found is None:
            raise NotFound("There is no such build. Builds are deleted after a while, and their ids are long: was it copied whole?")
        return found


def _other(query: BuildQuery, step: int) -> str:
    """The address of the page of builds before or after this one, or nothing."""
    skip = query.skip + step
    if skip < 0 < step or (step < 0 and query.skip == 0):
        return ""
    values = {name: getattr(query, name) for name in ("tenant", "pipeline", "project", "change", "job", "result")}
    kept = {name: value for name, value in values.items() if value}
    return "/builds?" + urlencode({**kept, "limit": query.limit, "skip": max(0, skip)})
