"""The gate: everything in a queue is tested on top of everything ahead of it that may still merge."""

from __future__ import annotations

from tests.gating.story import PIPELINES, PROJECT, Story, setting_of


def test_all_of_a_queue_are_tested_at_once_each_on_those_ahead() -> None:
    story = Story()
    story.approved_changes("A", "B", "C")
    assert story.running() == [
        "lint on A,1",
        "unit on A,1",
        "lint on A,1 B,1",
        "unit on A,1 B,1",
        "lint on A,1 B,1 C,1",
        "unit on A,1 B,1 C,1",
    ]


def test_what_is_behind_waits_with_its_merge_for_the_head() -> None:
    story = Story()
    story.approved_changes("A", "B")
    story.let_go("B")
    assert story.status("B") == "NEW" and story.queue() == ["A", "B"]
    story.let_go("A")
    assert story.status("A") == story.status("B") == "MERGED"
    assert "unit on A,1 B,1: SUCCESS" in story.built() and len(story.built()) == 4


def test_failed_head_restarts_those_behind() -> None:
    story = Story()
    story.approved_changes("A", "B", "C")
    story.fails("A")
    story.let_go("A", "unit")
    assert story.queue() == ["A", "B", "C"]
    assert story.running() == ["lint on A,1", "lint on B,1", "unit on B,1", "lint on B,1 C,1", "unit on B,1 C,1"]
    assert "unit on A,1 B,1: ABORTED" in story.built()
    story.to_the_end()
    assert [story.status(name) for name in "ABC"] == ["NEW", "MERGED", "MERGED"]
    assert story.vote("A") == -2


def test_head_that_will_fail_restarts_those_behind_and_runs_on() -> None:
    story = Story()
    story.approved_changes("A", "B", "C")
    story.fails("A")
    story.will_fail("A")
    assert story.queue() == ["A", "B", "C"] and story.vote("A") == 0
    assert story.running() == ["lint on A,1", "unit on A,1", "lint on B,1", "unit on B,1", "lint on B,1 C,1", "unit on B,1 C,1"]
    story.to_the_end()
    assert [story.status(name) for name in "ABC"] == ["NEW", "MERGED", "MERGED"]
    assert story.vote("A") == -2


def test_what_would_have_failed_and_was_lost_is_waited_for_again() -> None:
    story = Story()
    story.approved_changes("A", "B")
    story.will_fail("A")
    assert "unit on B,1" in story.running()
    story.will_fail("A", failing=False)
    assert "unit on A,1 B,1" in story.running()
    story.to_the_end()
    assert [story.status(name) for name in "AB"] == ["MERGED", "MERGED"]


def test_failure_in_the_middle_is_passed_by() -> None:
    story = Story()
    story.approved_changes("A", "B", "C")
    story.fails("B")
    story.let_go("B", "unit")
    assert "unit on A,1 C,1" in story.running() and "unit on A,1" in story.running()
    story.to_the_end()
    assert [story.status(name) for name in "ABC"] == ["MERGED", "NEW", "MERGED"]


def test_refused_submit_restarts_those_behind() -> None:
    story = Story()
    story.approved_changes("A", "B")
    story.do("conflict", id="A")
    story.let_go("A")
    assert story.status("A") == "NEW" and story.vote("A") == 2
    assert story.running() == ["lint on B,1", "unit on B,1"]


def test_window_shrinks_with_failures_and_grows_with_merges() -> None:
    story = Story()
    story.approved_changes(*"ABCDE")
    assert story.window() == 20
    story.fails("A")
    story.let_go("A")
    assert story.window() == 10
    story.let_go("B")
    assert story.window() == 11


def test_only_the_window_runs() -> None:
    narrow = PIPELINES.replace("manager: dependent\n", "manager: dependent\n    window: 2\n    window-floor: 1\n")
    story = Story(setting_of(narrow + PROJECT.format(name="nova", queue="queue: shared"), ["nova"]))
    story.approved_changes(*"ABC")
    assert [item.active for item in story.items()] == [True, True, False]
    assert not any("C,1" in build for build in story.running())
    story.let_go("A")
    assert any("C,1" in build for build in story.running())


def test_conflict_waits_until_it_is_known_whether_what_is_ahead_merges() -> None:
    story = Story()
    story.change("A", files={"setup.py": "one\n"})
    story.change("B", files={"setup.py": "two\n"})
    story.approve("A", "B")
    assert story.queue() == ["A", "B"]
    assert story.running() == ["lint on A,1", "unit on A,1"]
    story.fails("A")
    story.let_go("A")
    assert story.running() == ["lint on B,1", "unit on B,1"]
    story.to_the_end()
    assert story.status("B") == "MERGED"


def test_conflict_with_what_merged_is_said() -> None:
    story = Story()
    story.change("A", files={"setup.py": "one\n"})
    story.change("B", files={"setup.py": "two\n"})
    story.approve("A", "B")
    story.to_the_end()
    assert story.status("A") == "MERGED" and story.status("B") == "NEW"
    assert story.messages("B")[-1].startswith("Merge Failed.")


def test_changes_of_other_queues_do_not_wait_for_each_other() -> None:
    story = Story()
    story.approved_changes("A")
    story.approved_changes("D", project="docs")
    assert "unit on D,1" in story.running()


def test_new_patchset_takes_the_old_one_out() -> None:
    story = Story()
    story.approved_changes("A", "B")
    story.do("patchset", id="A")
    assert story.queue() == ["B"] and "unit on B,1" in story.running()


def test_abandoned_change_leaves_with_those_that_need_it() -> None:
    story = Story()
    story.approved_changes("A", "B")
    story.change("C", depends_on=["A"])
    story.approve("C")
    story.do("abandon", id="A")
    assert story.queue() == ["B"]
    assert "failed to merge" in story.messages("C")[-1]


def test_promoted_change_is_tested_first() -> None:
    story = Story()
    story.approved_changes("A", "B", "C")
    story.do("promote", pipeline="gate", ids=["C"])
    assert story.queue() == ["C", "A", "B"]
    assert "unit on C,1 A,1 B,1" in story.running()


def test_promoting_what_is_first_disturbs_nobody() -> None:
    story = Story()
    story.approved_changes("A", "B")
    story.do("promote", pipeline="gate", ids=["A"])
    assert story.queue() == ["A", "B"] and story.built() == []


def test_gate_takes_a_change_from_check() -> None:
    story = Story()
    story.change("A")
    story.upload("A")
    assert story.queue("check") == ["A"]
    story.approve("A")
    assert story.queue("check") == [] and story.queue() == ["A"]
    assert "unit on A,1: ABORTED" in story.built()


def test_serial_pipeline_runs_one_after_the_other() -> None:
    story = Story()
    for name in "AB":
        story.change(name)
        story.do("submit", id=name)
    assert story.queue("deploy") == ["A", "B"]
    assert story.running() == ["unit on A,1"]
    story.let_go()
    assert story.queue("deploy") == ["B"]


def test_supercedent_pipeline_keeps_the_first_and_the_last() -> None:
    story = Story()
    for name in "ABCD":
        story.change(name)
        story.do("comment", id=name, text="publish")
    assert story.queue("latest") == ["A", "D"]


def test_semaphore_lets_one_build_run_at_a_time() -> None:
    story = Story()
    for name, project in (("A", "nova"), ("B", "docs")):
        story.change(name, project)
        story.do("comment", id=name, text="publish")
    assert story.running() == ["lonely on A,1"]
    story.let_go()
    assert story.running() == ["lonely on B,1"]
    story.do("dequeue", pipeline="latest", id="B")
    assert not story.tenancy.semaphores
