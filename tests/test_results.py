"""What a build plays next and what result it has: one table entry is one rule of Zuul's."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from headgate.jobs import FrozenJob, Playbook
from headgate.results import Outcome, Phase, Played, Said, Verdict, following, is_watched, seconds_left, succeeded, verdict


def playbook(name: str, level: int = 0, cleanup: bool = False) -> Playbook:
    return Playbook("review.example.org/config", "main", f"{name}.yaml", True, nesting_level=level, cleanup=cleanup)


BASE_PRE, CHILD_PRE = playbook("base-pre", 0), playbook("child-pre", 1)
RUN, SECOND_RUN = playbook("run", 1), playbook("run-2", 1)
CHILD_POST, BASE_POST, CLEANUP = playbook("child-post", 1), playbook("base-post", 0), playbook("cleanup", 0, cleanup=True)
JOB = FrozenJob("job", pre_run=(BASE_PRE, CHILD_PRE), run=(RUN, SECOND_RUN), post_run=(CHILD_POST, BASE_POST), cleanup_run=(CLEANUP,))
PHASES = {
    BASE_PRE: Phase.PRE,
    CHILD_PRE: Phase.PRE,
    RUN: Phase.RUN,
    SECOND_RUN: Phase.RUN,
    CHILD_POST: Phase.POST,
    BASE_POST: Phase.POST,
    CLEANUP: Phase.CLEANUP,
}


def history(bad: dict[Playbook, Outcome], job: FrozenJob = JOB, cancelled_after: int | None = None) -> list[Played]:
    """Play the job to its end; the playbooks in `bad` come to what they say there."""
    played: list[Played] = []
    while (step := following(job, played, cancelled=cancelled_after is not None and len(played) >= cancelled_after)) is not None:
        phase, what = step
        played.append(Played(phase, what, bad.get(what, Outcome.OK), 10.0))
    return played


def names(played: Sequence[Played]) -> list[str]:
    return [one.playbook.path.removesuffix(".yaml") for one in played]


def test_parents_come_first_before_the_run_and_last_after_it() -> None:
    played = history({})
    assert names(played) == ["base-pre", "child-pre", "run", "run-2", "child-post", "base-post", "cleanup"]
    assert [one.phase for one in played] == [PHASES[one.playbook] for one in played]


def test_failed_pre_run_ends_it_and_only_levels_that_began_have_their_post_run() -> None:
    assert names(history({BASE_PRE: Outcome.FAILED})) == ["base-pre", "base-post", "cleanup"]
    assert names(history({CHILD_PRE: Outcome.FAILED})) == ["base-pre", "child-pre", "child-post", "base-post", "cleanup"]


def test_failed_run_skips_the_next_run_but_no_post_run() -> None:
    assert names(history({RUN: Outcome.FAILED})) == ["base-pre", "child-pre", "run", "child-post", "base-post", "cleanup"]


def test_failed_post_run_does_not_stop_the_others() -> None:
    assert names(history({CHILD_POST: Outcome.FAILED})) == names(history({}))


@pytest.mark.parametrize("after", [0, 1, 3, 5])
def test_a_cancelled_build_goes_on_with_cleanup_only(after: int) -> None:
    assert names(history({}, cancelled_after=after))[after:] == ["cleanup"]


@pytest.mark.parametrize(
    ("bad", "result"),
    [
        ({}, "SUCCESS"),
        ({RUN: Outcome.FAILED}, "FAILURE"),
        ({SECOND_RUN: Outcome.FAILED}, "FAILURE"),
        ({RUN: Outcome.TIMED_OUT}, "TIMED_OUT"),
        ({CHILD_POST: Outcome.FAILED}, "POST_FAILURE"),
        ({BASE_POST: Outcome.TIMED_OUT}, "POST_FAILURE"),
        ({RUN: Outcome.FAILED, BASE_POST: Outcome.FAILED}, "FAILURE"),
        ({RUN: Outcome.TIMED_OUT, BASE_POST: Outcome.FAILED}, "TIMED_OUT"),
        ({RUN: Outcome.TIMED_OUT, BASE_POST: Outcome.UNREACHABLE}, "TIMED_OUT"),
        ({CLEANUP: Outcome.FAILED}, "SUCCESS"),
        ({BASE_PRE: Outcome.FAILED}, None),
        ({CHILD_PRE: Outcome.TIMED_OUT}, None),
        ({BASE_PRE: Outcome.UNREACHABLE}, None),
        ({RUN: Outcome.UNREACHABLE}, None),
        ({RUN: Outcome.CRASHED}, None),
        ({BASE_POST: Outcome.UNREACHABLE}, None),
    ],
)
def test_result_of_what_went_wrong(bad: dict[Playbook, Outcome], result: str | None) -> None:
    expected = Verdict(result) if result else Verdict("RETRY", retry=True)
    assert verdict(JOB, history(bad), attempt=1) == expected


def test_the_last_attempt_is_the_retry_limit() -> None:
    lost = history({BASE_PRE: Outcome.FAILED})
    assert [verdict(JOB, lost, attempt) for attempt in (1, 2, 3)] == [
        Verdict("RETRY", True),
        Verdict("RETRY", True),
        Verdict("RETRY_LIMIT"),
    ]


def test_pre_run_that_forbids_a_retry_is_a_failure_but_a_lost_node_is_not() -> None:
    assert verdict(JOB, history({BASE_PRE: Outcome.FAILED}), 1, Said(retry=False)) == Verdict("FAILURE")
    assert verdict(JOB, history({RUN: Outcome.UNREACHABLE}), 1, Said(retry=False)).retry


@pytest.mark.parametrize(
    ("bad", "result"),
    [
        ({}, "FAILURE"),
        ({BASE_POST: Outcome.FAILED}, "FAILURE"),
        ({RUN: Outcome.UNREACHABLE}, "FAILURE"),
        ({RUN: Outcome.CRASHED}, "ERROR"),
        ({RUN: Outcome.TIMED_OUT}, "TIMED_OUT"),
        ({BASE_POST: Outcome.UNREACHABLE}, "FAILURE"),
    ],
)
def test_what_was_seen_while_it_ran_decides_even_if_the_job_passes_or_is_lost_later(bad: dict[Playbook, Outcome], result: str) -> None:
    assert verdict(JOB, history(bad), 1, Said(failing=Phase.RUN)) == Verdict(result)


@pytest.mark.parametrize(
    ("bad", "result"),
    [
        ({}, "FAILURE"),
        ({BASE_POST: Outcome.FAILED}, "POST_FAILURE"),
        ({BASE_POST: Outcome.UNREACHABLE}, "POST_FAILURE"),
        ({RUN: Outcome.FAILED}, "FAILURE"),
    ],
)
def test_what_was_seen_in_post_run_keeps_the_build_from_being_retried(bad: dict[Playbook, Outcome], result: str) -> None:
    assert verdict(JOB, history(bad), 1, Said(failing=Phase.POST)) == Verdict(result)


def test_pre_run_and_what_will_be_retried_decide_nothing_while_they_play() -> None:
    lost = [Played(Phase.PRE, BASE_PRE, Outcome.FAILED)]
    passed = history({})[:4]
    assert [is_watched(JOB, phase, passed, 1, Said()) for phase in Phase] == [False, True, True, False]
    assert not is_watched(JOB, Phase.POST, lost, 1, Said())
    assert is_watched(JOB, Phase.POST, lost, 3, Said())


def test_post_run_marked_as_cleanup_keeps_its_place_counts_and_plays_after_a_cancel() -> None:
    marked = playbook("marked", 1, cleanup=True)
    job = FrozenJob("job", run=(RUN,), post_run=(marked, BASE_POST))
    assert names(history({}, job)) == ["run", "marked", "base-post"]
    assert names(history({}, job, cancelled_after=1)) == ["run", "marked"]
    assert verdict(job, history({marked: Outcome.FAILED}, job), 1) == Verdict("POST_FAILURE")


def test_cleanup_run_comes_before_the_post_run_of_the_levels_above() -> None:
    cleanup = playbook("child-cleanup", 1)
    job = FrozenJob("job", run=(RUN,), post_run=(CHILD_POST, BASE_POST), cleanup_run=(cleanup,))
    assert names(history({}, job)) == ["run", "child-post", "child-cleanup", "base-post"]


def test_a_build_that_never_reached_its_node_is_retried() -> None:
    assert verdict(JOB, [], 1) == Verdict("RETRY", retry=True)


def test_post_run_knows_whether_all_went_well_so_far() -> None:
    assert succeeded(history({})[:4])
    assert not succeeded(history({RUN: Outcome.FAILED})[:3])
    assert not succeeded(history({BASE_PRE: Outcome.FAILED})[:1])


def test_timeout_covers_pre_run_and_run_together_and_post_timeout_each_post_run() -> None:
    job = FrozenJob("job", timeout=100, pre_timeout=30, post_timeout=7)
    played = [Played(Phase.PRE, BASE_PRE, Outcome.OK, 20.0)]
    assert seconds_left(job, Phase.PRE, []) == 30
    assert seconds_left(job, Phase.PRE, played) == 10
    assert seconds_left(job, Phase.RUN, played) == 80
    assert seconds_left(job, Phase.RUN, [*played, Played(Phase.RUN, RUN, Outcome.OK, 90.0)]) == 0
    assert seconds_left(job, Phase.POST, played) == 7
    assert seconds_left(job, Phase.CLEANUP, played) == 300
    assert seconds_left(FrozenJob("job"), Phase.RUN, played) is None
