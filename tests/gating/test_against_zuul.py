"""The same scenarios on Zuul's own scheduler and on ours: equal queues, builds, votes and merges at every snapshot.

Needs `HEADGATE_ZUUL`, a directory with Zuul's source (`zuul-14.3.0/`) and an environment (`venv/`) in which its own tests run, and the
services that they want, named as they want them: `ZUUL_ZK_HOST`, `ZUUL_ZK_CA`, `ZUUL_ZK_CERT`, `ZUUL_ZK_KEY`, and `PGPORT` for PostgreSQL.
"""

from __future__ import annotations

import json
import os
import random
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest

from cli.simulate import read_setting
from headgate.simulation import parse_scenario, run

ROOT = Path(os.environ.get("HEADGATE_ZUUL", "."))
SOURCE = ROOT / "zuul-14.3.0"
CONFIG = SOURCE / "tests" / "fixtures" / "config" / "single-tenant"
JOBS = ("project-merge", "project-test1", "project-test2")
Step = dict[str, Any]


def scenario(seed: int) -> Step:
    """Some changes, linked in some way, and people and builds doing this and that to them."""
    dice = random.Random(seed)
    projects = [dice.choice(("org/project", "org/project1", "org/project2")) for _ in range(dice.randint(3, 6))]
    names = [f"C{number}" for number in range(len(projects))]
    steps: list[Step] = [{"op": "hold", "on": True}]
    for number, name in enumerate(names):
        links: Step = {}
        if number and dice.random() < 0.4:
            other = dice.randrange(number)
            if dice.random() < 0.5:
                links, projects[number] = {"parent": names[other]}, projects[other]
            else:
                links = {"depends_on": [names[other]]}
        steps.append({"op": "change", "id": name, "project": projects[number], **links})
        steps.append({"op": "approve", "id": name, "label": "Code-Review", "value": 2})
        if dice.random() < 0.3:
            steps.append({"op": "fail", "id": name, "job": dice.choice(JOBS)})
    steps += [something(dice, dice.choice(names)) for _ in range(20)]
    return {"config": str(CONFIG), "steps": [*steps, {"op": "snapshot"}]}


def something(dice: random.Random, name: str) -> Step:
    go = {"op": "approve", "id": name, "label": "Approved", "value": 1, "event": True}
    release = {"op": "release", **dice.choice(({}, {"id": name}, {"regex": "project-merge"}, {"regex": "project-test."}))}
    rare = ("event", "abandon", "patchset", "conflict")
    operator = {"op": dice.choice(("dequeue", "enqueue")), "pipeline": "gate", "id": name}
    return dice.choice((go, go, release, release, {"op": "snapshot"}, {"op": dice.choice(rare), "id": name}, operator))


def on_zuul(played: Step, directory: Path) -> Any:
    """What Zuul comes to, in the form of `headgate simulate`."""
    (directory / "scenario.json").write_text(json.dumps(played))
    script = shutil.copy(Path(__file__).with_name("zuul_scheduler.py"), directory)
    environment = {
        **os.environ,
        "SCENARIO": str(directory / "scenario.json"),
        "ANSWER": str(directory / "answer.json"),
        "PYTHONPATH": f"{Path(script).parent}:{SOURCE}",
        "PATH": f"{ROOT / 'venv' / 'bin'}:{os.environ['PATH']}",
        "OS_LOG_CAPTURE": "1",
    }
    command = [str(ROOT / "venv" / "bin" / "python"), "-m", "testtools.run", "zuul_scheduler.Play.test_scenario"]
    done = subprocess.run(command, cwd=SOURCE, env=environment, capture_output=True, text=True, timeout=240)
    assert (directory / "answer.json").exists(), done.stdout[-3000:]
    return json.loads((directory / "answer.json").read_text())


def without_messages(result: Any) -> Any:
    """Their texts hold Zuul's own names and times."""
    return {**result, "changes": {name: {**change, "messages": None} for name, change in result["changes"].items()}}


@pytest.mark.zuul
@pytest.mark.slow
@pytest.mark.timeout(400)
@pytest.mark.skipif("HEADGATE_ZUUL" not in os.environ or "ZUUL_ZK_HOST" not in os.environ, reason="needs what the module's text names")
@pytest.mark.parametrize("seed", range(8))
def test_same_scenario_comes_to_the_same(seed: int, tmp_path: Path) -> None:
    played = scenario(seed)
    ours = json.loads(json.dumps(run(parse_scenario(played), read_setting(CONFIG))))
    assert without_messages(ours) == without_messages(on_zuul(played, tmp_path))
