"""A speculative layout says exactly what a full load of the changed files would say, and touches nothing else."""

from __future__ import annotations

import random
import re

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from headgate.configuration import FreezeFailed, Layout, Ref, RemovedFile, SourceFile, load_layout, parse_tenants
from tests.configuration.helpers import CONFIG, HOST, OTHER, PROJECT, load

TENANT = """
- tenant:
    name: example
    source:
      gerrit:
        config-projects: [config]
        untrusted-projects: [org/project, org/other]
"""
PIECES = [
    "- job: {name: NAME, run: a.yaml}",
    "- job: {name: NAME, parent: OTHER}",
    "- job: {name: NAME, parent: OTHER, nodeset: NAME, voting: false}",
    "- job: {name: NAME, final: true, vars: {a: 1}}",
    "- job: {name: NAME, abstract: true, intermediate: true}",
    "- job: {name: NAME, protected: true, secrets: [OTHER], run: b.yaml}",
    "- job: {name: NAME, dependencies: [OTHER], branches: [stable]}",
    "- job: {name: NAME, timeout: wrong}",
    "- nodeset: {name: NAME, nodes: [{name: n, label: l}]}",
    "- nodeset: {name: NAME, alternatives: [OTHER]}",
    "- nodeset: {name: NAME, nodes: [{name: a, label: l}, {name: b, label: l}, {name: c, label: m}]}",
    "- secret: {name: NAME, data: {a: b}}",
    "- queue: {name: NAME}",
    "- semaphore: {name: NAME, max: 2}",
    "- project-template: {name: NAME, queue: OTHER, check: {jobs: [OTHER]}}",
    "- project: {templates: [NAME], check: {jobs: [OTHER]}}",
    "- project: {queue: NAME, gate: {jobs: [NAME, {OTHER: {voting: false}}]}, vars: {x: NAME}}",
    "- project: {name: ^org/.*, check: {jobs: [NAME]}}",
    "- project: {name: NAME}",
    "- pragma: {implied-branch-matchers: true}",
    "- job: [",
    "not a list",
]
NAMES = ["base", "one", "two", "three"]
BASE_TEXT = """
- pipeline: {name: check, manager: independent, trigger: {gerrit: [{event: patchset-created}]}}
- pipeline: {name: gate, manager: dependent, post-review: true, trigger: {gerrit: [{event: comment-added}]}}
- job: {name: base, parent: null, run: base.yaml}
- project: {name: ^org/.*, check: {jobs: [one]}}
"""


def some_text(rng: random.Random) -> str:
    chosen = [rng.choice(PIECES).replace("NAME", rng.choice(NAMES)).replace("OTHER", rng.choice(NAMES)) for _ in range(rng.randint(1, 5))]
    return "\n".join(chosen)


def full(files: dict[tuple[str, str, str], str]) -> Layout:
    (tenant,) = parse_tenants(TENANT)
    sources = [SourceFile(*key, text) for key, text in files.items()]
    return load_layout(tenant, sources, {"gerrit": HOST}, {PROJECT: ("master", "stable"), OTHER: ("master",)})


def everything(layout: Layout) -> tuple[list[str], list[str]]:
    """All that can be asked of a layout."""
    graphs = []
    for project in (PROJECT, OTHER):
        for branch in ("master", "stable"):
            for pipeline in ("check", "gate"):
                try:
                    graphs.append(str(layout.freeze(Ref(project, branch, ("README",)), pipeline)))
                except FreezeFailed as wrong:
                    graphs.append(str(wrong))
            graphs.append(str(layout.queue_of(project, branch)))
    return sorted(re.sub(', did you mean "[^"]*"[?]', "", str(problem)) for problem in layout.occurrences), graphs


@settings(max_examples=150, deadline=None)
@given(st.integers(0, 10**9))
def test_speculative_layout_equals_a_full_load(seed: int) -> None:
    rng = random.Random(seed)
    places = [
        (PROJECT, "master", "zuul.yaml"),
        (PROJECT, "stable", "zuul.yaml"),
        (OTHER, "master", "zuul.d/a.yaml"),
        (OTHER, "master", "zuul.d/b.yaml"),
    ]
    files = {(CONFIG, "master", "zuul.yaml"): BASE_TEXT} | {place: some_text(rng) for place in places if rng.random() < 0.8}
    layout = full(files)
    for _ in range(3):
        changes: list[SourceFile | RemovedFile] = []
        for place in rng.sample(places, rng.randint(1, 2)):
            if rng.random() < 0.2:
                changes.append(RemovedFile(*place))
                files.pop(place, None)
            else:
                files[place] = some_text(rng)
                changes.append(SourceFile(*place, files[place]))
        layout = layout.with_files(changes)
        assert everything(layout) == everything(full(files)), (files, changes)


