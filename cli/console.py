"""`headgate console`: a build's console, as it is or as it grows."""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Iterable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Annotated

import typer

from cli.options import CONFIG, ConfigOption
from headgate.problems import Problem
from tasks.installation import read_settings

STAMP = "%Y-%m-%d %H:%M:%S"
UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86400}


def moment(text: str, now: datetime) -> str:
    """`10m` ago, or a time of day or date and time (UTC), as lines begin with it. Raises `Problem`."""
    if ago := re.fullmatch(r"(\d{1,6})([smhd])", text):
        return (now - timedelta(seconds=int(ago[1]) * UNITS[ago[2]])).strftime(STAMP)
    for form in ("%H:%M", "%H:%M:%S", "%Y-%m-%d", "%Y-%m-%d %H:%M", STAMP, "%Y-%m-%dT%H:%M", "%Y-%m-%dT%H:%M:%S"):
        try:
            found = datetime.strptime(text, form)
        except ValueError:
            continue
        return (datetime.combine(now.date(), found.time()) if "%Y" not in form else found).strftime(STAMP)
    raise Problem(f"'{text}' is no time: 90s, 10m, 2h, 1d, 14:30, 2026-01-31 or '2026-01-31 14:30' (UTC).")


def newer(lines: Iterable[bytes], since: str) -> Iterator[bytes]:
    """The lines from the first one on that is not older. Lines are in the order of their times."""
    begun = not since
    for line in lines:
        begun = begun or line[: len(since)].decode(errors="replace") >= since
        if begun:
            yield line


def from_web(url: str, build: str, follow: bool) -> Iterator[bytes]:
    """Lines of the console by HTTP. Raises `Problem`, or `httpx.ConnectError` if nobody listens."""
    import httpx

    parameters = {} if follow else {"follow": "0"}
    with httpx.stream("GET", f"{url}/api/console/{build}", params=parameters, timeout=httpx.Timeout(30, read=None)) as answer:
        if answer.status_code == 404:
            raise Problem(f"There is no build {build} at {url}.")
        if answer.is_error:
            raise Problem(f"{url} answers {answer.status_code} {answer.reason_phrase}.")
        part = b""
        for chunk in answer.iter_bytes():
            *whole, part = (part + chunk).split(b"\n")
            yield from (line + b"\n" for line in whole)
        if part:
            yield part


def from_file(builds: Path, build: str) -> Iterator[bytes]:
    """Lines of the console in the state directory. Raises `Problem`."""
    found = sorted(builds.glob(f"{build}*/console.log")) if re.fullmatch(r"[0-9a-f]+", build) else []
    if len(found) != 1:
        raise Problem(f"There is {'no' if not found else 'more than one'} build {build} in {builds}.")
    with found[0].open("rb") as file:
        yield from file


def console(
    build: Annotated[str, typer.Argument(metavar="BUILD", help="The build's id, or its beginning.")],
    follow: Annotated[bool, typer.Option("--follow", "-f", help="Go on until the build ends.")] = False,
    since: Annotated[str, typer.Option(help="Leave out what is older: 10m, 14:30, 2026-01-31 (UTC).")] = "",
    url: Annotated[str, typer.Option(help="The web pages of a Headgate elsewhere; by default those of --config.")] = "",
    config: ConfigOption = CONFIG,
) -> None:
    """Print a build's console."""
    import httpx

    settings = None if url else read_settings(config)
    web = url.rstrip("/") if settings is None else settings.web_url
    start = moment(since, datetime.now(UTC)) if since else ""
    try:
        show(newer(from_web(web, build, follow), start), follow)
    except httpx.TransportError as problem:
        if settings is None or follow:
            raise Problem(f"{web} does not answer: {problem}.") from problem
        show(newer(from_file(settings.state / "builds", build), start), follow)


def show(lines: Iterable[bytes], at_once: bool) -> None:
    """Print the lines, each at once if wanted. Who stops reading, or presses Ctrl-C, ends it quietly."""
    out = sys.stdout.buffer
    try:
        for line in lines:
            out.write(line)
            if at_once:
                out.flush()
        out.flush()
    except (BrokenPipeError, KeyboardInterrupt):
        os._exit(130)  # Python would say on its way out that it cannot flush


def register(app: typer.Typer) -> None:
    app.command()(console)
