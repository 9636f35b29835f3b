"""What diskimage-builder's output says: how far a build is, and, when it failed, which element's script it was.

The lines are those of diskimage-builder 3: `TIME | dib-run-parts Running DIRECTORY/PHASE.d/SCRIPT`.
"""

from __future__ import annotations

import re
from collections import deque

PHASES = {
    "root.d": 2,
    "extra-data.d": 20,
    "pre-install.d": 22,
    "install.d": 40,
    "post-install.d": 82,
    "finalise.d": 88,
    "cleanup.d": 93,
}
"""Hooks in their order, and how much of a build is behind when each begins, in percent (measured with a minimal Debian)."""

_RUNNING = re.compile(r"dib-run-parts Running \S*/([a-z-]+\.d)/(\S+)$")
_TIME = re.compile(r"^\d{4}-\d\d-\d\d \d\d:\d\d:\d\d\.\d{3} \| ")
_NOISE = re.compile(r"^(\+|dib-run-parts|INFO |DEBUG |Unmount |sudo |\s*$)")


class BuildLog:
    """Fed line by line. `phase` and `script` are what runs now, empty before the first."""

    def __init__(self) -> None:
        self.phase = ""
        self.script = ""
        self._last: deque[str] = deque(maxlen=3)

    def feed(self, line: str) -> bool:
        """Whether another phase has begun."""
        text = _TIME.sub("", line.rstrip("\n"))
        running = _RUNNING.search(text)
        if running is None:
            if not _NOISE.match(text):
                self._last.append(text.strip())
            return False
        new = running[1] != self.phase and running[1] in PHASES
        self.phase, self.script = running[1], running[2]
        self._last.clear()
        return new

    @property
    def percent(self) -> int:
        return PHASES.get(self.phase, 0)

    def failure(self, code: int) -> str:
        """One sentence for a build that ended with `code`."""
        where = f"{self.phase}/{self.script} failed" if self.script else "diskimage-builder failed"
        said = next((line for line in self._last if re.search(r"error|fail|cannot|unable|not found|no such", line, re.IGNORECASE)), "")
        said = said or (self._last[-1] if self._last else "")
        return f"{where} with exit code {code}" + (f": {said[:300]}" if said else "")
