"""The home of the state directory, for a worker on a machine that does not have it.

What such a worker's builds print and leave it sends there as it comes, so that what is read (pages, `headgate console`, links in votes) is
in one place whatever becomes of the worker. Projects' keys never leave home: what is encrypted for them is sent and comes back readable.
"""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import httpx

from headgate.configuration.definitions import Secret
from headgate.configuration.encryption import BadKey
from headgate.frozen_secrets import as_json
from headgate.problems import Problem
from headgate.settings import Settings
from tasks.following import Watcher
from tasks.home_requests import PATH, SIGNATURE, TIME, SharedSecret, Unsealable, read_secret

UNPACK_SECONDS = 900.0
"""How long home may take to put the logs of one build in their place: as many gigabytes as a job may fill a disk with."""
PATIENCE_SECONDS = 300.0
"""How long a request is repeated while nobody answers: home may be restarting."""
LONGEST_PAUSE = 5.0


class HomeProblem(Problem):
    """Home does not answer, or does not do what was asked; one sentence."""


class Home:
    """Requests to `url`, where the web pages of the installation are."""

    def __init__(self, url: str, secret: SharedSecret) -> None:
        self.url = url.rstrip("/")
        self._secret = secret
        self._client = httpx.AsyncClient(base_url=self.url)
        self.watcher = Watcher()
        """Of the consoles that are being sent there."""

    async def close(self) -> None:
        self.watcher.close()
        await self._client.aclose()

    async def check(self) -> None:
        """Does home answer, and take us for one of its workers? Raises `HomeProblem`."""
        await self._ask("GET", "/", patience=0)

    async def append(self, build: str, file: str, offset: int, data: bytes) -> int:
        """Add `data`, which begins at byte `offset`, to what home has of a build's file; how much it has now. With another size than
        `offset` there nothing is added."""
        answer = await self._ask("POST", f"/builds/{build}/{file}?offset={offset}", data)
        return int(answer.json()["size"])

    async def unpack(self, build: str) -> None:
        """Put the build's logs where they belong, all of which have been sent."""
        await self._ask("POST", f"/builds/{build}/unpack", seconds=UNPACK_SECONDS)

    async def forget(self, build: str) -> None:
        """Delete everything of a build that is too old."""
        await self._ask("DELETE", f"/builds/{build}")

    async def reveal(self, project: str, secret: Secret) -> Mapping[str, Any]:
        """The fields of a secret of a canonical project, decrypted. Raises `BadKey`, `HomeProblem`."""
        answer = await self._ask("POST", "/reveal", json.dumps({"project": project, "secret": as_json(secret)}).encode())
        found: Mapping[str, Any] = json.loads(self._unseal(answer))
        return found

    async def keep(self, kind: str, name: str, secret: bytes) -> None:
        """Keep a small secret for other workers, readable by nobody else."""
        target = f"/kept/{kind}/{name}"
        await self._ask("PUT", target, self._secret.seal(secret, target))

    async def kept(self, kind: str, name: str) -> bytes | None:
        answer = await self._ask("GET", f"/kept/{kind}/{name}", missing=True)
        return None if answer.status_code == 404 else self._unseal(answer)

    async def drop(self, kind: str, name: str) -> None:
        await self._ask("DELETE", f"/kept/{kind}/{name}")

    def _unseal(self, answer: httpx.Response) -> bytes:
        try:
            return self._secret.unseal(answer.content, answer.request.headers[SIGNATURE])
        except Unsealable as wrong:
            raise HomeProblem(f"What {self.url} answers cannot be read: {wrong}.") from None

    async def _ask(
        self, method: str, target: str, body: bytes = b"", missing: bool = False, patience: float = PATIENCE_SECONDS, seconds: float = 30
    ) -> httpx.Response:
        """Ask until somebody answers, for at most `patience` seconds, with `seconds` for an answer. Raises `HomeProblem`."""
        deadline = time.monotonic() + patience
        pause = 0.1
        while True:
            moment = str(int(time.time()))
            headers = {TIME: moment, SIGNATURE: self._secret.sign(method, target, moment, body)}
            try:
                answer = await self._client.request(method, f"{PATH}{target}", content=body, headers=headers, timeout=seconds)
                if answer.status_code < 500 or answer.status_code == httpx.codes.INSUFFICIENT_STORAGE:
                    break
                problem = f"it says {answer.status_code} {answer.reason_phrase}"
            except httpx.TransportError as error:
                problem = str(error) or type(error).__name__
            if time.monotonic() >= deadline:
                raise HomeProblem(f"The home of this worker, {self.url} (`worker.home`), cannot be reached: {problem}.")
            await asyncio.sleep(pause)
            pause = min(2 * pause, LONGEST_PAUSE)
        if answer.is_success or answer.status_code == httpx.codes.CONFLICT or (missing and answer.status_code == 404):
            return answer
        if answer.status_code == httpx.codes.UNPROCESSABLE_ENTITY:
            raise BadKey(_why(self.url, answer).rstrip("."))
        raise HomeProblem(_why(self.url, answer))


def _why(url: str, answer: httpx.Response) -> str:
    try:
        return str(answer.json()["error"])
    except (ValueError, KeyError, TypeError):
        return f"{url} (`worker.home`) answers {answer.status_code} {answer.reason_phrase}: is that where the pages of `headgate up` are?"


def secret_file(settings: Settings) -> Path:
    """Where the workers' secret is."""
    secret = settings.worker.secret
    return settings.state / "worker-secret" if secret is None else (settings.directory / secret.expanduser()).resolve()


def open_home(settings: Settings) -> Home | None:
    """None where the state directory is home. Raises `Problem` without a secret."""
    return None if settings.worker.home is None else Home(settings.worker.home, read_secret(secret_file(settings)))
