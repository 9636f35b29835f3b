"""What playbooks returned by `zuul_return`, as it lies on the disk."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

LARGEST = 10 << 20
SECTIONS = ("data", "secret_data")


class NotReadable(Exception):
    """There is something by that name, but not what `zuul_return` writes."""


def read_returned(path: Path) -> dict[str, dict[str, Any]]:
    """`data` and `secret_data`, both empty if nothing was returned. What may be hostile wrote it: any content, but not any size.
    Raises `NotReadable`."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
        with open(descriptor, "rb") as file:
            found = json.loads(file.read(LARGEST))
    except FileNotFoundError:
        return {name: {} for name in SECTIONS}
    except (OSError, ValueError, RecursionError) as problem:
        raise NotReadable(str(path)) from problem
    sections = found if isinstance(found, dict) else {}
    return {name: section if isinstance(section := sections.get(name), dict) else {} for name in SECTIONS}
