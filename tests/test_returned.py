"""What jobs return: data, artifacts, comments, and which jobs they choose."""

from __future__ import annotations

from typing import Any

import pytest

from headgate.jobs import Dependency, FrozenJob, JobGraph
from headgate.returned import artifacts_of, descendants, left_out, parent_data, pauses, remarks_of, warnings_of


def graph(**needs: tuple[str, ...]) -> JobGraph:
    return JobGraph(tuple(FrozenJob(name, dependencies=tuple(Dependency(each) for each in above)) for name, above in needs.items()))


def zuul(**section: Any) -> dict[str, Any]:
    return {"zuul": section}


def test_data_comes_from_near_and_far_and_the_later_job_of_the_graph_wins() -> None:
    jobs = graph(first=(), second=("first",), third=("second", "aside"), aside=())
    data = {
        "first": {"colour": "red", "deep": {"x": 1, "y": 1}},
        "second": {"colour": "green", "deep": {"y": 2}, **zuul(child_jobs=[])},
        "aside": {"aside": True},
        "third": {"own": 1},
    }
    assert parent_data(jobs, "third", data) == {"colour": "green", "deep": {"x": 1, "y": 2}, "aside": True}
    assert parent_data(jobs, "first", data) == {}


def test_jobs_not_chosen_are_left_out_and_no_choice_means_all() -> None:
    jobs = graph(build=(), unit=("build",), docs=("build",), publish=("docs",))
    assert left_out(jobs, {"build": zuul(child_jobs=["unit"])}) == {"docs"}
    assert left_out(jobs, {"build": zuul(child_jobs=[])}) == {"unit", "docs"}
    assert left_out(jobs, {"build": {}}) == frozenset()
    assert left_out(jobs, {"build": zuul(child_jobs="unit")}) == frozenset()
    assert descendants(jobs, "build") == ("unit", "docs", "publish")


@pytest.mark.parametrize(
    ("log_url", "url", "whole"),
    [
        ("https://logs/1", "a/b.tar", "https://logs/1/a/b.tar"),
        ("https://logs/1/", "a/b.tar", "https://logs/1/a/b.tar"),
        ("https://logs/1/", "https://elsewhere/x", "https://elsewhere/x"),
        (None, "a/b.tar", "a/b.tar"),
    ],
)
def test_the_address_of_an_artifact_begins_at_the_logs(log_url: str | None, url: str, whole: str) -> None:
    assert artifacts_of(zuul(log_url=log_url, artifacts=[{"name": "x", "url": url, "metadata": {"a": 1}}, {"name": "y"}, 3])) == (
        {"name": "x", "url": whole, "metadata": {"a": 1}},
    )


def test_comments_are_for_files_that_the_change_touches() -> None:
    remarks, warnings = remarks_of(
        zuul(
            file_comments={
                "a.py": [
                    {"line": 3, "message": "long line", "level": "warning"},
                    {"message": "of the file"},
                    {"message": "range", "range": {"start_line": 1, "start_character": 0, "end_line": 2, "end_character": 3}},
                    {"line": "x", "message": "no"},
                ],
                "b.py": [{"line": 1, "message": "elsewhere"}],
            }
        ),
        {"a.py"},
    )
    assert [(each.path, each.line, each.message, each.level) for each in remarks] == [
        ("a.py", 3, "long line", "warning"),
        ("a.py", None, "of the file", "info"),
        ("a.py", 2, "range", "info"),
    ]
    assert warnings == (
        "A comment on a.py has no message or a line that is no number.",
        "Comments left for a file that the change does not touch: b.py",
    )


@pytest.mark.parametrize("odd", [{}, {"zuul": 3}, zuul(warnings="x", artifacts="y", child_jobs=3, pause="yes", file_comments=[1])])
def test_what_has_another_shape_is_nothing(odd: dict[str, Any]) -> None:
    assert (warnings_of(odd), artifacts_of(odd), pauses(odd), remarks_of(odd, {"a"})[0]) == ((), (), False, ())
    assert left_out(graph(a=(), b=("a",)), {"a": odd}) == frozenset()
