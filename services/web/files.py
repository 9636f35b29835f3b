"""Files of a build's log directory, for anyone to look at and for no browser to run.

A job wrote them, so everything about them is hostile: names, links, content. No path leaves the directory (each step is opened
below the one before it and no link is followed), and what a browser shows it shows in a sandbox without scripts.
"""

from __future__ import annotations

import mimetypes
import os
import re
import stat
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from pathlib import Path

from starlette.concurrency import iterate_in_threadpool
from starlette.requests import Request
from starlette.responses import Response, StreamingResponse

SANDBOX = "sandbox; default-src 'none'; style-src 'self' 'unsafe-inline'; img-src 'self' data:; font-src 'self' data:"
HEADERS = {"X-Content-Type-Options": "nosniff", "Content-Security-Policy": SANDBOX, "Cross-Origin-Resource-Policy": "same-origin"}
SHOWN = {"text/html", "image/svg+xml", "image/png", "image/jpeg", "image/gif", "image/webp", "text/css", "font/woff", "font/woff2"}
"""Types a browser gets as they are; other text is plain text, all else a download."""
CHUNK = 256 * 1024
_RANGE = re.compile(r"bytes=(\d*)-(\d*)$")


class NotThere(Exception):
    """No such file or directory below the root, or none that may be shown (links, devices, sockets)."""


@dataclass(frozen=True, slots=True)
class Entry:
    """One name in a directory. `size` is bytes, 0 for a directory."""

    name: str
    directory: bool
    size: int


def open_below(root: Path, path: str) -> int:
    """A descriptor of the file or directory `path` below `root`. Raises `NotThere`."""
    flags = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
    try:
        descriptor = os.open(root, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        for part in filter(None, path.split("/")):
            try:
                if part == ".." or "\0" in part:
                    raise NotThere(path)
                below = os.open(part, flags, dir_fd=descriptor)
            finally:
                os.close(descriptor)
            descriptor = below
    except (OSError, UnicodeError) as problem:
        raise NotThere(path) from problem
    mode = os.fstat(descriptor).st_mode
    if not stat.S_ISREG(mode) and not stat.S_ISDIR(mode):
        os.close(descriptor)
        raise NotThere(path)
    return descriptor


def entries(descriptor: int) -> tuple[Entry, ...]:
    """What may be shown of a directory: directories first, then by name. Closes the descriptor."""
    found = []
    try:
        with os.scandir(descriptor) as listing:
            for entry in listing:
                if entry.is_dir(follow_symlinks=False) or entry.is_file(follow_symlinks=False):
                    directory = entry.is_dir(follow_symlinks=False)
                    found.append(Entry(entry.name, directory, 0 if directory else entry.stat(follow_symlinks=False).st_size))
    finally:
        os.close(descriptor)
    return tuple(sorted(found, key=lambda entry: (not entry.directory, entry.name)))


def entries_if_directory(descriptor: int) -> tuple[Entry, ...] | None:
    """`entries`, or None for a file, whose descriptor stays open."""
    return entries(descriptor) if stat.S_ISDIR(os.fstat(descriptor).st_mode) else None


def listing(root: Path) -> tuple[Entry, ...]:
    """`entries` of the root; nothing when it is not there."""
    try:
        return entries(open_below(root, ""))
    except NotThere:
        return ()


def content_type(name: str, head: bytes) -> tuple[str, str]:
    """Type and encoding by which a browser is told to show a file that begins with `head`."""
    guessed, encoding = mimetypes.guess_type(name)
    if encoding == "gzip" and guessed != "application/x-tar":
        return ("text/html" if guessed == "text/html" else "text/plain; charset=utf-8"), "gzip"
    if encoding is None and guessed in SHOWN:
        return guessed + ("; charset=utf-8" if guessed.startswith("text/") else ""), ""
    if encoding or b"\0" in head:
        return "application/octet-stream", ""
    return "text/plain; charset=utf-8", ""


def _span(request: Request, size: int) -> tuple[int, int, bool]:
    """First byte, byte after the last, and whether a part was asked for that there is."""
    asked = _RANGE.match(request.headers.get("range", ""))
    if not asked or asked[0] == "bytes=-" or size == 0:
        return 0, size, False
    if not asked[1]:
        return max(0, size - int(asked[2])), size, True
    first = int(asked[1])
    last = min(int(asked[2]) + 1, size) if asked[2] else size
    return (first, last, True) if first < last else (0, size, False)


def _chunks(descriptor: int, position: int, end: int) -> Iterator[bytes]:
    while position < end and (chunk := os.pread(descriptor, min(CHUNK, end - position), position)):
        position += len(chunk)
        yield chunk


def file_response(request: Request, descriptor: int, name: str) -> Response:
    """The file behind `descriptor`, which is closed when all is sent or the reader has gone."""
    found = os.fstat(descriptor)
    kind, encoding = content_type(name, os.pread(descriptor, 1024, 0))
    etag = f'"{found.st_mtime_ns:x}-{found.st_size:x}"'
    headers = {**HEADERS, "ETag": etag, "Accept-Ranges": "bytes", "Cache-Control": "no-cache"}
    if request.headers.get("if-none-match") == etag:
        os.close(descriptor)
        return Response(status_code=304, headers=headers)
    first, end, partial = _span(request, found.st_size)
    headers |= {"Content-Length": str(end - first), "Content-Type": kind}
    if encoding:
        headers["Content-Encoding"] = encoding
    if kind == "application/octet-stream":
        headers["Content-Disposition"] = "attachment"
    if partial:
        headers["Content-Range"] = f"bytes {first}-{end - 1}/{found.st_size}"

    async def body() -> AsyncIterator[bytes]:
        try:
            async for chunk in iterate_in_threadpool(_chunks(descriptor, first, end)):
                yield chunk
        finally:
            os.close(descriptor)

    if request.method == "HEAD":
        os.close(descriptor)
        return Response(status_code=206 if partial else 200, headers=headers)
    return StreamingResponse(body(), status_code=206 if partial else 200, headers=headers)
