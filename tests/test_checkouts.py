"""Which branch or tag a build has of each repository: one entry of the table is one rule of Zuul's."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest

from headgate.changes import Change
from headgate.checkouts import checkout, is_included, project_states
from headgate.jobs import FrozenJob, RequiredProject
from headgate.records import Buildset, FrozenProject

NOVA, LIBRARY = "host/org/nova", "host/org/library"
BRANCHES = {"main": "m", "stable": "s"}
PROJECTS = {
    NOVA: FrozenProject("review", "org/nova", "stable", "s+", BRANCHES, {"main": "m+"}, {"v1": "t"}),
    LIBRARY: FrozenProject("review", "org/library", "main", "m", {"main": "m"}, {}, {"v1": "t"}),
}


def buildset(ref: str = "refs/changes/7/7/1", branch: str = "stable", project: str = "org/nova") -> Buildset:
    change = Change("review", project, branch, 7, int("changes" in ref), ref, "c")
    return Buildset("b", "i", datetime(2026, 1, 1, tzinfo=UTC), PROJECTS, changes=(change,))


@pytest.mark.parametrize(
    ("job", "project", "expected"),
    [
        ({}, NOVA, ("stable", "s+", "zuul branch")),
        ({}, LIBRARY, ("main", "m", "project default branch")),
        ({"override_checkout": "main"}, NOVA, ("main", "m+", "job override ref")),
        ({"override_checkout": "v1"}, NOVA, ("v1", "t", "job override ref")),
        ({"override_checkout": "stable"}, LIBRARY, ("main", "m", "project default branch")),
        ({"override_checkout": "gone"}, NOVA, ("stable", "s+", "zuul branch")),
        ({"required": "v1", "override_checkout": "main"}, LIBRARY, ("v1", "t", "project override ref")),
        ({"required": "gone", "override_checkout": "v1"}, LIBRARY, ("v1", "t", "job override ref")),
    ],
)
def test_what_is_checked_out_and_why(job: dict[str, Any], project: str, expected: tuple[str, str, str]) -> None:
    required = (RequiredProject(LIBRARY, job.get("required")),)
    assert (
        checkout(FrozenJob("j", override_checkout=job.get("override_checkout"), required_projects=required), buildset(), project)
        == expected
    )


@pytest.mark.parametrize(
    ("include", "exclude", "expected"),
    [
        (None, None, ["own", "ahead", "cycle"]),
        ({("change", None)}, None, ["own"]),
        ({("item", None)}, None, ["own", "cycle"]),
        ({("name", "ahead")}, None, ["ahead"]),
        (None, {("item", None)}, ["ahead"]),
        ({("item", None)}, {("name", "cycle")}, ["own"]),
    ],
)
def test_what_of_the_changes_under_test_is_included(include: Any, exclude: Any, expected: list[str]) -> None:
    job = FrozenJob("j", include_projects=include and frozenset(include), exclude_projects=exclude and frozenset(exclude))
    assert [name for name in ("own", "ahead", "cycle") if is_included(job, name, "own", {"own", "cycle"})] == expected


def test_a_tag_under_test_is_checked_out_and_a_moved_branch_is_named() -> None:
    tagged = buildset("refs/tags/v2", "")
    assert checkout(FrozenJob("j"), tagged, NOVA) == ("v2", "s+", "tag ref")
    assert checkout(FrozenJob("j"), tagged, LIBRARY) == ("main", "m", "project default branch")
    assert checkout(FrozenJob("j"), buildset("refs/heads/stable"), NOVA)[2] == "branch ref"
    states = project_states(FrozenJob("j", required_projects=(RequiredProject(LIBRARY, "v1"),)), tagged, NOVA)
    assert [(state.name, state.checkout, state.is_tag, state.required) for state in states] == [
        (NOVA, "v2", True, False),
        (LIBRARY, "v1", True, True),
    ]
