"""The application: its routes, what goes wrong in them, and what it gives back at the end."""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Mount, Route, WebSocketRoute
from starlette.staticfiles import StaticFiles

from services.web.api import Api
from services.web.feed import Feed
from services.web.pages import NotFound, Pages
from services.web.reader import Reader
from services.web.streams import Streams
from tasks.following import Watcher

logger = logging.getLogger("headgate.web")


@dataclass(frozen=True, slots=True)
class WebSettings:
    """`prefect_url` is where Prefect's UI is, for links to flow runs; none without. `web_url` is how others reach these pages,
    for links in the API; without it, as each request did."""

    prefect_url: str = ""
    web_url: str = ""
    name: str = "Headgate"


def create_app(reader: Reader, settings: WebSettings = WebSettings(), more: Sequence[Route] = ()) -> Starlette:
    """An ASGI application; `more` are routes beside its own. Its streams last as long as their readers: whoever
    serves it must set a limit to a graceful end (uvicorn's `timeout_graceful_shutdown`)."""
    watcher = Watcher()
    feed = Feed(reader)
    pages = Pages(reader, feed, settings.name, settings.prefect_url.rstrip("/"))
    streams = Streams(reader, watcher)

    @asynccontextmanager
    async def lifespan(_: Starlette) -> AsyncIterator[None]:
        yield
        feed.close()
        watcher.close()

    def not_found(request: Request, problem: Exception) -> Response:
        return _answer(request, pages, "This is not here", str(problem), 404)

    def refused(request: Request, problem: Exception) -> Response:
        assert isinstance(problem, HTTPException)
        if problem.status_code == 404:
            return not_found(request, NotFound(f"There is no page {request.url.path}."))
        return _answer(request, pages, "That does not work", problem.detail, problem.status_code)

    def failed(request: Request, problem: Exception) -> Response:
        message = "Something went wrong on the server; its log says what. Try again in a moment."
        return _answer(request, pages, "This page could not be made", message, 500)

    return Starlette(
        routes=[
            *more,
            *pages.routes(),
            *Api(reader, settings.web_url.rstrip("/")).routes(),
            Route("/api/console/{build}", streams.console),
            Route("/api/image-log/{build}", streams.image_log),
            WebSocketRoute("/api/console-stream", streams.websocket),
            WebSocketRoute("/api/tenant/{tenant}/console-stream", streams.websocket),
            Mount("/static", StaticFiles(directory=Path(__file__).parent / "static")),
        ],
        exception_handlers={NotFound: not_found, HTTPException: refused, Exception: failed},
        lifespan=lifespan,
    )


def _answer(request: Request, pages: Pages, title: str, message: str, status: int) -> Response:
    """JSON for programs, a page for people."""
    if request.url.path.startswith("/api/"):
        return JSONResponse({"error": message}, status)
    return pages.problem(title, message, status)
