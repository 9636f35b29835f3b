"""Timers fire when their line says, spread by their jitter, and once for whoever was away."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from headgate.changes import Event
from headgate.configuration import Layout
from headgate.refs import NOWHERE, change_of_ref, is_deleted
from headgate.timers import BadTimer, Timer, concerns, event_of, firings, longest_jitter, next_firing, next_moment, timers_of
from headgate.triggers import fires, meets_requirements
from tests.gating.story import HOST, setting_of

MONDAY = datetime(2026, 11, 23, 9, 30, tzinfo=UTC)
CONFIG = """
- pipeline:
    name: nightly
    manager: independent
    trigger: {timer: [{time: "0 2 * * *"}, {time: "0 3 * * 0 30 600"}]}
- pipeline:
    name: post
    manager: independent
    trigger: {gerrit: {event: ref-updated, ref: refs/heads/.*}}
- pipeline:
    name: gone
    manager: independent
    require: {gerrit: {open: true}}
    trigger: {gerrit: {event: ref-updated, ignore-deletes: false}}
- job: {name: base, parent: null, run: playbooks/run.yaml}
- project: {name: nova, nightly: {jobs: [base]}, post: {jobs: [base]}}
- project: {name: neutron, nightly: {jobs: [base]}}
"""


@pytest.fixture(scope="module")
def layout() -> Layout:
    return setting_of(CONFIG, ["nova", "neutron", "docs"]).layouts["t"]


def timer(line: str, jitter: float = 0.0) -> Timer:
    return Timer("t", "nightly", f"{HOST}/nova", "master", line, jitter)


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("0 2 * * *", datetime(2026, 11, 24, 2, 0, tzinfo=UTC)),
        ("*/15 * * * *", datetime(2026, 11, 23, 9, 45, tzinfo=UTC)),
        ("0 12 * * 0", datetime(2026, 11, 23, 12, 0, tzinfo=UTC)),
        ("0 12 * * sun", datetime(2026, 11, 29, 12, 0, tzinfo=UTC)),
        ("* * * * * */10", MONDAY + timedelta(seconds=10)),
    ],
)
def test_line_says_when(line: str, expected: datetime) -> None:
    assert next_firing(timer(line), MONDAY) == expected


def test_jitter_comes_after_the_line_and_skips_no_firing() -> None:
    late = timer("0 2 * * * 0 600", 300.0)
    first = next_firing(late, datetime(2026, 11, 23, 2, 1, tzinfo=UTC))
    assert first == datetime(2026, 11, 23, 2, 5, tzinfo=UTC)
    assert next_firing(late, first) == datetime(2026, 11, 24, 2, 5, tzinfo=UTC)


def test_every_branch_that_takes_part_has_timers_at_its_own_moment(layout: Layout) -> None:
    timers = timers_of(layout)
    assert [(each.project, each.line) for each in timers] == [
        (f"{HOST}/{name}", line) for line in ("0 2 * * *", "0 3 * * 0 30 600") for name in ("nova", "neutron")
    ]
    spread = [each.jitter for each in timers if each.line.endswith("600")]
    assert len(set(spread)) == 2 and all(0 < each < 600 for each in spread)
    assert timers == timers_of(layout)


def test_who_was_away_catches_up_once(layout: Layout) -> None:
    found = firings(dict.fromkeys(timers_of(layout), MONDAY - timedelta(days=30)), MONDAY)
    assert len(found) == 4 and [each.at for each in found] == sorted(each.at for each in found)
    assert firings(dict.fromkeys(timers_of(layout), MONDAY), MONDAY) == []
    assert next_moment(timers_of(layout), MONDAY) == datetime(2026, 11, 24, 2, 0, tzinfo=UTC)


@pytest.mark.parametrize("line", ["* * * *", "61 * * * *", "* * * * * 0 soon", "* * * * * 0 1 1"])
def test_line_that_is_no_time_is_told(line: str) -> None:
    with pytest.raises(BadTimer, match="^" + '"'):
        longest_jitter(line)


def test_firing_enters_its_pipeline_only(layout: Layout) -> None:
    firing = firings(dict.fromkeys(timers_of(layout), MONDAY - timedelta(days=1)), MONDAY)[0]
    event = event_of(firing, "nova", "a" * 40)
    change = change_of_ref(event)
    entered = [name for name, pipeline in layout.pipelines.items() if fires(pipeline, event, change, MONDAY)]
    assert entered == ["nightly"] and change.is_ref and change.commit == "" and str(change) == "refs/heads/master"


def test_firing_is_heard_in_its_own_tenant_only(layout: Layout) -> None:
    event = event_of(firings(dict.fromkeys(timers_of(layout), MONDAY - timedelta(days=1)), MONDAY)[0], "nova")
    assert concerns(event, "t") and not concerns(event, "tt") and not concerns(event, "other")
    assert concerns(moved("refs/heads/master", "b" * 40), "other")


def moved(ref: str, new: str) -> Event:
    branch = ref.removeprefix("refs/heads/") if ref.startswith("refs/heads/") else ""
    return Event("1", "gerrit", "ref-updated", MONDAY, "nova", branch, ref, old_commit="a" * 40, new_commit=new)


def test_one_ref_at_one_commit_is_one_thing() -> None:
    keys = {change_of_ref(moved("refs/heads/master", commit)).key for commit in ("b" * 40, "b" * 40, "c" * 40)}
    assert len(keys) == 2
    assert change_of_ref(moved("refs/tags/1.0", "b" * 40)).branch == ""


@pytest.mark.parametrize(("ref", "new", "expected"), [
    ("refs/heads/master", "b" * 40, ["post", "gone"]),
    ("refs/tags/1.0", "b" * 40, ["gone"]),
    ("refs/heads/master", NOWHERE, ["gone"]),
])  # fmt: skip
def test_moved_made_and_deleted_refs_trigger_what_asks_for_them(layout: Layout, ref: str, new: str, expected: list[str]) -> None:
    event = moved(ref, new)
    change = change_of_ref(event)
    assert [name for name, pipeline in layout.pipelines.items() if fires(pipeline, event, change, MONDAY)] == expected
    assert is_deleted(change) == (new == NOWHERE)
    assert not meets_requirements(layout.pipelines["gone"], change, MONDAY), "a ref is no open change"
