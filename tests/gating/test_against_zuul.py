"""The same scenarios on Zuul's own scheduler and on ours: equal queues, builds, votes and merges at every snapshot.

Needs what `zuul_installation` names. `HEADGATE_ZUUL_SEEDS` (8) says how many random scenarios of each configuration are played.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from cli.simulate import read_setting
from headgate.simulation import parse_scenario, run
from tests.gating.scenarios import scenario
from tests.gating.zuul_installation import VERSION, installation, is_possible

HERE = Path(__file__).parent
SEEDS = int(os.environ.get("HEADGATE_ZUUL_SEEDS", "8"))

pytestmark = [
    pytest.mark.zuul,
    pytest.mark.slow,
    pytest.mark.timeout(1200),
    pytest.mark.skipif(not is_possible(), reason="needs what zuul_installation names"),
]


@pytest.fixture(scope="module")
def environment(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, str]]:
    with installation(tmp_path_factory.mktemp("zuul")) as variables:
        yield variables


def on_zuul(played: dict[str, Any], directory: Path, environment: dict[str, str]) -> Any:
    """What Zuul comes to, in the form of `headgate simulate`."""
    root = Path(environment["HEADGATE_ZUUL"]).resolve()
    (directory / "scenario.json").write_text(json.dumps(played))
    shutil.copy(HERE / "zuul_scheduler.py", directory)
    files = {"SCENARIO": str(directory / "scenario.json"), "ANSWER": str(directory / "answer.json")}
    source = root / f"zuul-{VERSION}"
    done = subprocess.run(
        [root / "venv" / "bin" / "python", "-m", "testtools.run", "zuul_scheduler.Play.test_scenario"],
        cwd=source,
        env={**environment, **files, "PYTHONPATH": f"{directory}:{source}"},
        capture_output=True,
        text=True,
        timeout=400,
    )
    assert (directory / "answer.json").exists(), done.stdout[-3000:]
    return json.loads((directory / "answer.json").read_text())


def without_messages(result: Any) -> Any:
    """Their texts hold Zuul's own names and times."""
    return {**result, "changes": {name: {**change, "messages": None} for name, change in result["changes"].items()}}


@pytest.mark.parametrize("seed", range(SEEDS))
@pytest.mark.parametrize("name", ["everything", "zuul's single-tenant"])
def test_same_scenario_comes_to_the_same(name: str, seed: int, tmp_path: Path, environment: dict[str, str]) -> None:
    zuul = Path(environment["HEADGATE_ZUUL"]).resolve() / f"zuul-{VERSION}" / "tests" / "fixtures" / "config" / "single-tenant"
    config = HERE / "configurations" / name if name == "everything" else zuul
    setting = read_setting(config)
    played = scenario(seed, next(iter(setting.layouts.values())), str(config))
    ours = json.loads(json.dumps(run(parse_scenario(played), setting)))
    assert without_messages(ours) == without_messages(on_zuul(played, tmp_path, environment))
