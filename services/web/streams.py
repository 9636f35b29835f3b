"""Streams: a build's console as it grows, and pages that change. Nothing here polls."""

from __future__ import annotations

import asyncio
import codecs
import json
import logging
from collections.abc import AsyncIterator, Callable, Coroutine
from functools import partial
from pathlib import Path
from urllib.parse import urlsplit

from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response, StreamingResponse
from starlette.websockets import WebSocket, WebSocketDisconnect

from headgate.images import BuildState
from services.web.reader import Reader
from tasks.following import Watcher, follow

CONSOLE = "console.log"
UNBUFFERED = {"Cache-Control": "no-store", "X-Accel-Buffering": "no", "X-Content-Type-Options": "nosniff"}

logger = logging.getLogger("headgate.web")


class Streams:
    """`console` serves our own page, `websocket` whoever speaks as Zuul's clients do."""

    def __init__(self, reader: Reader, watcher: Watcher) -> None:
        self._reader = reader
        self._watcher = watcher

    def _follow_ended(self, build_id: str) -> Callable[[], Coroutine[None, None, None]]:
        return partial(self._reader.ended, build_id)

    def _follow(self, build_id: str, offset: int) -> AsyncIterator[bytes]:
        return follow(self._reader.console(build_id), offset, self._watcher, self._follow_ended(build_id))

    async def console(self, request: Request) -> Response:
        """The console from byte `offset` on, as long as the build goes on, or with `follow=0` what there is now. 204: it has ended and
        there is no more."""
        found = await self._reader.build(request.path_params["build"])
        if found is None:
            return PlainTextResponse("There is no such build.\n", 404)
        build = found.build
        return self._text(request, self._reader.console(build.id), bool(build.ended), self._follow_ended(build.id))

    async def image_log(self, request: Request) -> Response:
        """The same of the build of an image."""
        build = await self._reader.image_build(request.path_params["build"])
        if build is None:
            return PlainTextResponse("There is no such build.\n", 404)
        ended = build.state is not BuildState.BUILDING
        return self._text(request, self._reader.image_log(build), ended, partial(self._reader.image_ended, build.id))

    def _text(self, request: Request, path: Path, ended: bool, ends: Callable[[], Coroutine[None, None, None]]) -> Response:
        text = request.query_params.get("offset", "0")
        offset = int(text) if text.isascii() and text.isdigit() else 0
        if ended and (not path.exists() or path.stat().st_size <= offset):
            return Response(status_code=204)
        follows = request.query_params.get("follow") != "0"
        chunks = follow(path, offset, self._watcher, ends if follows else _now)
        return StreamingResponse(chunks, media_type="text/plain; charset=utf-8", headers=UNBUFFERED)

    async def websocket(self, socket: WebSocket) -> None:
        """Zuul's console stream: the client says `{"uuid": ..., "logfile": "console.log"}` and receives text until the end."""
        if not _same_origin(socket):
            await socket.close(1008, "another site may not read consoles")
            return
        await socket.accept()
        try:
            asked = json.loads(await socket.receive_text())
            if not isinstance(asked, dict) or not isinstance(asked.get("uuid"), str) or asked.get("logfile", CONSOLE) != CONSOLE:
                await socket.close(4000, "'uuid' or 'logfile' missing from the request")
                return
            found = await self._reader.build(asked["uuid"])
            if found is None:
                await socket.close(4011, "there is no such build")
                return
            sending = asyncio.create_task(self._send(socket, found.build.id))
            gone = asyncio.create_task(socket.receive())
            await asyncio.wait({sending, gone}, return_when=asyncio.FIRST_COMPLETED)
            for task in (sending, gone):
                task.cancel()
            if sending.done() and not sending.cancelled():
                sending.result()
                await socket.close(1000)
        except ValueError:
            await socket.close(4000, "the request is no JSON")
        except WebSocketDisconnect:
            logger.debug("a reader of a console has gone")

    async def _send(self, socket: WebSocket, build_id: str) -> None:
        decoder = codecs.getincrementaldecoder("utf-8")(errors="replace")
        async for chunk in self._follow(build_id, 0):
            await socket.send_text(decoder.decode(chunk))


async def _now() -> None:
    """The end of what is not followed."""


def _same_origin(socket: WebSocket) -> bool:
    """Browsers say which page opens a socket, and let any page do it. Other clients say nothing."""
    origin = socket.headers.get("origin")
    return origin is None or urlsplit(origin).netloc == socket.headers.get("host")
