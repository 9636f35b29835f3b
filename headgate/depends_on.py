"""`Depends-On:` in a commit message.

Law: it counts at the start of any line, in any case, any number of times; what follows on the line is the address.
"""

from __future__ import annotations

import re

_FOOTER = "depends-on:"
_CHANGE_ID = re.compile(r"I[0-9a-f]{40}", re.IGNORECASE)


def addresses_in(message: str) -> tuple[str, ...]:
    """What the message says it depends on, in its order, each once: addresses of changes, or Change-Ids in the way of old.

    The lines are Zuul's `^Depends-On:(.*?)\\s*$`; a regular expression would take the square of the length of a hostile message.
    """
    lines = (line for line in message.split("\n") if line[: len(_FOOTER)].lower() == _FOOTER)
    found = (line[len(_FOOTER) :].strip() for line in lines)
    return tuple(dict.fromkeys(address for address in found if address))


def is_change_id(address: str) -> bool:
    """Is it a Change-Id, which means all open changes that have it on the server of the change that says so?"""
    return _CHANGE_ID.fullmatch(address) is not None
