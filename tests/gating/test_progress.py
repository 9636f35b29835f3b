"""Builds within an item: retried, paused, without nodes, depending on one another."""

from __future__ import annotations

from headgate.gating import BuildEnded, BuildPaused, Item, NodesReady, job_key
from headgate.jobs import FrozenJob
from tests.gating.story import Story, setting_of

CONFIG = """
- pipeline:
    name: gate
    manager: dependent
    trigger: {gerrit: {event: comment-added, approval: [{Approved: 1}]}}
    success: {gerrit: {Verified: 2, submit: true}}
    failure: {gerrit: {Verified: -2}}
- job: {name: base, parent: null, run: playbooks/run.yaml}
- job: {name: registry, attempts: 2}
- job: {name: image}
- job: {name: docs, voting: false}
- job: {name: pick, nodeset: {alternatives: [{nodes: [{name: n, label: arm}]}, {nodes: [{name: n, label: x86}]}]}}
- project:
    name: nova
    gate:
      fail-fast: true
      jobs: [registry, docs, {image: {dependencies: registry}}, {pick: {dependencies: [{name: docs, soft: true}]}}]
"""


def begun() -> Story:
    story = Story(setting_of(CONFIG, ["nova"]))
    story.approved_changes("A")
    assert story.running() == ["docs on A,1", "registry on A,1"]
    return story


def item(story: Story) -> Item:
    (only,) = story.items()
    return only


def job(story: Story, name: str) -> FrozenJob:
    return next(each for each in item(story).buildset.jobs if each.name == name)


def happens(story: Story, happening: BuildEnded | BuildPaused | NodesReady) -> None:
    story.play.scheduler.ask("t", "gate", happening)
    story.play.settle()


def ends(story: Story, name: str, result: str | None) -> None:
    """A build ends by itself, as the real executor tells it."""
    key = job_key(job(story, name))
    build = item(story).buildset.builds[key].id
    story.play.executor.running.pop(build)
    happens(story, BuildEnded(item(story).buildset.id, key, build, result))


def pauses(story: Story, name: str, told: tuple[str, ...] | None = None) -> None:
    key = job_key(job(story, name))
    happens(story, BuildPaused(item(story).buildset.id, key, item(story).buildset.builds[key].id, told))


def test_attempt_that_says_nothing_is_made_again_until_there_are_none_left() -> None:
    story = begun()
    ends(story, "registry", None)
    assert "registry on A,1" in story.running() and story.vote("A") is None
    ends(story, "registry", None)
    story.to_the_end()
    assert "registry https" in story.messages("A")[-1] and "RETRY_LIMIT" in story.messages("A")[-1]


def test_failure_cancels_the_rest_where_the_project_wants_it_fast() -> None:
    story = begun()
    story.fails("A", "registry")
    story.let_go(job="registry")
    assert story.running() == [] and story.vote("A") == -2
    assert "docs on A,1: ABORTED" in story.built()


def test_job_without_a_vote_does_not_fail_the_change() -> None:
    story = begun()
    story.fails("A", "docs")
    story.to_the_end()
    assert story.status("A") == "MERGED" and "(non-voting)" in story.messages("A")[-1]


def test_paused_job_lets_its_dependents_run_and_then_goes_on() -> None:
    story = begun()
    pauses(story, "registry")
    assert "image on A,1" in story.running() and "registry on A,1" in story.running()
    story.let_go(job="image")
    assert not item(story).buildset.builds[("registry", 0)].paused
    story.to_the_end()
    assert story.status("A") == "MERGED"


def test_paused_job_may_leave_its_dependents_out() -> None:
    story = begun()
    pauses(story, "registry", ())
    assert "image on A,1" not in story.running()
    story.to_the_end()
    assert "Skipped 1 job" in story.messages("A")[-1]


def test_next_nodeset_is_tried_when_there_are_no_nodes_of_the_first() -> None:
    story = begun()
    story.do("hold_nodes", on=True)
    story.let_go(job="docs")
    (request,) = (each[2] for each in story.play.scheduler.waiting)
    story.play.scheduler.waiting.clear()
    happens(story, NodesReady(request.buildset, request.job, False))
    assert item(story).buildset.alternatives == {request.job: 1} and len(story.play.scheduler.waiting) == 1
    story.play.scheduler.waiting.clear()
    happens(story, NodesReady(request.buildset, request.job, False))
    assert story.vote("A") == -2 and "NODE_FAILURE" in story.messages("A")[-1]
