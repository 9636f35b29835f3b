"""Gerrit's REST interface by httpx: one kept-alive client, answers as JSON, and what went wrong as one of three errors."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Any

import httpx

from tasks.connection_settings import GerritSettings
from tasks.connections import ConnectionProblem

TIMEOUT = httpx.Timeout(30, connect=10)
KEPT = 25.0
"""Seconds an idle connection is kept; Gerrit closes it after 30 (httpd.idleTimeout)."""


class RestRefused(Exception):
    """Gerrit understood and said no (4xx): its own words, and the status."""

    def __init__(self, status: int, words: str) -> None:
        super().__init__(words)
        self.status = status


class GerritRest:
    """Paths are below `/a/`. Every call raises `LookupError` for 404, `RestRefused` for another 4xx, and `ConnectionProblem`
    for what is wrong with the server, the network or the password."""

    def __init__(self, settings: GerritSettings) -> None:
        self._settings = settings
        self.now: datetime | None = None
        """The server's clock at its last answer, to the second."""
        self._client = httpx.AsyncClient(
            base_url=f"{settings.url}/a/",
            auth=httpx.BasicAuth(settings.user, settings.password.get_secret_value()),
            verify=settings.verify_ssl,
            timeout=TIMEOUT,
            limits=httpx.Limits(max_keepalive_connections=8, keepalive_expiry=KEPT),
            headers={"Accept": "application/json"},
        )

    async def close(self) -> None:
        await self._client.aclose()

    async def get(self, path: str, **parameters: str | int | Sequence[str]) -> Any:
        return await self._call("GET", path, parameters, None)

    async def post(self, path: str, body: Mapping[str, Any]) -> Any:
        return await self._call("POST", path, {}, body)

    async def _call(self, method: str, path: str, parameters: Mapping[str, Any], body: Mapping[str, Any] | None) -> Any:
        settings = self._settings
        where = f"connection {settings.name}: Gerrit at {settings.url}"
        try:
            answer = await self._client.request(method, path, params=parameters, json=body)
        except httpx.TransportError as problem:
            raise ConnectionProblem(
                f"{where} cannot be reached (is `baseurl` right?): {str(problem) or type(problem).__name__}"
            ) from problem
        words = answer.text.strip()
        if answer.status_code == 401:
            raise ConnectionProblem(
                f"{where} does not take the password of {settings.user}: "
                f"`password` must be the one generated at {settings.url}/settings/#HTTPCredentials"
            )
        if answer.is_redirect:
            raise ConnectionProblem(f"{where} sends elsewhere: set `baseurl` to what {answer.headers.get('location')} begins with")
        if answer.status_code == 404 and "<html" not in words.lower():
            raise LookupError(f"connection {settings.name}: {words or f'Not found: {path}'}")
        if answer.is_server_error:
            raise ConnectionProblem(f"{where} is in trouble: {answer.status_code} {words[:200]}")
        if answer.is_client_error and "<html" not in words.lower():
            raise RestRefused(answer.status_code, words)
        if "date" in answer.headers:
            self.now = parsedate_to_datetime(answer.headers["date"]).astimezone(UTC)
        if answer.status_code == 204:
            return None
        if not words.startswith(")]}'"):
            raise ConnectionProblem(f"{where} does not answer as a Gerrit does (status {answer.status_code}): is `baseurl` right?")
        return json.loads(words[4:])
