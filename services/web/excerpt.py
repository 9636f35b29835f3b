"""The part of a console that says why a build failed: its first failed task, as a person would look for it."""

from __future__ import annotations

import re
from collections import deque
from dataclasses import dataclass
from pathlib import Path

LONGEST = 64 * 1024 * 1024
"""Bytes searched; a longer console has its failure looked for by eye."""
BEFORE, AFTER, WIDEST = 20, 20, 500

_BANNER = re.compile(rb"^[\d-]+ [\d:.]+ \| (?:(?:PLAY|TASK|HANDLER)(?: RECAP| \[)|(?:PRE-RUN|RUN|POST-RUN|CLEANUP) (?:begins|ends):)")
_TIME = re.compile(rb"^[\d-]+ [\d:.]+ \| ")
_FAILED = re.compile(rb"^[\d-]+ [\d:.]+ \| [^|]+ \| (?:FAILED|UNREACHABLE)(?:: | \(the result is hidden)")


@dataclass(frozen=True, slots=True)
class Line:
    """`number` counts from 1, as in links into the console; `text` is without the time."""

    number: int
    text: str
    failed: bool = False


def failure(console: Path) -> tuple[Line, ...]:
    """The first failed task: its banner, the last lines of its output, its result. Nothing when there is none."""
    before: deque[Line] = deque(maxlen=BEFORE)
    banner: Line | None = None
    found: list[Line] = []
    read = 0
    try:
        with console.open("rb") as file:
            for number, raw in enumerate(file, 1):
                read += len(raw)
                if read > LONGEST or len(found) > AFTER:
                    break
                is_banner = _BANNER.match(raw)
                if found and is_banner:
                    break
                line = Line(number, _TIME.sub(b"", raw)[:WIDEST].decode(errors="replace").rstrip("\r\n"), failed=bool(_FAILED.match(raw)))
                if found:
                    found.append(line)
                elif line.failed:
                    found = [line]
                elif is_banner:
                    banner = line
                    before.clear()
                else:
                    before.append(line)
    except FileNotFoundError:
        return ()
    return (*((banner,) if banner and found else ()), *(before if found else ()), *found)
