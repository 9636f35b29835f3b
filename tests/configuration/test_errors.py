"""Every kind of error as its user reads it: `errors/*.yaml` is a project's file, `errors/*.txt` what is said of it.

After a wanted change of a message, run with `HEADGATE_REWRITE_GOLDEN=1` and review the difference.
"""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tests.configuration.helpers import load

CASES = sorted((Path(__file__).parent / "errors").glob("*.yaml"))
CONFIG = """
- job: {name: locked, final: true, run: x.yaml}
- job: {name: half, abstract: true, intermediate: true}
- job: {name: guarded, protected: true, run: x.yaml}
- nodeset: {name: jammy, nodes: [{name: controller, label: ubuntu-jammy}]}
- secret: {name: theirs, data: {a: b}}
"""


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.stem)
def test_error(case: Path) -> None:
    layout = load(config=CONFIG, project=case.read_text())
    said = "".join(f"{problem}\n" for problem in layout.problems)
    golden = case.with_suffix(".txt")
    if os.environ.get("HEADGATE_REWRITE_GOLDEN"):
        golden.write_text(said)
    assert said == golden.read_text()
    assert said


def test_same_error_on_many_branches_is_one() -> None:
    layout = load(project="- job: {name: unit, timeout: soon}", branches=("master", "stable", "old"))
    (problem,) = layout.problems
    assert problem.branches == ("master", "old", "stable")
    assert len(layout.occurrences) == 3


def test_broken_object_drops_out_and_the_rest_stands() -> None:
    layout = load(project="- job: {name: broken, timeout: soon}\n- job: {name: fine}\n- project: {check: {jobs: [fine]}}")
    assert "fine" in layout.state.jobs
    assert "broken" not in layout.state.jobs
