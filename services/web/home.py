"""The door for workers on other machines: what their builds print and leave comes in here, and secrets that they need go out, sealed.

Every request is signed with the workers' secret (`tasks.home_requests`) and may be repeated. Nothing is done for a build that is not in
the store, and names are never paths of the one who asks.
"""

from __future__ import annotations

import asyncio
import errno
import fcntl
import json
import os
import re
import shutil
import tarfile
import tempfile
import time
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from headgate.configuration.encryption import BadKey, decrypt
from headgate.frozen_secrets import from_json
from headgate.problems import Problem
from services.web.reader import Reader
from tasks.home_requests import (
    CLOCK_SECONDS,
    CONSOLE,
    LARGEST_BODY,
    LARGEST_SECRET,
    LOGS,
    NODE_KEYS,
    PATH,
    SECRET_DATA,
    SIGNATURE,
    TIME,
    SharedSecret,
    Unsealable,
)
from tasks.secret_keys import SecretKeys

_NAME = re.compile(r"[0-9a-zA-Z][0-9a-zA-Z-]{0,63}")
Answer = Callable[[Request, bytes], Awaitable[Response]]


class Refused(Exception):
    """What is answered in its place: status and one sentence."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status


class HomeDoor:
    """`state` is the state directory."""

    def __init__(self, reader: Reader, state: Path, secret: SharedSecret) -> None:
        self._reader = reader
        self._state = state
        self._secret = secret
        self._keys = SecretKeys(state / "keys")

    def routes(self) -> list[Route]:
        def route(path: str, answer: Answer, *methods: str) -> Route:
            async def endpoint(request: Request) -> Response:
                return await self._answer(request, answer)

            return Route(f"{PATH}{path}", endpoint, methods=list(methods))

        return [
            route("/", self._greet, "GET"),
            route("/builds/{build}/{file}", self._build_file, "POST"),
            route("/builds/{build}", self._forget, "DELETE"),
            route("/reveal", self._reveal, "POST"),
            route("/kept/{kind}/{name}", self._kept, "GET", "PUT", "DELETE"),
        ]

    async def _answer(self, request: Request, answer: Answer) -> Response:
        try:
            return await answer(request, await self._body(request))
        except Refused as refused:
            return JSONResponse({"error": str(refused)}, refused.status)
        except OSError as problem:
            if problem.errno not in (errno.ENOSPC, errno.EDQUOT):
                raise
            return JSONResponse({"error": f"The disk of {self._state} at home is full: make room there."}, 507)

    async def _body(self, request: Request) -> bytes:
        """What is asked, once it is sure who asks. Raises `Refused`."""
        moment, signature = request.headers.get(TIME, ""), request.headers.get(SIGNATURE, "")
        if not (moment.isascii() and moment.isdigit()) or not signature:
            raise Refused(401, "This is for Headgate's workers: a request without their signature is not answered.")
        if abs(int(moment[:12]) - time.time()) > CLOCK_SECONDS:
            raise Refused(401, f"The clock of this worker and that of its home differ by more than {CLOCK_SECONDS:.0f} s: set them right.")
        body = bytearray()
        most = LARGEST_SECRET if "kind" in request.path_params else LARGEST_BODY
        async for chunk in request.stream():
            body += chunk
            if len(body) > most + 1024:
                raise Refused(413, f"More than {most} bytes in one request.")
        raw = request.scope.get("raw_path") or request.url.path.encode()
        query = request.scope.get("query_string", b"")
        target = (raw.partition(b"?")[0] + (b"?" + query if query else b"")).decode("latin-1")
        target = target[target.rindex(PATH) + len(PATH) :]
        if not self._secret.signed(signature, request.method, target, moment, bytes(body)):
            raise Refused(401, "The secret of this worker is not that of its home: copy `worker-secret` of the machine of `headgate up`.")
        return bytes(body)

    async def _greet(self, request: Request, body: bytes) -> Response:
        return JSONResponse({"home": True})

    # --- what builds print and leave --------------------------------------------------------------------------------------------------

    async def _directory(self, request: Request) -> Path:
        """Of a build that there is. Raises `Refused`."""
        build = request.path_params["build"]
        found = await self._reader.build(build)
        if found is None or found.build.id != build:
            raise Refused(404, f"There is no build {build}.")
        return self._reader.console(build).parent

    async def _build_file(self, request: Request, body: bytes) -> Response:
        file = request.path_params["file"]
        directory = await self._directory(request)
        if file == "unpack":

            def unpack() -> None:
                with _alone(directory):
                    _unpack(directory)

            await asyncio.to_thread(unpack)
            return JSONResponse({})
        offset = request.query_params.get("offset", "")
        if file not in (CONSOLE, LOGS) or not (offset.isascii() and offset.isdigit()):
            raise Refused(404, f"Nothing is sent to {file} at '{offset}'; there are {CONSOLE} and {LOGS}, from byte `offset` on.")

        def append() -> tuple[bool, int]:
            with _alone(directory):
                return _append(directory, file, int(offset[:15]), body)

        added, size = await asyncio.to_thread(append)
        return JSONResponse({"size": size}, 200 if added else 409)

    async def _forget(self, request: Request, body: bytes) -> Response:
        build = request.path_params["build"]
        if not _NAME.fullmatch(build):
            raise Refused(404, f"'{build}' is no build.")
        await asyncio.to_thread(shutil.rmtree, self._state / "builds" / build, True)
        return JSONResponse({})

    # --- secrets ----------------------------------------------------------------------------------------------------------------------

    async def _reveal(self, request: Request, body: bytes) -> Response:
        asked = json.loads(body)
        project, secret = str(asked["project"]), from_json(asked["secret"])
        try:
            found = await asyncio.to_thread(lambda: decrypt(secret, self._keys.private(project)))
        except (BadKey, Problem) as wrong:
            raise Refused(422, str(wrong)) from wrong
        return self._sealed(request, json.dumps(found).encode())

    async def _kept(self, request: Request, body: bytes) -> Response:
        path = self._kept_file(request.path_params["kind"], request.path_params["name"])
        if request.method == "GET":
            if not path.is_file():
                raise Refused(404, "That is not kept here.")
            return self._sealed(request, path.read_bytes())
        if request.method == "DELETE":
            path.unlink(missing_ok=True)
            return JSONResponse({})
        try:
            _write_private(path, self._secret.unseal(body, f"/kept/{request.path_params['kind']}/{request.path_params['name']}"))
        except Unsealable as wrong:
            raise Refused(400, f"What is to be kept cannot be read: {wrong}.") from wrong
        return JSONResponse({})

    def _sealed(self, request: Request, plain: bytes) -> Response:
        return Response(self._secret.seal(plain, request.headers[SIGNATURE]), media_type="application/octet-stream")

    def _kept_file(self, kind: str, name: str) -> Path:
        if not _NAME.fullmatch(name):
            raise Refused(404, f"'{name}' is no name.")
        if kind == SECRET_DATA:
            return self._state / "builds" / name / "secret-data.json"
        if kind == NODE_KEYS:
            return self._state / "node-keys" / name
        raise Refused(404, f"There are no {kind}; there are {SECRET_DATA} and {NODE_KEYS}.")


@contextmanager
def _alone(directory: Path) -> Iterator[None]:
    """One at a time in a build's directory: a request that is repeated because its answer took too long finds the first at it."""
    directory.mkdir(parents=True, exist_ok=True, mode=0o700)
    descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


