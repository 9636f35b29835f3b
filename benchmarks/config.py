"""How fast a tenant's configuration loads, changes and freezes: a synthetic tenant of N projects, 3 jobs each, 2 branches.

    python benchmarks/config.py [--projects 1000] [--zuul PYTHON --zuul-source DIR]

With `--zuul`, the python of an environment that holds Zuul (and its source tree), Zuul's own loader does the same in the same run.
"""

from __future__ import annotations

import argparse
import json
import resource
import subprocess
import sys
import time
import tracemalloc
from collections.abc import Callable
from pathlib import Path
from typing import Any

from headgate.configuration import Layout, Ref, SourceFile, load_layout, parse_tenants
from headgate.configuration.files import forget_texts

HOST = "review.example.com"
BRANCHES = ("master", "stable")


def config_project() -> str:
    """Pipelines, a base job, and a template of 30 jobs that depend on one another."""
    text = """
- pipeline: {name: check, manager: independent, trigger: {gerrit: [{event: patchset-created}]}, success: {gerrit: {Verified: 1}}}
- pipeline: {name: gate, manager: dependent, trigger: {gerrit: [{event: comment-added}]}, success: {gerrit: {Verified: 2, submit: true}}}
- nodeset: {name: jammy, nodes: [{name: controller, label: ubuntu-jammy}]}
- job:
    name: base
    parent: null
    nodeset: jammy
    pre-run: playbooks/base/pre.yaml
    post-run: [playbooks/base/post.yaml, playbooks/base/logs.yaml]
    timeout: 1800
    vars: {base: true, nested: {a: 1}}
- job: {name: unit, run: playbooks/unit.yaml, abstract: true, vars: {nested: {b: 2}}}
"""
    for number in range(30):
        text += f"""
- job:
    name: shared-{number}
    parent: unit
    abstract: false
    timeout: {600 + number}
    required-projects: [org/project-1, org/project-2]
    files: [^src/.*, ^tests/.*]
    vars: {{number: {number}, nested: {{c: [1, 2, 3]}}}}
"""
    jobs = "".join(
        f"        - shared-{n}:\n            dependencies: [shared-{n - 1}]\n" if n else "        - shared-0\n" for n in range(30)
    )
    return f"{text}\n- project-template:\n    name: thirty\n    gate:\n      jobs:\n{jobs}"


DIFFERENT_BRANCHES = False
"""Does every branch say something else? Mostly they do not: a stable branch starts as a copy."""


def project(number: int, branch: str) -> str:
    """Three jobs and a project stanza."""
    text = ""
    branch = branch if DIFFERENT_BRANCHES else "master"
    for job in range(3):
        text += f"""
- job:
    name: project-{number}-job-{job}
    parent: unit
    abstract: false
    description: |
      Run the tests of this project on {branch}
      in some environment.
    timeout: {3600 + job}
    run: playbooks/run-{job}.yaml
    required-projects:
      - org/project-{(number + 1) % 100}
      - name: org/project-{(number + 2) % 100}
        override-checkout: {branch}
    files:
      - ^src/.*
      - ^tests/.*
    vars:
      tox_envlist: py3{job}
      nested:
        a: 1
        b: [x, y, z]
"""
    return f"""{text}
- project:
    templates: [thirty]
    check:
      jobs:
        - project-{number}-job-0
        - project-{number}-job-1:
            voting: false
        - project-{number}-job-2:
            dependencies: project-{number}-job-0
"""


def tenant_file(count: int) -> str:
    names = "".join(f"          - org/project-{number}\n" for number in range(count))
    return (
        "- tenant:\n    name: big\n    source:\n      gerrit:\n        config-projects:\n          - config\n        untrusted-projects:\n"
        + names
    )


def best(function: Callable[[], Any], times: int) -> float:
    """The least CPU time of several, in seconds: neither side waits for anything, and other programs do not count."""
    found = []
    for _ in range(times):
        start = time.process_time()
        function()
        found.append(time.process_time() - start)
    return min(found)


def files_of(count: int) -> list[SourceFile]:
    files = [SourceFile(f"{HOST}/config", "master", "zuul.yaml", config_project())]
    for number in range(count):
        files += [SourceFile(f"{HOST}/org/project-{number}", branch, "zuul.yaml", project(number, branch)) for branch in BRANCHES]
    return files


def load(count: int, files: list[SourceFile]) -> Layout:
    (tenant,) = parse_tenants(tenant_file(count))
    branches = {f"{HOST}/org/project-{number}": BRANCHES for number in range(count)}
    return load_layout(tenant, files, {"gerrit": HOST}, branches)


def measure(count: int) -> dict[str, float]:
    """Seconds for a full load, one edited file, one graph of 30 jobs; megabytes that the process grew by, and that the layout's objects
    (with the texts remembered) take."""
    files = files_of(count)

    def fresh() -> Layout:
        forget_texts()
        return load(count, files)

    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    layout = fresh()
    memory = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024
    errors = [str(problem) for problem in layout.problems]
    if errors:
        raise SystemExit(f"the synthetic tenant has errors: {errors[:3]}")
    seconds = best(fresh, 3)
    tracemalloc.start()
    traced = fresh()
    held = tracemalloc.get_traced_memory()[0] / 1_000_000
    tracemalloc.stop()
    del traced
    edits = iter(range(10_000))

    def edited() -> Layout:
        text = project(7, "master") + f"\n- job: {{name: new-{next(edits)}, parent: unit, abstract: false}}\n"
        return layout.with_files([SourceFile(f"{HOST}/org/project-7", "master", "zuul.yaml", text)])

    ref = Ref(f"{HOST}/org/project-7", "master", ("src/x",))
    assert len(layout.freeze(ref, "gate").jobs) == 30
    return {
        "load": seconds,
        "speculative layout": best(edited, 20),
        "freeze of 30 jobs": best(lambda: layout.freeze(ref, "gate"), 20),
        "megabytes": memory,
        "megabytes of objects": held,
    }


def write_tree(root: Path, count: int) -> None:
    """The same tenant as directories, for Zuul."""
    (root / "main.yaml").write_text(tenant_file(count))
    for file in files_of(count):
        name = file.project.removeprefix(f"{HOST}/").replace("/", "_")
        directory = root / "git" / (name if file.branch == "master" else f"{name}@{file.branch}")
        directory.mkdir(parents=True, exist_ok=True)
        (directory / file.path).write_text(file.text)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--projects", type=int, default=1000)
    parser.add_argument("--zuul", help="python of an environment that holds Zuul")
    parser.add_argument("--zuul-source", help="Zuul's source tree")
    parser.add_argument("--different-branches", action="store_true", help="let the two branches differ in every job")
    given = parser.parse_args()
    global DIFFERENT_BRANCHES
    DIFFERENT_BRANCHES = given.different_branches
    ours = measure(given.projects)
    result: dict[str, Any] = {"projects": given.projects, "branches differ": DIFFERENT_BRANCHES, "headgate": ours}
    if given.zuul:
        import tempfile

        with tempfile.TemporaryDirectory() as directory:
            write_tree(Path(directory), given.projects)
            script = Path(__file__).with_name("zuul_config.py")
            command = [given.zuul, str(script), directory, given.zuul_source]
            done = subprocess.run(command, check=True, capture_output=True, text=True, env={"PYTHONPATH": given.zuul_source})
        result["zuul"] = json.loads(done.stdout)
        result["times faster"] = {key: round(result["zuul"][key] / ours[key], 1) for key in result["zuul"] if key != "megabytes"}
    json.dump(result, sys.stdout, indent=1)
    print()


if __name__ == "__main__":
    main()
