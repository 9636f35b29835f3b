"""What always holds, whatever people do in whatever order."""

from __future__ import annotations

from typing import Any

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from headgate.gating import BuildEnded, job_key, pass_
from tests.gating.story import Story, a_tenant

PROJECTS = st.sampled_from(("nova", "neutron", "docs"))
FILES = st.sampled_from((None, {"setup.py": "one\n"}, {"setup.py": "two\n"}))
SETTING = a_tenant(nova="shared", neutron="shared", docs="")
PICK = st.integers(min_value=0, max_value=99)


class Gate(RuleBasedStateMachine):
    """People and machines at work on one tenant; the builds end when and as the machine likes."""

    def __init__(self) -> None:
        super().__init__()
        self.story = Story(SETTING)
        self.names: list[str] = []
        self.by_hand: set[str] = set()
        self.checked = 0

    def one(self, pick: int) -> str:
        return self.names[pick % len(self.names)]

    @rule(project=PROJECTS, files=FILES, on=PICK, how=st.sampled_from(("", "", "parent", "depends_on", "circle")))
    def someone_makes_a_change(self, project: str, files: dict[str, str] | None, on: int, how: str) -> None:
        name = f"C{len(self.names)}"
        links: dict[str, Any] = {}
        if self.names and how:
            other = self.story.play.gerrit.reviews[self.one(on)]
            if how == "parent":
                project, links = other.project, {"parent": other.id}
            else:
                links = {"depends_on": [other.id]}
                if how == "circle":
                    other.depends_on = (*other.depends_on, name)
        self.names.append(name)
        self.story.change(name, project, files=files, **links)
        if how == "circle" and links:
            self.story.upload(links["depends_on"][0])

    @precondition(lambda self: self.names)
    @rule(pick=PICK)
    def someone_approves(self, pick: int) -> None:
        self.story.approve(self.one(pick))

    @rule(project=PROJECTS, refused=st.booleans())
    def someone_makes_a_change_that_is_good(self, project: str, refused: bool) -> None:
        """Gerrit may refuse to submit it all the same."""
        name = f"C{len(self.names)}"
        self.names.append(name)
        self.story.change(name, project)
        if refused:
            self.story.do("conflict", id=name)
        self.story.approve(name)

    @precondition(lambda self: self.names)
    @rule(pick=PICK)
    def someone_publishes(self, pick: int) -> None:
        self.story.do("comment", id=self.one(pick), text="publish")

    @precondition(lambda self: self.names)
    @rule(pick=PICK, op=st.sampled_from(("event", "patchset", "abandon", "conflict")))
    def something_happens_in_gerrit(self, pick: int, op: str) -> None:
        if op == "patchset" and self.story.play.gerrit.reviews[self.one(pick)].parent:
            return  # the simulated Gerrit, like Zuul's fake, goes on calling the first patchset the child of its parent
        self.story.do(op, id=self.one(pick))

    @precondition(lambda self: self.names)
    @rule(pick=PICK, job=st.sampled_from(("unit", "lint")))
    def a_change_turns_out_bad(self, pick: int, job: str) -> None:
        self.story.fails(self.one(pick), job)

    @precondition(lambda self: self.names)
    @rule(pick=PICK, op=st.sampled_from(("enqueue", "dequeue", "promote")))
    def an_operator_interferes(self, pick: int, op: str) -> None:
        self.story.do(op, pipeline="gate", id=self.one(pick))

    @precondition(lambda self: self.story.play.executor.running)
    @rule(pick=PICK)
    def a_build_ends(self, pick: int) -> None:
        play = self.story.play
        builds = sorted(play.executor.running)
        build = builds[pick % len(builds)]
        running = play.executor.running[build]
        play.scheduler.finish(build, play.now)
        play.settle()
        before = self.story.tenancy
        play.scheduler.ask("t", running.pipeline, BuildEnded(running.start.buildset, job_key(running.start.job), build, "FAILURE"))
        play.settle()
        assert self.story.tenancy is before, "a result heard twice changed something"

    @rule(on=st.booleans())
    def nodes_become_scarce(self, on: bool) -> None:
        self.story.do("hold_nodes", on=on)

    @invariant()
    def what_merged_was_tested_as_it_merged(self) -> None:
        play = self.story.play
        for review, head in play.gerrit.merged[self.checked :]:
            place = (review.canonical, review.branch)
            passed = [each for each in play.executor.history if each.result == "SUCCESS" and review.key in each.tested]
            worlds = [play.scheduler.merger.worlds[each.buildset] for each in passed]
            assert any(world[place].tree == head.tree for world in worlds), f"{review.id} merged untested"
        self.checked = len(play.gerrit.merged)

    @invariant()
    def a_pass_without_news_changes_nothing(self) -> None:
        facts, now = self.story.play.scheduler.knowledge["t"], self.story.play.now
        for pipeline in SETTING.layouts["t"].pipelines:
            after, actions = pass_(self.story.tenancy, pipeline, (), facts, now)
            assert actions == () and after is self.story.tenancy, "an empty pass changed something"

    @invariant()
    def no_item_is_ahead_of_what_it_needs(self) -> None:
        facts = self.story.play.scheduler.knowledge["t"]
        ahead: set[object] = set()
        for item in self.story.items():
            ahead.update(item.changes)
            for change in item.changes:
                others = (need for need in facts.known(change).needs if need not in ahead)
                assert all(facts.known(need).change.merged for need in others), f"{change} is ahead of what it needs"

    @invariant()
    def only_jobs_under_way_hold_semaphores(self) -> None:
        there = {item.buildset.id: item.buildset for state in self.story.tenancy.pipelines.values() for item in state.items.values()}
        for holders in self.story.tenancy.semaphores.values():
            assert len(holders) <= 1
            for _, buildset, job in holders:
                build = there[buildset].builds.get(job)
                assert build is None or build.result is None, f"{job} has ended and holds a semaphore"

    @invariant()
    def every_running_build_belongs_to_an_item(self) -> None:
        wanted = {
            build.id
            for state in self.story.tenancy.pipelines.values()
            for item in state.items.values()
            for build in item.buildset.builds.values()
            if build.result is None
        }
        assert set(self.story.play.executor.running) == wanted

    def teardown(self) -> None:
        self.story.to_the_end()
        for pipeline in SETTING.layouts["t"].pipelines:
            assert self.story.queue(pipeline) == [], f"something stays in {pipeline}"
        assert not self.story.tenancy.semaphores, "a semaphore is held though all has ended"
        self.what_merged_was_tested_as_it_merged()


TestGate = Gate.TestCase
TestGate.settings = settings(max_examples=40, stateful_step_count=30, deadline=None, derandomize=True)
