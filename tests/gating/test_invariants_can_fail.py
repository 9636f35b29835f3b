"""Each of what always holds (`test_invariants`) is seen to fail when the rule that makes it hold is broken."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import HealthCheck, Phase, settings
from hypothesis.stateful import run_state_machine_as_test

from headgate.gating import enqueue, intake, leaving, passes, progress
from headgate.gating.needs import Missing
from headgate.gating.state import Item
from headgate.gating.work import Work
from tests.gating.test_invariants import Gate

pytestmark = pytest.mark.slow
Break = Callable[[pytest.MonkeyPatch], None]


def nothing_is_tested_anew(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(passes, "reset_if_needed", lambda work, item, nearest: False)
    for module in (passes, intake):
        patch.setattr(module, "stop_behind", lambda work, item: None)


def every_look_at_an_item_leaves_a_mark(patch: pytest.MonkeyPatch) -> None:
    finish = passes._finish

    def marked(work: Work, item: Item, *others: Any) -> Any:
        return finish(work, work.change(item.id, quiet=not item.quiet), *others)

    patch.setattr(passes, "_finish", marked)


def result_heard_twice_counts_twice(patch: pytest.MonkeyPatch) -> None:
    def counted(work: Work, ended: Any) -> None:
        progress.end_build(work, ended)
        work.failures += 1

    patch.setattr(intake, "end_build", counted)


def nobody_looks_what_a_change_needs(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(enqueue, "missing_needs", lambda *_: Missing([]))
    patch.setattr(passes, "missing_needs", lambda *_: Missing([]))


def semaphores_are_kept(patch: pytest.MonkeyPatch) -> None:
    for module in (leaving, progress):
        patch.setattr(module, "give_back", lambda *_: None)


def ended_items_are_not_reported(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(passes, "_report", lambda work, item: False)


@pytest.mark.parametrize(
    ("broken", "complaint"),
    [
        (nothing_is_tested_anew, "merged untested"),
        (every_look_at_an_item_leaves_a_mark, "an empty pass"),
        (result_heard_twice_counts_twice, "a result heard twice"),
        (nobody_looks_what_a_change_needs, "ahead of what it needs"),
        (semaphores_are_kept, "semaphore"),
        (ended_items_are_not_reported, "something stays"),
    ],
)
def test_broken_rule_is_noticed(broken: Break, complaint: str, monkeypatch: pytest.MonkeyPatch) -> None:
    broken(monkeypatch)
    with pytest.raises(AssertionError, match=complaint):
        run_state_machine_as_test(  # type: ignore[no-untyped-call]  # hypothesis has no types for it
            Gate,
            settings=settings(
                max_examples=500,
                stateful_step_count=50,
                deadline=None,
                derandomize=True,
                database=None,
                phases=(Phase.generate,),
                suppress_health_check=list(HealthCheck),
            ),
        )
