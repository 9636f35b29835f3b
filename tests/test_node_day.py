"""Nobody is blocked by a large request and nobody starves: over a generated day of 20,000 requests."""

from __future__ import annotations

from collections import defaultdict
from datetime import timedelta
from functools import cache

import pytest

from headgate.node_allocation import PATIENCE
from headgate.nodes import PRECEDENCES
from tests.node_day import Day, Served, generate

pytestmark = pytest.mark.timeout(900)  # fifteen seconds of processor time in one piece, which a busy machine stretches


@cache
def played() -> Day:
    day = Day(generate())
    day.play()
    assert not day.refused
    return day


def served() -> list[Served]:
    return played().served


def waits(*, nodes: int | None = None, precedence: str | None = None) -> list[timedelta]:
    return sorted(
        one.waited
        for one in served()
        if (nodes is None or len(one.asked.request.labels) == nodes)
        and (precedence is None or one.asked.request.precedence == PRECEDENCES[precedence])
    )


def test_everybody_is_served_once() -> None:
    assert len(served()) == 20_000
    assert len({one.asked.request.id for one in served()}) == 20_000


def test_the_day_is_a_busy_one() -> None:
    """Otherwise the rest proves nothing: at its worst many wait for long."""
    assert waits()[-1000] > timedelta(minutes=10)


def test_a_large_request_is_not_starved_by_small_ones() -> None:
    """Once its patience ends room is collected for it at one provider: others from behind it go past it at the other one only.

    Were no room kept, 225 nodes would go past one of them, and it would wait for 72 minutes."""
    assert len(played().overtaken) > 30, "some must have lost their patience, or nothing is proved"
    assert max(played().overtaken.values()) < 100
    assert waits(nodes=10, precedence="normal")[-1] < timedelta(minutes=45)
    assert waits(nodes=10, precedence="high")[-1] < 2 * PATIENCE


def test_small_requests_go_past_a_large_one_that_waits() -> None:
    """In the same pass, from behind it in the order."""
    assert played().went_past > 500


def test_the_gate_waits_less_than_others() -> None:
    high, normal = waits(precedence="high"), waits(precedence="normal")
    assert high[len(high) * 99 // 100] < normal[len(normal) * 99 // 100]


def test_a_busy_project_does_not_keep_others_waiting() -> None:
    """A project that asks seldom waits no longer, at the median of what had to wait, than the one that asks most."""
    by_project = defaultdict(list)
    for one in served():
        if one.asked.request.precedence == PRECEDENCES["normal"]:
            by_project[one.asked.project].append(one.waited)
    busiest = max(by_project, key=lambda name: len(by_project[name]))
    seldom = sorted(wait for name, values in by_project.items() if len(values) < 200 for wait in values)
    busy = sorted(by_project[busiest])
    assert seldom[len(seldom) * 95 // 100] < busy[len(busy) * 95 // 100]


def test_a_tenant_that_is_bounded_waits_for_itself_only() -> None:
    """Its limit makes it wait (that it is kept is checked at every pass), not those of its labels who came after."""
    normal = [one for one in served() if one.asked.request.precedence == PRECEDENCES["normal"]]
    late = {
        tenant: sum(one.waited > timedelta(hours=1) for one in normal if one.asked.request.tenant == tenant)
        for tenant in ("bounded", "free")
    }
    share = {tenant: count / sum(one.asked.request.tenant == tenant for one in normal) for tenant, count in late.items()}
    assert share["bounded"] > 2 * share["free"]
