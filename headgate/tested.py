"""What the tests of a job say: JUnit's XML and subunit's streams, as numbers and the failures with their reasons.

A job wrote these files, so anything may be in them: entities are refused, texts are cut, and what cannot be read is not there.
"""

from __future__ import annotations

import io
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any
from xml.etree.ElementTree import Element, ParseError

import subunit
from defusedxml import DefusedXmlException
from defusedxml.ElementTree import fromstring
from testtools import StreamToDict

MOST_FAILURES = 100
LONGEST_NAME, LONGEST_REASON = 300, 2000


@dataclass(frozen=True, slots=True)
class FailedTest:
    name: str
    reason: str = ""


@dataclass(frozen=True, slots=True)
class SuiteResult:
    """`failures` are at most 100 of the `failed` ones."""

    total: int = 0
    failed: int = 0
    skipped: int = 0
    seconds: float = 0.0
    failures: tuple[FailedTest, ...] = ()


def together(found: Iterable[SuiteResult]) -> SuiteResult:
    """Several files' as one."""
    sum_ = SuiteResult()
    for each in found:
        failures = (*sum_.failures, *each.failures)[:MOST_FAILURES]
        sum_ = SuiteResult(
            sum_.total + each.total, sum_.failed + each.failed, sum_.skipped + each.skipped, sum_.seconds + each.seconds, failures
        )
    return sum_


def junit(data: bytes) -> SuiteResult | None:
    """A file of JUnit's, None if it is none."""
    try:
        root = fromstring(data)
    except (ParseError, DefusedXmlException, ValueError, LookupError):
        return None
    if root.tag not in ("testsuites", "testsuite"):
        return None
    return together(_case(case) for case in root.iter("testcase"))


def _case(case: Element) -> SuiteResult:
    name = ".".join(part for part in (case.get("classname"), case.get("name")) if part)
    try:
        seconds = float(case.get("time") or 0)
    except ValueError:
        seconds = 0.0
    bad = next((child for child in case if child.tag in ("failure", "error")), None)
    if bad is not None:
        reason = "\n".join(text for text in (bad.get("message"), bad.text) if text)
        return SuiteResult(1, 1, 0, seconds, (FailedTest(name[:LONGEST_NAME], reason[:LONGEST_REASON]),))
    return SuiteResult(1, 0, int(any(child.tag == "skipped" for child in case)), seconds)


def subunit_v2(data: bytes) -> SuiteResult | None:
    """A stream of subunit's second version, None if there is no test in it."""
    found: list[SuiteResult] = []

    def ended(test: Any) -> None:
        began, end = test["timestamps"]
        seconds = (end - began).total_seconds() if began and end else 0.0
        if test["status"] in ("fail", "unknown"):
            reason = "\n".join(content.as_text() for content in test["details"].values() if content.content_type.type == "text")
            found.append(SuiteResult(1, 1, 0, seconds, (FailedTest(test["id"][:LONGEST_NAME], reason[:LONGEST_REASON]),)))
        elif test["status"] != "exists":
            found.append(SuiteResult(1, 0, int(test["status"] == "skip"), seconds))

    result = StreamToDict(ended)
    result.startTestRun()
    try:
        subunit.ByteStreamToStreamResult(io.BytesIO(data), non_subunit_name="other").run(result)
        result.stopTestRun()
    except (ValueError, UnicodeError, KeyError):
        return None
    return together(found) if found else None
