"""Random scenarios on Zuul's own scheduler and on ours, in bulk; what differs is shrunk to the fewest steps that still differ.

    HEADGATE_ZUUL=DIRECTORY python -m tests.gating.comparing CONFIGURATION... [--seeds 0-20] [--steps 25] [--keep DIRECTORY]
                            [--answers DIRECTORY] [--shrink]

A CONFIGURATION is a directory of `tests/gating/configurations`, of the fixtures in Zuul's source distribution, any with `main.yaml`, or
`random-N` for the one that `random_configurations` makes of N; `random` takes another for each seed. Prints how many agreed; each
scenario that did not is kept as `NAME.json`, beside what Zuul came to. What Zuul came to in any scenario is kept in the directory of
`--answers` and taken from there the next time. Needs what `zuul_installation` names.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import shutil
import subprocess
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from cli.simulate import read_setting
from headgate.simulation import parse_scenario, run
from tests.gating.random_configurations import write
from tests.gating.scenarios import Step, scenario
from tests.gating.shrinking import shrunk
from tests.gating.zuul_installation import VERSION, installation

HERE = Path(__file__).parent
BATCH = 5


def directory_of(name: str) -> Path:
    """Where a configuration is; a random one is made."""
    if name.startswith("random-"):
        return write(int(name.removeprefix("random-")), Path(tempfile.gettempdir()) / "headgate-random-configurations")
    zuul = Path(os.environ["HEADGATE_ZUUL"]).resolve() / f"zuul-{VERSION}" / "tests" / "fixtures" / "config"
    return next((each for each in (HERE / "configurations" / name, zuul / name) if each.exists()), Path(name).resolve())


def on_zuul(scenarios: Mapping[str, Step], environment: Mapping[str, str], seconds: float = 300) -> dict[str, Any]:
    """What Zuul comes to by name, in the form of `headgate simulate`; None for one that it did not bring to its end."""
    root = Path(environment["HEADGATE_ZUUL"]).resolve()
    source = root / f"zuul-{VERSION}"
    with tempfile.TemporaryDirectory() as temporary:
        directory = Path(temporary)
        for name, played in scenarios.items():
            (directory / f"{name}.json").write_text(json.dumps(played))
        shutil.copy(HERE / "zuul_scheduler.py", directory)
        with contextlib.suppress(subprocess.TimeoutExpired):
            subprocess.run(
                [root / "venv" / "bin" / "python", "-m", "testtools.run", "zuul_scheduler.Play"],
                cwd=source,
                env={**environment, "SCENARIOS": str(directory), "PYTHONPATH": f"{directory}:{source}"},
                capture_output=True,
                timeout=60 + seconds * len(scenarios),
            )
        answers = {name: directory / f"{name}.answer" for name in scenarios}
        return {name: json.loads(path.read_text()) if path.exists() else None for name, path in answers.items()}


def on_ours(played: Step) -> Any:
    return json.loads(json.dumps(run(parse_scenario(played), read_setting(Path(played["config"])))))


def without_messages(result: Any) -> Any:
    """Their texts hold Zuul's own names and times."""
    return {**result, "changes": {name: {**change, "messages": None} for name, change in result["changes"].items()}}


def difference(ours: Any, zuuls: Any) -> str:
    """The first place where two results differ, "" if nowhere."""
    ours, zuuls = without_messages(ours), without_messages(zuuls)
    for number, (one, other) in enumerate(zip(ours["trace"], zuuls["trace"], strict=True)):
        if one != other:
            return f"snapshot {number}\n  ours {json.dumps(one)}\n  Zuul {json.dumps(other)}"
    for part in ("history", "changes"):
        if ours[part] != zuuls[part]:
            mine = [each for each in _entries(ours[part]) if each not in _entries(zuuls[part])]
            theirs = [each for each in _entries(zuuls[part]) if each not in _entries(ours[part])]
            return f"{part}\n  only ours {json.dumps(mine)}\n  only Zuul {json.dumps(theirs)}"
    return ""


