"""What is run again when a person asks, and whether the vote follows."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime

import pytest

from headgate.records import Build
from headgate.reruns import Policy, asked_in, flakiness, may_vote, parse_policy, wanted

NOON = datetime(2026, 1, 1, 12, tzinfo=UTC)


def build(job: str, result: str | None, round: int = 1, attempt: int = 1) -> Build:
    return Build(f"{job}-{round}-{attempt}", "buildset", job, attempt, True, NOON, flow_run="run", result=result, round=round)


@pytest.mark.parametrize(
    ("comment", "words"),
    [
        ("Patch Set 3:\n\nrecheck failed", ("failed",)),
        ("recheck tox-py311 tox-docs\nplease", ("tox-py311", "tox-docs")),
        ("Patch Set 1: Code-Review+1\n\nRecheck failed", ("failed",)),
        ("Patch Set 3:\n\nrecheck", ()),
        ("Patch Set 3:\n\nplease recheck failed", ()),
        ("Patch Set 3:\n\nrechecked failed", ()),
    ],
)
def test_a_recheck_with_words_behind_it_asks_for_jobs(comment: str, words: tuple[str, ...]) -> None:
    assert asked_in(comment) == words


def test_failed_means_all_that_did_not_succeed_and_names_mean_those_jobs() -> None:
    builds = [build("a", "FAILURE"), build("b", "SUCCESS"), build("c", "TIMED_OUT")]
    assert [each.job for each in wanted(["failed"], builds)] == ["a", "c"]
    assert [each.job for each in wanted(["b"], builds)] == ["b"]


@pytest.mark.parametrize("words", [["unknown"], ["a", "because", "of", "bug"]])
def test_words_that_are_no_jobs_ask_for_nothing(words: list[str]) -> None:
    assert wanted(words, [build("a", "FAILURE")]) == []


def test_nothing_runs_again_while_a_job_has_not_ended() -> None:
    assert wanted(["failed"], [build("a", "FAILURE"), build("b", None)]) == []


def test_in_a_gate_no_vote_follows_a_rerun() -> None:
    assert not may_vote(Policy("vote"), "dependent", [build("a", "FAILURE"), build("a", "SUCCESS", 2)])


def test_votes_follow_by_the_policy() -> None:
    once = [build("a", "FAILURE"), build("a", "SUCCESS", 2), build("b", "SUCCESS")]
    twice = [*once, build("a", "SUCCESS", 3)]
    undecided = [*once, build("a", "FAILURE", 3)]
    assert may_vote(parse_policy("vote"), "independent", once)
    assert not may_vote(parse_policy("evidence"), "independent", twice)
    assert [may_vote(parse_policy("votes-after 2"), "independent", builds) for builds in (once, twice, undecided)] == [False, True, False]


@pytest.mark.parametrize("text", ["", "votes", "votes-after", "votes-after 0", "vote 2"])
def test_a_policy_that_is_none_is_said(text: str) -> None:
    with pytest.raises(ValueError, match="allowed are evidence, vote, votes-after N"):
        parse_policy(text)


def test_flakiness_counts_reruns_and_those_that_came_out_otherwise() -> None:
    builds = [build("a", "FAILURE"), build("a", "SUCCESS", 2), build("a", "SUCCESS", 3), build("b", "SUCCESS")]
    builds[1] = replace(builds[1], reason="network")
    (found,) = flakiness(builds)
    assert (found.job, found.reruns, found.changed, found.share) == ("a", 2, 1, 0.5)
    assert dict(found.reasons) == {"network": 1, "no reason given": 1}


def test_flakiness_is_added_up_over_buildsets_and_the_worst_job_is_first() -> None:
    twice = [replace(each, buildset=name) for name in ("x", "y") for each in (build("a", "FAILURE"), build("a", "SUCCESS", 2))]
    found = flakiness([build("b", "FAILURE"), build("b", "FAILURE", 2), *twice])
    assert [(each.job, each.changed, each.reruns) for each in found] == [("a", 2, 2), ("b", 0, 1)]
