"""How fast the rules decide: an empty pass and a pass with news over many items, and a queue whose heads fail one after the other.

    python -m benchmarks.gate [--items 1000] [--queues 50] [--changes 100]

Prints milliseconds for a pass, and CPU seconds for the failing heads, by number of changes. Each failing head has all behind it in the
window tested anew, so what there is to decide is the number of items tested: the changes times the window once the queue is longer than
that, half the square of the changes without a window. Linear growth is that an item tested costs the same however many there are.

    HEADGATE_ZUUL=DIRECTORY python -m benchmarks.gate --zuul 10 20

plays the failing heads of so many changes on Zuul's own scheduler too (`tests/gating/zuul_installation.py` says what that needs) and tells
how many times the CPU it takes: its scheduler's own thread, and its whole process, which has the fakes of its tests in it.
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from headgate.configuration import SourceFile, load_layout, parse_tenants
from headgate.gating import BuildEnded, Happening, job_key, pass_
from headgate.simulation import Setting
from headgate.simulation.run import Play, begin, finish
from headgate.simulation.scenario import Step
from tests.gating.comparing import on_zuul
from tests.gating.zuul_installation import installation

HOST = "review.example.com"
CONFIG = """
- pipeline:
    name: gate
    manager: dependent
    window: %d
    window-floor: %d
    trigger: {gerrit: {event: comment-added, approval: [{Approved: 1}]}}
    success: {gerrit: {Verified: 2, submit: true}}
    failure: {gerrit: {Verified: -2}}
- job: {name: base, parent: null, run: playbooks/run.yaml, nodeset: {nodes: [{name: controller, label: small}]}}
- job: {name: merge}
- job: {name: unit}
- job: {name: lint}
"""
PROJECT = """
- project: {name: p%d, gate: {jobs: [merge, {unit: {dependencies: merge}}, {lint: {dependencies: merge}}]}}
"""


def setting(projects: int, window: int) -> Setting:
    names = ["config", *(f"p{number}" for number in range(projects))]
    untrusted = ", ".join(names[1:])
    source = f"{{gerrit: {{config-projects: [config], untrusted-projects: [{untrusted}]}}}}"
    (tenant,) = parse_tenants(f"- tenant: {{name: t, source: {source}}}")
    config = CONFIG % (window, window) + "".join(PROJECT % number for number in range(projects))
    layout = load_layout(tenant, [SourceFile(f"{HOST}/config", "master", "zuul.yaml", config)], {"gerrit": HOST}, {})
    return Setting({"t": layout}, {f"{HOST}/{name}": {"master": {"README": ""}} for name in names})


def approved(play: Play, changes: int, projects: int) -> None:
    """That many changes in the gate, spread over the projects, their builds held."""
    play.executor.hold = True
    for number in range(changes):
        name = f"C{number}"
        play.step(Step("change", {"id": name, "project": f"p{number % projects}"}, False))
        play.step(Step("approve", {"id": name, "label": "Code-Review", "value": 2}, False))
        play.step(Step("approve", {"id": name, "label": "Approved", "value": 1, "event": True}, False))
    play.settle()


def milliseconds(work: Callable[[], object], rounds: int = 7) -> float:
    """The quickest of some rounds, in CPU time."""
    times = []
    for _ in range(rounds):
        started = time.process_time()
        work()
        times.append(time.process_time() - started)
    return round(min(times) * 1000, 2)


def measure_pass(items: int, queues: int) -> dict[str, float]:
    play = begin(setting(queues, 20))
    approved(play, items, queues)
    facts, tenancy = play.scheduler.knowledge["t"], play.scheduler.tenancies["t"]
    running = next(iter(play.executor.running.values())).start
    ended: tuple[Happening, ...] = (BuildEnded(running.buildset, job_key(running.job), running.build, "FAILURE"),)
    return {
        "items": len(tenancy.pipelines["gate"].items),
        "quiet pass ms": milliseconds(lambda: pass_(tenancy, "gate", (), facts, play.now)),
        "head fails ms": milliseconds(lambda: pass_(tenancy, "gate", ended, facts, play.now)),
    }


def failing_heads(changes: int, window: int) -> dict[str, float]:
    """CPU seconds of a whole gate in which each head fails in turn, and per item that was tested, anew or for the first time."""
    play = begin(setting(1, window))
    approved(play, changes, 1)
    for number in range(changes):
        play.executor.failing.add(("merge", number + 1))
    started = time.process_time()
    for number in range(changes):
        play.step(Step("release", {"id": f"C{number}"}))
    finish(play)
    seconds = time.process_time() - started
    tested = len(play.scheduler.merger.worlds)
    return {"CPU s": round(seconds, 2), "items tested": tested, "ms per item tested": round(seconds / tested * 1000, 2)}


def on_zuuls_scheduler(changes: int, window: int) -> dict[str, object]:
    """The same on Zuul's scheduler, beside ours in this run."""
    ours = failing_heads(changes, window)
    names = [f"C{number}" for number in range(changes)]
    steps: list[dict[str, object]] = [{"op": "hold", "on": True}]
    for name in names:
        steps += [
            {"op": "change", "id": name, "project": "p0"},
            {"op": "approve", "id": name, "label": "Code-Review", "value": 2},
            {"op": "approve", "id": name, "label": "Approved", "value": 1, "event": True, "nosettle": name != names[-1]},
            {"op": "fail", "job": "merge", "id": name},
        ]
    steps += [{"op": "release", "id": name} for name in names]
    with tempfile.TemporaryDirectory() as temporary, installation(Path(temporary)) as environment:
        config = Path(temporary) / "config"
        for path, text in {
            "main.yaml": "- tenant: {name: t, source: {gerrit: {config-projects: [common-config], untrusted-projects: [p0]}}}\n",
            "git/common-config/zuul.yaml": CONFIG % (window, window) + PROJECT % 0,
            "git/common-config/playbooks/run.yaml": "- hosts: all\n  tasks: []\n",
            "git/p0/README": "",
        }.items():
            (config / path).parent.mkdir(parents=True, exist_ok=True)
            (config / path).write_text(text)
        answer = on_zuul({"heads": {"config": str(config), "steps": steps}}, environment, seconds=7200)["heads"]
    if answer is None:
        return {"each head fails": changes, "Zuul": "did not come to an end"}
    zuul = answer["CPU s"]
    times = {name: round(spent / ours["CPU s"]) for name, spent in zuul.items()}
    merged = sum(change["status"] == "MERGED" for change in answer["changes"].values())
    return {
        "each head fails": changes,
        "window": window,
        "Headgate CPU s": ours["CPU s"],
        "Zuul CPU s": zuul,
        "times": times,
        "merged": merged,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    for name, default in (("items", 1000), ("queues", 50), ("changes", 100)):
        parser.add_argument(f"--{name}", type=int, default=default)
    parser.add_argument("--zuul", type=int, nargs="+", metavar="CHANGES")
    given = parser.parse_args()
    if given.zuul:
        for changes in given.zuul:
            print(json.dumps(on_zuuls_scheduler(changes, 20)), flush=True)
        return
    print(json.dumps(measure_pass(given.items, given.queues)))
    for changes in sorted({given.changes // 4, given.changes // 2, given.changes}):
        print(json.dumps({"each head fails": changes, "window": 20, **failing_heads(changes, 20)}))
    for changes in sorted({given.changes // 4, given.changes // 2, given.changes}):
        print(json.dumps({"each head fails": changes, "window": "all", **failing_heads(changes, changes)}))


if __name__ == "__main__":
    main()