def test_the_layout_it_comes_from_stays_as_it_was() -> None:
    layout = load(project="- job: {name: unit}\n- project: {check: {jobs: [unit]}}")
    before = layout.freeze(Ref(PROJECT, "master"), "check")
    changed = layout.with_files([SourceFile(PROJECT, "master", "zuul.yaml", "- project: {check: {jobs: [noop]}}")])
    assert changed.freeze(Ref(PROJECT, "master"), "check").names == ("noop",)
    assert layout.freeze(Ref(PROJECT, "master"), "check") == before


def test_config_project_is_validated_and_not_applied() -> None:
    layout = load(project="- project: {check: {jobs: [noop]}}")
    proposed = SourceFile(CONFIG, "master", "zuul.yaml", "- job: {name: base, parent: null, run: x.yaml}\n- job: {name: 1}")
    assert layout.with_files([proposed]) is layout
    validated = layout.with_files([proposed], config_projects=True)
    assert [problem.message for problem in validated.problems] == ["must be a string, found the number 1"]
    assert not validated.pipelines


def test_layouts_of_a_chain_of_items_add_up() -> None:
    layout = load(project="- project: {check: {jobs: [noop]}}")
    first = layout.with_files([SourceFile(OTHER, "master", "zuul.yaml", "- job: {name: unit}")])
    second = first.with_files([SourceFile(PROJECT, "master", "zuul.yaml", "- project: {check: {jobs: [unit]}}")])
    assert second.freeze(Ref(PROJECT, "master"), "check").names == ("unit",)
    assert layout.with_files([SourceFile(PROJECT, "master", "zuul.yaml", "- project: {check: {jobs: [unit]}}")]).errors


@pytest.mark.parametrize("path", ["README", "zuul.d/x.yml", "playbooks/zuul.yaml"])
def test_other_files_change_nothing(path: str) -> None:
    layout = load(project="- project: {check: {jobs: [noop]}}")
    assert layout.with_files([SourceFile(PROJECT, "master", path, "- bad")]) is layout


def test_job_with_changed_configuration_runs_whatever_its_files() -> None:
    text = "- job: {name: unit, files: [src/.*], timeout: 5}\n- project: {check: {jobs: [unit]}}"
    layout = load(project=text)
    ref = Ref(PROJECT, "master", ("zuul.yaml",))
    assert layout.freeze(ref, "check", ahead=layout).names == ()
    changed = layout.with_files([SourceFile(PROJECT, "master", "zuul.yaml", text.replace("5", "6"))])
    assert changed.freeze(ref, "check", ahead=layout).names == ("unit",)
    unmoved = layout.with_files([SourceFile(PROJECT, "master", "zuul.yaml", text.replace("src", "lib"))])
    assert unmoved.freeze(ref, "check", ahead=layout).names == ()


def test_graph_that_could_not_be_frozen_before_is_compared_from_the_second_look_on() -> None:
    """Zuul's first look at a broken graph finds nothing changed; what it leaves lying is compared later."""
    jobs = "".join(f"- job: {{name: {name}, files: [src/.*], timeout: 5}}\n" for name in ("one", "two"))
    text = f"{jobs}- job: {{name: idle, abstract: true}}\n- project: {{check: {{jobs: [one, two, idle]}}}}\n"
    layout = load(project=text)
    ref = Ref(PROJECT, "master", ("zuul.yaml",))
    mended = text.replace("timeout: 5", "timeout: 6").replace(", abstract: true", "")
    changed = layout.with_files([SourceFile(PROJECT, "master", "zuul.yaml", mended)])
    assert changed.freeze(ref, "check", ahead=layout).names == ("two", "idle")
    apart = load(project=text.replace("abstract: true", "abstract: true, deduplicate: false"))
    assert changed.freeze(ref, "check", ahead=apart).names == ("idle",)
