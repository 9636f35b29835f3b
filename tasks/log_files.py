"""What a build leaves in its `logs/`: found, described, cleaned of secrets, made ready to be put elsewhere.

A job wrote them, so names and kinds may be anything: only regular files count and no link is followed. By now its processes are gone.
"""

from __future__ import annotations

import contextlib
import gzip
import html
import json
import mimetypes
import os
import stat
import zlib
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote

from headgate.tested import SuiteResult, junit, subunit_v2, together
from tasks.ansible.streaming import HIDDEN

MOST_FILES = 20_000
LARGEST_REPORT = 64 << 20
MANIFEST, INDEX = "zuul-manifest.json", "index.html"
CHUNK = 1 << 20


@dataclass(frozen=True, slots=True)
class LogFile:
    """`path` is relative, with slashes; what of it is no UTF-8 is written `\\xNN`. `content_type` and `encoding` are what a browser is
    told."""

    path: str
    file: Path
    size: int
    changed: float
    content_type: str
    encoding: str = ""


def log_files(logs: Path) -> list[LogFile]:
    """The regular files below `logs`, sorted by path; the first 20,000."""
    found = []
    for directory, names, files in os.walk(logs):
        names.sort()
        for name in sorted(files):
            file = Path(directory, name)
            try:
                facts = file.lstat()
            except OSError:
                continue
            if file.is_symlink() or not file.is_file():
                continue
            content_type, encoding = _kind(file)
            path = os.fsencode(file.relative_to(logs)).decode(errors="backslashreplace")
            found.append(LogFile(path, file, facts.st_size, facts.st_mtime, content_type, encoding))
            if len(found) >= MOST_FILES:
                return sorted(found, key=lambda each: each.path)
    return sorted(found, key=lambda each: each.path)


def _kind(file: Path) -> tuple[str, str]:
    guessed, encoding = mimetypes.guess_type(file.name)
    if encoding == "gzip" and guessed != "application/x-tar":
        return guessed or "text/plain", "gzip"
    if guessed in ("application/json", "application/xml") or (guessed or "").startswith(("text/", "image/")):
        return guessed or "text/plain", ""
    return ("application/octet-stream" if (guessed and encoding is None) or b"\0" in _head(file) else "text/plain"), ""


def _head(file: Path) -> bytes:
    with opened(file) as source:
        head: bytes = source.read(1024)
        return head


def opened(file: Path) -> Any:
    """The file for reading, if it is not a link by now. Raises `OSError`."""
    return open(os.open(file, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC), "rb")


def make_readable(logs: Path) -> None:
    """Let us read what a job that runs as our own user left unreadable, by mistake or to have it overlooked. No link is followed."""
    logs.chmod(logs.stat().st_mode | stat.S_IRWXU)
    for directory, names, files in os.walk(logs):  # from above: what was opened is gone into
        for name in (*names, *files):
            with contextlib.suppress(OSError):
                path = Path(directory, name)
                mode = path.lstat().st_mode
                if stat.S_ISDIR(mode) or stat.S_ISREG(mode):
                    path.chmod(mode | (stat.S_IRWXU if stat.S_ISDIR(mode) else stat.S_IRUSR | stat.S_IWUSR))


def clean(logs: Path, secrets: Collection[str]) -> list[str]:
    """Blot every one of `secrets` out of every file; the paths of those that had any. A file that is packed is not looked into."""
    return [each.path for each in log_files(logs) if clean_file(each.file, secrets)]


def clean_file(file: Path, secrets: Collection[str]) -> bool:
    """The same for one file; whether it had any. A file that had some and cannot be written again is deleted."""
    values = sorted((secret.encode() for secret in secrets if secret), key=len, reverse=True)
    if not values or not _contains(file, values):
        return False
    try:
        _replace(file, values)
    except OSError:
        file.unlink()
    return True


def _pieces(file: Path, overlap: int) -> Iterator[bytes]:
    with opened(file) as source:
        kept = b""
        while chunk := source.read(CHUNK):
            yield kept + chunk
            kept = (kept + chunk)[-overlap:] if overlap else b""


def _contains(file: Path, values: list[bytes]) -> bool:
    try:
        return any(value in piece for piece in _pieces(file, len(values[0]) - 1) for value in values)
    except OSError:
        return False


def _replace(file: Path, values: list[bytes]) -> None:
    """Line by line, as secrets are hidden in the console."""
    temporary = file.with_name(f".{file.name}.cleaned")
    try:
        with opened(file) as source, temporary.open("xb") as target:
            for line in source:
                for value in values:
                    line = line.replace(value, HIDDEN)
                target.write(line)
        temporary.replace(file)
    finally:
        temporary.unlink(missing_ok=True)


def suite_result(logs: Path) -> SuiteResult | None:
    """What the reports of tests among the logs say, None if there are none."""
    found = []
    for each in log_files(logs):
        name = each.path.removesuffix(".gz")
        read = junit if name.endswith(".xml") else subunit_v2 if name.endswith(".subunit") else None
        if read is not None and each.size <= LARGEST_REPORT and (report := read(_unpacked(each))) is not None:
            found.append(report)
    return together(found) if found else None


def _unpacked(each: LogFile) -> bytes:
    try:
        with opened(each.file) as source:
            if each.path.endswith(".gz"):
                source = gzip.GzipFile(fileobj=source)
            data: bytes = source.read(LARGEST_REPORT)
            return data
    except (OSError, EOFError, zlib.error):
        return b""


def manifest(found: list[LogFile]) -> bytes:
    """All files as a tree, in the shape of Zuul's manifest, by which its web pages browse logs."""
    root: dict[str, Any] = {"tree": []}
    directories: dict[str, list[Any]] = {"": root["tree"]}
    for each in found:
        parent = ""
        for name in each.path.split("/")[:-1]:
            path = f"{parent}/{name}".strip("/")
            if path not in directories:
                directories[path] = []
                kind = {"mimetype": "application/directory", "encoding": None}
                directories[parent].append({"name": name, **kind, "children": directories[path]})
            parent = path
        facts = {"mimetype": each.content_type, "encoding": each.encoding or None, "last_modified": int(each.changed), "size": each.size}
        directories[parent].append({"name": each.path.rpartition("/")[2], **facts})
    return json.dumps(root).encode()


def index(found: list[LogFile], title: str, left_out: int = 0) -> bytes:
    """A page with a link to every file, since object stores list nothing. So many more are `left_out` of the store."""
    lines = "".join(f'<li><a href="{quote(each.path)}">{html.escape(each.path)}</a> {each.size:,} bytes</li>\n' for each in found)
    name = html.escape(title)
    more = f"<p>{left_out} more have names too long for this store.\n" if left_out else ""
    return f'<!doctype html><meta charset="utf-8"><title>{name}</title><h1>{name}</h1>\n<ul>\n{lines}</ul>\n{more}'.encode()
