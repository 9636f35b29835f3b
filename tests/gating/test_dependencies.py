"""Changes that need each other: in the order in which they may merge, or together, or not at all."""

from __future__ import annotations

from headgate.gating import Key
from headgate.gating.dependencies import cycle_of, extend_graph
from tests.gating.story import Story


def test_what_a_change_needs_comes_in_ahead_of_it() -> None:
    story = Story()
    story.change("A", "nova")
    story.change("B", "neutron", depends_on=["A"])
    story.ready("A")
    story.do("approve", id="A", label="Approved", value=1)
    story.approve("B")
    assert story.queue() == ["A", "B"]


def test_what_waited_for_a_change_comes_in_behind_it() -> None:
    story = Story()
    story.change("A")
    story.change("B", parent="A")
    story.change("C", "neutron", depends_on=["B"])
    story.approve("C", "B")
    assert story.queue() == []
    story.approve("A")
    assert story.queue() == ["A", "B", "C"]


def test_change_that_needs_one_of_another_queue_is_refused_and_told_why() -> None:
    story = Story()
    story.change("A", "docs")
    story.change("B", "nova", depends_on=["A"])
    story.approve("B")
    assert story.queue() == []
    assert "does not share a change queue" in story.messages("B")[-1]


def test_check_tests_on_top_of_what_is_needed_without_testing_that() -> None:
    story = Story()
    story.change("A")
    story.change("B", parent="A")
    story.upload("B")
    assert story.queue("check") == ["(A)", "B"]
    assert story.running() == ["lint on A,1 B,1", "unit on A,1 B,1"]
    story.to_the_end()
    assert story.queue("check") == [] and story.vote("B") == 1 and story.vote("A") is None


def test_change_whose_need_fails_is_stopped_and_leaves() -> None:
    story = Story()
    story.change("A")
    story.change("B", parent="A")
    story.approve("A", "B")
    story.fails("A")
    story.let_go("A", "unit")
    assert story.running() == ["lint on A,1"]
    story.to_the_end()
    assert "failed to merge" in story.messages("B")[-1] and story.queue() == []


def test_outdated_parent_keeps_its_child_out_of_the_gate() -> None:
    story = Story()
    story.change("A")
    story.change("B", parent="A")
    story.do("patchset", id="A")
    story.approve("A", "B")
    assert story.queue() == ["A"]


def test_cycle_is_one_item_and_merges_together() -> None:
    story = Story(to_come=("A", "B"))
    story.change("A", "nova", depends_on=["B"])
    story.change("B", "neutron", depends_on=["A"])
    story.ready("B")
    story.do("approve", id="B", label="Approved", value=1)
    story.approve("A")
    assert [sorted(each.split("+")) for each in story.queue()] == [["A", "B"]]
    story.to_the_end()
    assert story.status("A") == story.status("B") == "MERGED"


def test_cycle_that_fails_merges_nothing() -> None:
    story = Story(to_come=("A", "B"))
    story.change("A", "nova", depends_on=["B"])
    story.change("B", "neutron", depends_on=["A"])
    story.ready("B")
    story.do("approve", id="B", label="Approved", value=1)
    story.approve("A")
    story.fails("B")
    story.to_the_end()
    assert story.status("A") == story.status("B") == "NEW"
    assert "part of a dependency cycle that failed" in story.messages("A")[-1]


def test_cycle_is_found_from_any_of_its_changes() -> None:
    story = Story(to_come=("A", "B", "C"))
    story.change("A", depends_on=["B"])
    story.change("B", depends_on=["C"])
    story.change("C", depends_on=["A"])
    facts = story.play.scheduler.knowledge["t"]
    for name in "ABC":
        graph: dict[Key, list[Key]] = {}
        key = story.play.gerrit.reviews[name].key
        extend_graph(graph, key, facts)
        assert {each[1] for each in cycle_of(key, graph)} == {1, 2, 3}
