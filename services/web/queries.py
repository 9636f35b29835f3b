"""What a request for builds asks for, checked at the door."""

from __future__ import annotations

from collections.abc import Mapping
from difflib import get_close_matches

from services.web.reader import BuildQuery

TEXTS = ("tenant", "pipeline", "project", "result")
NUMBERS = {"change": 2**31 - 1, "limit": 500, "skip": 1_000_000}
"""The largest value of each."""


class BadQuery(Exception):
    """One sentence: which parameter, what was found, what is allowed."""


def build_query(parameters: Mapping[str, str], tenant: str = "") -> BuildQuery:
    """From a query string in Zuul's words (`job_name` or `job`). Raises `BadQuery`; empty values do not filter."""
    values: dict[str, str] = {}
    numbers: dict[str, int] = {}
    for name, value in parameters.items():
        value = value.strip()
        if name in NUMBERS:
            if value and not (value.isascii() and value.isdigit() and int(value[:12]) <= NUMBERS[name]):
                raise BadQuery(f"{name}: '{value}' is no number between 0 and {NUMBERS[name]}.")
            if value:
                numbers[name] = int(value)
        elif name in ("job", "job_name"):
            values["job"] = value
        elif name in TEXTS:
            values[name] = value
        else:
            known = [*TEXTS, *NUMBERS, "job", "job_name"]
            near = get_close_matches(name, known, n=1)
            raise BadQuery(
                f"'{name}' is no filter" + (f"; did you mean {near[0]}?" if near else f"; there are {', '.join(sorted(known))}.")
            )
    if tenant:
        values["tenant"] = tenant
    return BuildQuery(
        tenant=values.get("tenant", ""),
        pipeline=values.get("pipeline", ""),
        project=values.get("project", ""),
        result=values.get("result", ""),
        job=values.get("job", ""),
        change=numbers.get("change"),
        limit=numbers.get("limit", 50),
        skip=numbers.get("skip", 0),
    )
