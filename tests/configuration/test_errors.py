"""Every kind of error and warning as its user reads it: `X.yaml` is the text of a file, `X.txt` what is said of it.

`errors/` and `warnings/` hold a project's file, `tenant_errors/` a tenant file. A case may begin with comments that set the stage: see
`Stage`. After a wanted change of a message, run with `HEADGATE_REWRITE_GOLDEN=1` and review the difference.
"""

from __future__ import annotations

import os
import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import yaml

from headgate.configuration import BadTenantFile, FreezeFailed, Layout, Ref, SourceFile, load_layout, parse_tenants
from headgate.configuration.advice import advice
from tests.configuration.helpers import BASE, CONFIG, HOST, OTHER, PROJECT, load

HERE = Path(__file__).parent
LOCKED = """
- job: {name: locked, final: true, run: x.yaml}
- job: {name: half, abstract: true, intermediate: true}
- job: {name: guarded, protected: true, run: x.yaml}
- job: {name: nothing-to-run, parent: null}
- nodeset: {name: jammy, nodes: [{name: controller, label: ubuntu-jammy}]}
- secret: {name: theirs, data: {a: b}}
- project-template: {name: shared, check: {jobs: []}}
"""


@dataclass
class Stage:
    """What a case may say of the world that its file is in, each as a comment `# key: YAML` before the first line."""

    place: str = "project"
    """`config`: it is the config-project's file."""
    tenant: dict[str, Any] = field(default_factory=dict)
    file: list[Any] = field(default_factory=list)
    """Other items of the tenant file."""
    project: dict[str, Any] = field(default_factory=dict)
    """What the tenant file says of the project."""
    branches: dict[str, Any] = field(default_factory=lambda: {"master": ""})
    """The branches the file is on; `BRANCH` in it becomes the value."""
    also: str = ""
    """Another path with the same content."""
    freeze: str = ""
    """A pipeline to freeze a graph for."""


def cases(directory: str) -> pytest.MarkDecorator:
    return pytest.mark.parametrize("case", sorted((HERE / directory).glob("*.yaml")), ids=lambda case: case.stem)


def staged(text: str) -> tuple[Layout, Stage]:
    stage = Stage(**{key: yaml.safe_load(value) for key, value in re.findall(r"^# (\w+): (.*)$", text, re.MULTILINE)})
    projects = [{"org/project": stage.project} if stage.project else "org/project", "org/other"]
    source = {"gerrit": {"config-projects": ["config"], "untrusted-projects": projects}}
    items = [*stage.file, {"tenant": {"name": "example", "source": source, **stage.tenant}}]
    files = [SourceFile(CONFIG, "master", "zuul.yaml", BASE + LOCKED + (text if stage.place == "config" else ""))]
    for branch, value in stage.branches.items() if stage.place == "project" else ():
        files += [SourceFile(PROJECT, branch, path, text.replace("BRANCH", str(value))) for path in ("zuul.yaml", stage.also) if path]
    (tenant,) = parse_tenants(yaml.safe_dump(items))
    return load_layout(tenant, files, {"gerrit": HOST}, {PROJECT: list(stage.branches), OTHER: ("master",)}), stage


def compare(case: Path, said: str) -> None:
    golden = case.with_suffix(".txt")
    if os.environ.get("HEADGATE_REWRITE_GOLDEN"):
        golden.write_text(said)
    assert said == golden.read_text()
    assert said


@cases("errors")
def test_error(case: Path) -> None:
    layout, stage = staged(case.read_text())
    said = "".join(f"{problem}\n" for problem in layout.problems)
    if stage.freeze:
        with pytest.raises(FreezeFailed) as failed:
            layout.freeze(Ref(PROJECT, "master", ("a" * 60 + "b",)), stage.freeze)
        said += f"{failed.value}\n"
    compare(case, said)


@cases("warnings")
def test_warning(case: Path) -> None:
    layout, _ = staged(case.read_text())
    assert not layout.errors
    compare(case, "".join(f"{problem}\n" for problem in advice(layout) if problem.project == PROJECT))


@cases("tenant_errors")
def test_error_of_a_tenant_file(case: Path) -> None:
    with pytest.raises(BadTenantFile) as bad:
        parse_tenants(case.read_text())
    compare(case, f"{bad.value}\n")


def test_same_error_on_many_branches_is_one() -> None:
    layout = load(project="- job: {name: unit, timeout: soon}", branches=("master", "stable", "old"))
    (problem,) = layout.problems
    assert problem.branches == ("master", "old", "stable")
    assert len(layout.occurrences) == 3


def test_broken_object_drops_out_and_the_rest_stands() -> None:
    layout = load(project="- job: {name: broken, timeout: soon}\n- job: {name: fine}\n- project: {check: {jobs: [fine]}}")
    assert "fine" in layout.state.jobs
    assert "broken" not in layout.state.jobs
