"""Jenkins Job Builder definitions come over as jobs, and what does not is named."""

from __future__ import annotations

from pathlib import Path

import pytest
import typer
from typer.testing import CliRunner

import cli.jenkins
from headgate.configuration import Ref
from headgate.problems import Problem
from tests.configuration.helpers import PROJECT, load

DEFINITIONS = """
- builder:
    name: run-tox
    builders:
      - shell: "tox -e {env}"
- defaults: {name: global, node: ubuntu}
- job-template:
    name: '{name}-unit-{py}'
    node: bare metal
    parameters: [{string: {name: A-B, default: b}}, {password: {name: P}}]
    wrappers: [{timeout: {timeout: 30}}]
    triggers: [{timed: '@daily'}]
    publishers: [{archive: {artifacts: 'logs/**'}}]
    builders:
      - run-tox: {env: '{py}'}
      - shell: |
          echo ${{HOME}}
          echo '{{ not a template }}'
      - copyartifact: {project: x}
- job-group: {name: 'g-{name}', jobs: ['{name}-unit-{py}']}
- project: {name: nova, py: [py38, py39], jobs: ['g-{name}']}
- job: {name: solo, disabled: true, concurrent: false, builders: [{shell: ls}]}
"""


def test_import_gives_a_configuration_that_loads(tmp_path: Path) -> None:
    (tmp_path / "jobs.yaml").write_text(DEFINITIONS)
    app = typer.Typer()
    cli.jenkins.register(app)
    result = CliRunner().invoke(app, ["import", "jjb", str(tmp_path / "jobs.yaml"), "--output", str(tmp_path)])
    assert result.exit_code == 0, (result.output, result.exception)
    for sentence in (
        "nova-unit-py38: the builder copyartifact",
        "the parameter password",
        "triggers (timed)",
        "publishers (archive)",
        "solo: it is disabled",
    ):
        assert sentence in result.output
    layout = load(project=(tmp_path / "zuul.d" / "jenkins.yaml").read_text())
    assert not layout.errors
    graph = layout.freeze(Ref(PROJECT, "master"), "check")
    assert graph.names == ("nova-unit-py38", "nova-unit-py39")
    job = graph["nova-unit-py38"]
    assert (job.timeout, job.vars, job.nodesets[0].nodes[0].label) == (1800, {"A_B": "b"}, "bare metal")
    playbook = (tmp_path / "playbooks" / "jenkins" / "nova-unit-py38.yaml").read_text()
    assert "tox -e py38" in playbook
    assert "{% raw %}" in playbook


def test_what_is_no_definition_is_one_sentence(tmp_path: Path) -> None:
    (tmp_path / "jobs.yaml").write_text("- jobb: {name: x}")
    with pytest.raises(Problem, match="cannot read this"):
        cli.jenkins.expanded([tmp_path / "jobs.yaml"])