def _append(directory: Path, file: str, offset: int, data: bytes) -> tuple[bool, int]:
    """Add to the file if it has `offset` bytes; whether that was so, and how many it has now."""
    descriptor = os.open(directory / file, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_NOFOLLOW | os.O_CLOEXEC, 0o640)
    try:
        size = os.fstat(descriptor).st_size
        if size != offset:
            return False, size
        try:
            while data:
                data = data[os.write(descriptor, data) :]
        except OSError:
            os.ftruncate(descriptor, offset)  # all of it or nothing, so that it can be sent again
            raise
        return True, os.fstat(descriptor).st_size
    finally:
        os.close(descriptor)


def _unpack(directory: Path) -> None:
    """Console and logs out of what was sent, in place of what there is. Nothing to unpack is what is unpacked already."""
    packed = directory / LOGS
    if not packed.exists():
        return
    with tempfile.TemporaryDirectory(dir=directory, prefix=".unpacking-") as temporary:
        with tarfile.open(packed, "r:") as archive:
            for entry in archive:
                if entry.isreg():
                    archive.extract(entry, temporary, set_attrs=False, filter="data")
        there = Path(temporary)
        if (there / CONSOLE).exists():
            (there / CONSOLE).replace(directory / CONSOLE)
        if (there / "logs").exists():
            shutil.rmtree(directory / "logs", ignore_errors=True)
            (there / "logs").rename(directory / "logs")
    packed.unlink()


def _write_private(path: Path, data: bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    temporary = path.with_name(f".{path.name}.new")
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
    with open(descriptor, "wb") as file:
        file.write(data)
    temporary.replace(path)