def outcome(played: Step, zuuls: Any) -> str:
    """As `difference`; that ours cannot play what Zuul did is one too."""
    try:
        return difference(on_ours(played), zuuls)
    except Exception as error:  # noqa: BLE001 - whatever it is, the next scenario shall be compared too
        return f"{type(error).__name__}: {error}"


def _entries(part: Any) -> list[Any]:
    return sorted(part.items()) if isinstance(part, dict) else part


def with_snapshots(played: Step) -> Step:
    """The scenario with a snapshot after every step that settles, so that the first difference is seen where it arises."""
    steps: list[Step] = []
    for step in played["steps"]:
        steps.append(step)
        if step["op"] not in ("snapshot", "change", "fail", "conflict", "hold") and not step.get("nosettle"):
            steps.append({"op": "snapshot"})
    return {**played, "steps": steps}


def differs(played: Sequence[Step], environment: Mapping[str, str]) -> list[bool]:
    """Which of some scenarios come to something else."""
    zuuls = on_zuul({f"s{number:03}": each for number, each in enumerate(played)}, environment)
    return [(answer := zuuls[f"s{number:03}"]) is not None and bool(outcome(each, answer)) for number, each in enumerate(played)]


def made(name: str, seed: int, steps: int) -> Step:
    """The scenario of a seed under a configuration."""
    config = directory_of(name)
    return with_snapshots(scenario(seed, read_setting(config).layouts, str(config), steps))


def answered(scenarios: Mapping[str, Step], environment: Mapping[str, str], name: str, answers: Path | None) -> dict[str, Any]:
    """As `on_zuul`, without playing again what was played before."""
    if answers is None:
        return on_zuul(scenarios, environment)
    answers.mkdir(parents=True, exist_ok=True)
    files = {label: answers / f"{Path(name).name}-{label}.json" for label in scenarios}
    kept = {label: json.loads(path.read_text()) for label, path in files.items() if path.exists()}
    known = {label: each["answer"] for label, each in kept.items() if each["scenario"] == scenarios[label]}
    new = {label: each for label, each in scenarios.items() if label not in known}
    for label, answer in (on_zuul(new, environment) if new else {}).items():
        files[label].write_text(json.dumps({"scenario": scenarios[label], "answer": answer}))
        known[label] = answer
    return {label: known[label] for label in scenarios}


def compare(
    name: str, seeds: Sequence[int], steps: int, environment: Mapping[str, str], keep: Path, answers: Path | None, shrink: bool
) -> tuple[int, int]:
    """How many scenarios of a configuration agreed, and of how many that Zuul brought to their end."""
    agreed = played = 0
    for start in range(0, len(seeds), BATCH):
        some = seeds[start : start + BATCH]
        scenarios = {f"seed{seed}": made(f"{name}-{seed}" if name == "random" else name, seed, steps) for seed in some}
        for label, answer in answered(scenarios, environment, name, answers).items():
            if answer is None:
                print(f"{name} {label}: Zuul did not come to an end", flush=True)
                continue
            played += 1
            found = outcome(scenarios[label], answer)
            agreed += not found
            if found:
                print(f"{name} {label}: {found}", flush=True)
                kept = shrunk(scenarios[label], lambda some: differs(some, environment)) if shrink else scenarios[label]
                (keep / f"{Path(name).name}-{label}.json").write_text(json.dumps(kept, indent=1))
                (keep / f"{Path(name).name}-{label}.zuul").write_text(json.dumps(answer, indent=1))
    return agreed, played


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("configurations", nargs="+")
    parser.add_argument("--seeds", default="0-10")
    parser.add_argument("--steps", type=int, default=25)
    parser.add_argument("--keep", type=Path, default=Path("differences"))
    parser.add_argument("--answers", type=Path)
    parser.add_argument("--shrink", action="store_true")
    given = parser.parse_args()
    first, _, last = given.seeds.partition("-")
    given.keep.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as directory, installation(Path(directory)) as environment:
        for name in given.configurations:
            seeds = range(int(first), int(last or first) + 1)
            agreed, played = compare(name, seeds, given.steps, environment, given.keep, given.answers, given.shrink)
            print(f"{name}: {agreed} of {played} agreed", flush=True)


if __name__ == "__main__":
    main()
