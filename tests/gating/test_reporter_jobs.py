"""Jobs of the type `reporter`: they run when the result was said, and a success may still turn into a failure by them."""

from __future__ import annotations

from headgate.gating import Resumed
from tests.gating.story import PIPELINES, Story, setting_of

CONFIG = (
    PIPELINES
    + """
- job: {name: announce, type: reporter}
- project:
    name: nova
    queue: shared
    check: {jobs: [unit, announce]}
    gate: {jobs: [unit, announce]}
"""
)


def a_story() -> Story:
    return Story(setting_of(CONFIG, ["nova"]))


def test_reporter_jobs_run_after_the_vote() -> None:
    story = a_story()
    story.change("A")
    story.upload("A")
    assert story.running() == ["unit on A,1"]
    story.let_go(job="unit")
    assert story.vote("A") == 1 and story.running() == ["announce on A,1"]
    story.let_go()
    assert story.queue("check") == [] and len(story.messages("A")) == 1


def test_failure_has_no_reporter_jobs() -> None:
    story = a_story()
    story.change("A")
    story.fails("A")
    story.upload("A")
    story.let_go()
    assert story.queue("check") == [] and story.built() == ["unit on A,1: FAILURE"]


def test_queue_waits_while_the_reporter_jobs_of_what_merged_run() -> None:
    story = a_story()
    story.approved_changes("A", "B")
    story.let_go("A", "unit")
    assert story.status("A") == "MERGED" and story.queue() == ["A", "B"]
    story.let_go("B", "unit")
    assert story.status("B") == "NEW" and story.running() == ["announce on A,1"]
    story.let_go("A")
    assert story.status("B") == "MERGED" and story.running() == ["announce on A,1 B,1"]
    story.to_the_end()
    assert story.queue() == [] and "unit on B,1: SUCCESS" not in story.built()


def test_failed_reporter_job_has_those_behind_tested_anew() -> None:
    story = a_story()
    story.approved_changes("A", "B")
    story.fails("A", "announce")
    story.let_go("A", "unit")
    story.let_go("A")
    assert story.queue() == ["B"] and story.running() == ["unit on B,1"]
    assert "unit on A,1 B,1: ABORTED" in story.built()


def test_what_merged_and_is_dequeued_during_its_reporter_jobs_leaves_and_the_queue_goes_on() -> None:
    story = a_story()
    story.approved_changes("A", "B", "C")
    story.let_go("A", "unit")
    assert story.status("A") == "MERGED" and story.queue() == ["A", "B", "C"]
    story.do("dequeue", pipeline="gate", id="A")
    assert story.queue() == ["B", "C"] and story.running() == ["unit on B,1", "unit on B,1 C,1"]
    assert "announce on A,1: ABORTED" in story.built()
    story.to_the_end()
    assert story.status("B") == story.status("C") == "MERGED" and story.queue() == []


def test_what_is_overtaken_during_its_reporter_jobs_comes_in_again_behind_as_in_zuul() -> None:
    story = a_story()
    story.approved_changes("A", "B")
    story.let_go("A", "unit")
    story.do("promote", pipeline="gate", ids=["B"])
    assert story.queue() == ["B", "A"] and story.running() == ["unit on B,1", "unit on B,1 A,1"]
    story.to_the_end()
    assert story.status("B") == "MERGED" and story.queue() == []


def test_promotion_of_what_runs_its_reporter_jobs_leaves_it_at_the_head() -> None:
    story = a_story()
    story.approved_changes("A", "B")
    story.let_go("A", "unit")
    story.do("promote", pipeline="gate", ids=["A", "B"])
    assert story.queue() == ["A", "B"] and "announce on A,1" in story.running() and "unit on A,1 B,1" in story.running()


def test_what_comes_back_to_its_reporter_jobs_runs_them_alone_and_says_nothing_more() -> None:
    story = a_story()
    story.change("A")
    story.upload("A")
    story.let_go(job="unit")
    (item,) = story.items("check")
    story.do("dequeue", pipeline="check", id="A")
    assert story.queue("check") == [] and story.running() == []
    story.play.scheduler.ask("t", "check", Resumed(item))
    story.play.settle()
    assert story.running() == ["announce on A,1"]
    story.to_the_end()
    assert story.queue("check") == [] and len(story.messages("A")) == 1
