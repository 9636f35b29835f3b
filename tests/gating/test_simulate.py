"""`headgate simulate`: the format of what goes in and comes out."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from cli.main import app
from cli.simulate import register
from headgate.simulation import BadScenario, parse_scenario
from headgate.simulation.texts import Conflict, merge_texts
from tests.gating.story import PIPELINES, PROJECT

register(app)


def played(directory: Path, *steps: dict[str, Any]) -> dict[str, Any]:
    """Play steps by the command itself."""
    config = directory / "git" / "config"
    config.mkdir(parents=True)
    (directory / "git" / "nova").mkdir()
    (directory / "main.yaml").write_text("- tenant: {name: t, source: {gerrit: {config-projects: [config], untrusted-projects: [nova]}}}\n")
    (config / "zuul.yaml").write_text(PIPELINES + PROJECT.format(name="nova", queue="queue: shared"))
    (directory / "scenario.json").write_text(json.dumps({"config": ".", "steps": steps}))
    result = CliRunner().invoke(app, ["simulate", str(directory / "scenario.json")], catch_exceptions=False)
    answer: dict[str, Any] = json.loads(result.stdout)
    return answer


def test_what_is_printed(tmp_path: Path) -> None:
    answer = played(
        tmp_path,
        {"op": "hold", "on": True},
        {"op": "change", "id": "A", "project": "nova"},
        {"op": "approve", "id": "A", "label": "Code-Review", "value": 2},
        {"op": "approve", "id": "A", "label": "Approved", "value": 1, "event": True},
        {"op": "snapshot", "label": "running"},
    )
    item = {"changes": ["A,1"], "live": True, "active": True, "ahead": None}
    assert answer["trace"] == [
        {
            "label": "running",
            "queues": {"t/gate": [{"queue": "shared", "window": 20, "items": [item]}]},
            "running": [{"job": "lint", "changes": ["A,1"]}, {"job": "unit", "changes": ["A,1"]}],
        }
    ]
    assert answer["history"] == [{"job": job, "result": "SUCCESS", "changes": ["A,1"]} for job in ("lint", "unit")]
    change = answer["changes"]["A"]
    assert (change["status"], change["reports"]) == ("MERGED", 2)
    assert change["votes"] == [["Code-Review", 2, "reviewer_john"], ["Approved", 1, "reviewer_john"], ["Verified", 2, "jenkins"]]
    assert change["messages"][0] == "Starting gate jobs."


@pytest.mark.parametrize(
    ("steps", "sentence"),
    [
        ([{"op": "aprove"}], 'step 1: no op "aprove", did you mean "approve"?'),
        ([{"op": "event"}], 'step 1: event needs "id"'),
        ([{"op": "event", "id": "A"}], 'step 1: no change "A" has been made before'),
        ([{"op": "hold", "on": True, "of": 1}], 'step 1: hold has no "of"; allowed are on'),
        ([{"op": "promote", "pipeline": "gate"}], 'step 1: promote needs "id" or "ids"'),
        ([{"op": "change", "id": "A", "project": "p"}] * 2, 'step 2: there is a change "A" already'),
    ],
)
def test_bad_step_is_told_in_a_sentence(steps: list[dict[str, Any]], sentence: str) -> None:
    with pytest.raises(BadScenario) as bad:
        parse_scenario({"config": ".", "steps": steps})
    assert str(bad.value).startswith(sentence)


def test_changes_of_different_lines_merge_and_of_the_same_do_not() -> None:
    base = "one\ntwo\nthree\nfour\n"
    assert merge_texts(base, base.replace("one", "1"), base.replace("four", "4")) == "1\ntwo\nthree\n4\n"
    with pytest.raises(Conflict):
        merge_texts(base, base.replace("two", "2"), base.replace("two", "zwei"))
