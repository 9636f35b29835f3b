"""Jenkins Job Builder definitions come over as jobs, and what does not is named."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import typer
import yaml
from jinja2 import Environment
from typer.testing import CliRunner

import cli.jenkins
from headgate.configuration import Layout, Ref
from headgate.configuration.jenkins import convert
from headgate.problems import Problem
from tests.configuration.helpers import OTHER, PROJECT, load

JJB = Path(__file__).parent / "jjb"


def imported(tmp_path: Path) -> tuple[Layout, str]:
    """The layout of everything in `jjb/`, as the command wrote it to `tmp_path`, and what the command said."""
    app = typer.Typer()
    cli.jenkins.register(app)
    result = CliRunner().invoke(app, ["import", "jjb", str(JJB), "--output", str(tmp_path)])
    assert result.exit_code == 0, (result.output, result.exception)
    pipelines = "- pipeline: {name: post, manager: independent, trigger: {gerrit: [{event: change-merged}]}}\n"
    central = (tmp_path / "config" / "zuul.d" / "jenkins.yaml").read_text()
    layout = load(config=pipelines + central, project=(tmp_path / "zuul.d" / "jenkins.yaml").read_text())
    assert not layout.errors
    return layout, result.output


def names(layout: Layout, pipeline: str, project: str = PROJECT, branch: str = "master", files: tuple[str, ...] = ()) -> tuple[str, ...]:
    return layout.freeze(Ref(project, branch, files), pipeline).names


def tasks(tmp_path: Path, job: str) -> list[dict[str, Any]]:
    (play,) = yaml.safe_load((tmp_path / "playbooks" / "jenkins" / f"{job}.yaml").read_text())
    found: list[dict[str, Any]] = play["tasks"]
    return found


def test_what_is_left_out_is_listed_whole(tmp_path: Path) -> None:
    _, said = imported(tmp_path)
    assert "hush" not in said
    assert [line for line in said.splitlines() if line.startswith("not carried over")] == (JJB / "left_out.txt").read_text().splitlines()


def test_json_names_every_job_and_every_file(tmp_path: Path) -> None:
    app = typer.Typer()
    cli.jenkins.register(app)
    answer = json.loads(CliRunner().invoke(app, ["import", "jjb", str(JJB), "--output", str(tmp_path), "--json"]).output)
    assert {"job": "nova-unit-py310", "what": "logrotate (daysToKeep: 14)"} in answer["left_out"]
    assert all(Path(path).is_file() for path in answer["written"]) and answer["written"]


def test_jobs_are_attached_where_their_triggers_say(tmp_path: Path) -> None:
    layout, _ = imported(tmp_path)
    assert names(layout, "check", files=("src/a.py",)) == ("nova-unit-py310", "nova-unit-py311")
    assert names(layout, "check", files=("doc/a.rst",)) == ()
    assert names(layout, "check", OTHER) == ("docs-build",)
    assert names(layout, "post") == ("tarball",)
    assert names(layout, "periodic-daily") == ("matrix-debian-12-mysql", "matrix-debian-12-sqlite")
    (timer,) = layout.pipelines["periodic-daily"].triggers
    assert [field.isdigit() for field in timer.time.split()] == [True, True, False, False, False]


def test_job_has_what_jenkins_gave_it(tmp_path: Path) -> None:
    layout, _ = imported(tmp_path)
    job = layout.freeze(Ref(PROJECT, "master"), "check")["nova-unit-py310"]
    assert (job.timeout, job.nodesets[0].nodes[0].label) == (5400, "ubuntu-jammy")
    assert job.vars == {"TOX_ARGS": "-v", "COVERAGE": True, "BACKEND": "sqlite"}
    matrix = layout.freeze(Ref(PROJECT, "master"), "periodic-daily")["matrix-debian-12-mysql"]
    assert matrix.vars == {"label": "debian-12", "DATABASE": "mysql"}
    assert matrix.nodesets[0].nodes[0].label == "debian-12"
    assert [semaphore.name for semaphore in matrix.semaphores] == ["database-server"]
    tarball = layout.freeze(Ref(PROJECT, "master"), "post")["tarball"]
    assert [use.name for use in tarball.required_projects] == [OTHER]


def test_steps_keep_their_order_conditions_and_environment(tmp_path: Path) -> None:
    imported(tmp_path)
    tox, script, when, coverage, batch = tasks(tmp_path, "nova-unit-py310")
    assert tox["ansible.builtin.shell"] == "{% raw %}tox -e py310{% endraw %}"
    assert "{{ not a template }}" in script["ansible.builtin.shell"]
    assert script["environment"]["TOX_ARGS"] == "{{ TOX_ARGS }}"
    assert (when["register"], when["failed_when"]) == ("condition_3", False)
    assert coverage["when"] == ["((COVERAGE | string)) | bool", "condition_3.rc == 0"]
    assert batch["ansible.windows.win_shell"] == "{% raw %}dir{% endraw %}"
    assert batch["environment"]["SPEED"] == "{% raw %}fast{% endraw %}"
    (tar,) = tasks(tmp_path, "tarball")
    assert "'equalto', 'org/other'" in tar["args"]["chdir"]


def test_script_that_ends_a_raw_block_stays_a_script() -> None:
    script = "echo '{% endraw %}{{ lookup() }}'"
    made = convert([("x", {"builders": [{"shell": script}]})])
    (play,) = yaml.safe_load(made.files["playbooks/jenkins/x.yaml"])
    assert Environment().from_string(play["tasks"][0]["ansible.builtin.shell"]).render() == script


def test_what_is_no_definition_is_one_sentence(tmp_path: Path) -> None:
    (tmp_path / "jobs.yaml").write_text("- jobb: {name: x}")
    with pytest.raises(Problem, match="cannot read this"):
        cli.jenkins.expanded([tmp_path / "jobs.yaml"])
