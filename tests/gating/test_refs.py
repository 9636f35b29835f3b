"""Branches, tags and timers in the simulation: what is tested though nobody reviews it."""

from __future__ import annotations

import pytest

from headgate.configuration import SourceFile, load_layout, parse_tenants
from headgate.simulation import BadScenario, Setting
from tests.gating.story import HOST, PIPELINES, Story, setting_of

CONFIG = (
    PIPELINES
    + """
- pipeline:
    name: post
    manager: supercedent
    trigger: {gerrit: {event: ref-updated, ref: ^refs/heads/}}
    success: {gerrit: {}}
- pipeline:
    name: release
    manager: independent
    trigger: {gerrit: {event: ref-updated, ref: ^refs/tags/}}
    success: {gerrit: {}}
- pipeline:
    name: gone
    manager: independent
    trigger: {gerrit: {event: ref-updated, ref: ^refs/heads/, ignore-deletes: false}}
- pipeline:
    name: nightly
    manager: independent
    trigger: {timer: [{time: "0 2 * * *"}]}
- job: {name: publish}
- project:
    name: nova
    post: {jobs: [publish]}
    release: {jobs: [publish]}
    nightly: {jobs: [unit, lint]}
- project: {name: neutron, gone: {jobs: [lint]}, nightly: {jobs: [unit]}}
"""
)


def a_story() -> Story:
    return Story(setting_of(CONFIG, ["nova", "neutron"]))


def test_of_a_branch_that_moves_again_and_again_the_first_and_the_last_state_are_tested() -> None:
    story = a_story()
    for name in ("A", "B", "C"):
        story.do("ref", project="nova", ref="refs/heads/master")
        story.change(name)
        story.do("submit", id=name)
    story.do("ref", project="nova", ref="refs/heads/master")
    assert len(story.items("post")) == 2 and story.running() == ["publish on nova refs/heads/master"]
    story.to_the_end()
    assert story.built() == ["publish on nova refs/heads/master: SUCCESS"] * 2


def test_tag_runs_the_jobs_of_its_pipeline_and_nobody_is_told() -> None:
    story = a_story()
    story.do("ref", project="nova", ref="refs/tags/1.0")
    assert story.running() == ["publish on nova refs/tags/1.0"] and story.items("post") == []
    story.to_the_end()
    assert story.items("release") == []


def test_deleted_branch_is_heard_where_deletions_are_asked_for_only() -> None:
    story = a_story()
    for project in ("nova", "neutron"):
        story.do("ref", project=project, ref="refs/heads/master")
        story.to_the_end()
        story.do("ref", project=project, ref="refs/heads/master", deleted=True)
    assert story.running() == ["lint on neutron refs/heads/master"]


def test_timers_fire_once_for_the_time_that_has_passed_and_not_while_the_branch_is_still_tested() -> None:
    story = a_story()
    story.do("time", seconds=3600, timers=True)
    assert story.running() == []
    story.do("time", seconds=3 * 86400, timers=True)
    nightly = ["lint on nova refs/heads/master", "unit on neutron refs/heads/master", "unit on nova refs/heads/master"]
    assert sorted(story.running()) == nightly
    story.do("time", seconds=86400, timers=True)
    assert len(story.items("nightly")) == 2
    story.to_the_end()
    story.do("time", seconds=86400)
    assert story.running() == []
    story.do("time", seconds=86400, timers=True)
    assert sorted(story.running()) == nightly


def test_ref_that_is_neither_branch_nor_tag_is_refused_in_a_sentence() -> None:
    with pytest.raises(BadScenario, match='"master" begins with neither refs/heads/ nor refs/tags/'):
        a_story().do("ref", project="nova", ref="master")


def test_tag_of_a_project_with_several_branches_runs_what_the_branch_that_has_it_says() -> None:
    config = PIPELINES + CONFIG[len(PIPELINES) :].partition("- project:")[0]
    (tenant,) = parse_tenants("- tenant: {name: t, source: {gerrit: {config-projects: [config], untrusted-projects: [nova]}}}")
    own = {
        "master": "- project: {release: {jobs: [publish]}}",
        "stable": "- project: {release: {jobs: [lint]}}",
    }
    files = [SourceFile(f"{HOST}/nova", branch, "zuul.yaml", text) for branch, text in own.items()]
    layout = load_layout(
        tenant, [SourceFile(f"{HOST}/config", "master", "zuul.yaml", config), *files], {"gerrit": HOST}, {f"{HOST}/nova": tuple(own)}
    )
    trees = {f"{HOST}/nova": {branch: {"zuul.yaml": text} for branch, text in own.items()}}
    story = Story(Setting({"t": layout}, {**trees, f"{HOST}/config": {"master": {"zuul.yaml": config}}}))
    story.do("ref", project="nova", ref="refs/tags/1.0", branch="stable")
    assert story.running() == ["lint on nova refs/tags/1.0"]
