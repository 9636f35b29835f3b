"""One region of one cloud through openstacksdk: in threads, within a rate, with errors that are sentences, every request counted."""

from __future__ import annotations

import asyncio
import re
import time
from collections import Counter
from collections.abc import Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from threading import Lock
from typing import Any, Generic, TypeVar

import requests
from keystoneauth1.exceptions import ClientException
from openstack.config import OpenStackConfig
from openstack.connection import Connection
from openstack.exceptions import ConfigException, HttpException, SDKException

from providers.openstack_settings import OpenStackSettings

T = TypeVar("T")
THREADS = 8
ATTEMPTS = 5
LONGEST_PAUSE = 60.0
NOT_DONE = frozenset({429})
"""Statuses that say that nothing was done, so that any request may be repeated."""
PASSING = frozenset({429, 500, 502, 503, 504})
"""Statuses that may be gone the next time."""
_QUOTA = re.compile(
    r"quota exceeded|exceed\w* (?:the |for )?quota|maximum number of \w+ .*exceeded|exceeds allowed .* quota", re.IGNORECASE
)


class CloudError(Exception):
    """The cloud did not do what it was asked; one sentence. `status` is HTTP's, 0 when there was no answer that could be read."""

    def __init__(self, message: str, status: int = 0, pause: float = 0) -> None:
        super().__init__(message)
        self.status, self.pause = status, pause

    @property
    def quota(self) -> bool:
        """There is no room for us now. There is no class or code for it: 403 or 409 (Neutron), and a sentence."""
        return self.status in (0, 403, 409, 413) and is_quota(str(self))

    @property
    def passing(self) -> bool:
        return self.status == 0 or self.status in PASSING


def is_quota(message: str) -> bool:
    return bool(_QUOTA.search(message))


class Cloud:
    """`calls` counts HTTP requests by method and service, Keystone's and discovery's included."""

    def __init__(self, settings: OpenStackSettings) -> None:
        self._settings = settings
        self._threads = ThreadPoolExecutor(THREADS, thread_name_prefix=f"openstack-{settings.name}")
        self._connection: Connection | None = None
        self._lock = Lock()
        self._turn = 0.0
        self.calls: Counter[str] = Counter()

    async def ask(self, what: str, action: Callable[[Connection], T], repeatable: bool = True) -> T:
        """The action's result; `what` it does is for messages. What cannot be repeated (it may have been done when the answer is lost) is
        tried again only where the cloud says that it refused. Raises `CloudError`."""
        pause = 0.5
        for attempt in range(1, ATTEMPTS + 1):
            await self._wait_for_turn()
            try:
                return await asyncio.get_running_loop().run_in_executor(self._threads, self._do, what, action)
            except CloudError as problem:
                again = problem.passing if repeatable else problem.status in NOT_DONE
                if not again or attempt == ATTEMPTS:
                    raise
                await asyncio.sleep(min(problem.pause or pause, LONGEST_PAUSE))
                pause *= 2
        raise AssertionError("the loop returns or raises")

    async def _wait_for_turn(self) -> None:
        if self._settings.rate:
            now = time.monotonic()
            self._turn = max(now, self._turn + 1 / self._settings.rate)
            await asyncio.sleep(self._turn - now)

    def _do(self, what: str, action: Callable[[Connection], T]) -> T:
        where = f"{self._settings.cloud} {self._settings.region_name}".strip()
        try:
            return action(self._connected())
        except ConfigException as problem:
            raise CloudError(f"{where}: clouds.yaml does not describe it: {_first_line(problem)}", 400) from problem
        except HttpException as problem:
            pause = _seconds(problem.response.headers.get("Retry-After", "")) if problem.response is not None else 0
            said = f"{problem.details or problem.message} ({problem.status_code})" if problem.status_code else _first_line(problem)
            raise CloudError(f"{where} refused to {what}: {said}", problem.status_code or 0, pause) from problem
        except (SDKException, ClientException, requests.RequestException, ValueError) as problem:
            status = getattr(problem, "http_status", 0) or 0
            raise CloudError(f"{where} could not be asked to {what}: {_first_line(problem)}", status) from problem

    def _connected(self) -> Connection:
        """Made and authorized by the first who needs it: sharing it between threads is fine then."""
        with self._lock:
            if self._connection is None:
                files = [str(self._settings.clouds_file)] if self._settings.clouds_file else None
                config = OpenStackConfig(config_files=files, load_envvars=files is None)
                chosen: dict[str, Any] = {"region_name": self._settings.region_name} if self._settings.region_name else {}
                region = config.get_one(cloud=self._settings.cloud, api_timeout=self._settings.api_timeout, **chosen)
                connection = Connection(config=region, app_name="headgate")
                connection.session.session.hooks["response"].append(self._count)
                connection.authorize()
                self._connection = connection
            return self._connection

    def _count(self, response: requests.Response, *_: object, **__: object) -> None:
        self.calls[f"{response.request.method} {response.request.path_url.partition('?')[0]}"] += 1

    def close(self) -> None:
        with self._lock:
            if self._connection is not None:
                self._connection.close()
                self._connection = None


class Listing(Generic[T]):
    """One answer for everybody who waits: asked for at most once per `interval`, and only while somebody waits."""

    def __init__(self, ask: Callable[[], Awaitable[T]], interval: float) -> None:
        self._ask, self._interval = ask, interval
        self._began = -interval
        self._next: asyncio.Task[T] | None = None

    async def fresh(self) -> T:
        """An answer that was asked for after this call. Raises what asking raises."""
        if self._next is None:
            self._next = asyncio.create_task(self._query())
        return await asyncio.shield(self._next)

    async def _query(self) -> T:
        await asyncio.sleep(max(0.0, self._began + self._interval - time.monotonic()))
        self._began = time.monotonic()
        self._next = None
        return await self._ask()


def _first_line(problem: BaseException) -> str:
    return (str(problem).strip().splitlines() or [type(problem).__name__])[0]


def _seconds(text: str) -> float:
    return float(text) if text.replace(".", "", 1).isdigit() else 0.0
