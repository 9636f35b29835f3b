"""What there is appears in the documentation: every setting, every driver's key, every command."""

from __future__ import annotations

import importlib
import re
import subprocess
import sys
from pathlib import Path

import pytest
import typer
import yaml
from pydantic import BaseModel
from typer.testing import CliRunner

from cli.main import GROUPS
from deployments.definitions import DEFINITIONS
from headgate.settings import ImagesSettings, LogSettings, PrefectSettings, Settings, WebSettings, WorkerSettings, dashed
from providers.local import LocalSettings
from providers.qemu_settings import QemuLabel, QemuSettings
from providers.static import StaticNode, StaticSettings
from tasks.connection_settings import GerritSettings, LocalGitSettings

ROOT = Path(__file__).parent.parent
RUNNING = (ROOT / "docs" / "running.md").read_text()
README = (ROOT / "README.md").read_text()
INTERNAL = {"directory"}


def keys(model: type[BaseModel], prefix: str = "") -> list[str]:
    return [prefix + dashed(name) for name in model.model_fields if name not in INTERNAL]


@pytest.mark.parametrize(
    "key",
    [
        *(key for key in keys(Settings) if key not in ("prefect", "web", "worker", "logs", "images")),
        *keys(PrefectSettings, "prefect."),
        *keys(WebSettings, "web."),
        *keys(WorkerSettings, "worker."),
        *keys(LogSettings, "logs."),
        *keys(ImagesSettings, "images."),
    ],
)
def test_every_setting_is_documented(key: str) -> None:
    assert f"`{key}`" in RUNNING


@pytest.mark.parametrize("model", [GerritSettings, LocalGitSettings, StaticSettings, StaticNode, LocalSettings, QemuSettings, QemuLabel])
def test_every_key_of_a_driver_is_documented(model: type[BaseModel]) -> None:
    assert not [
        key for key in keys(model) if f"`{key}`" not in RUNNING and key not in ("driver", "name", "canonical-hostname", "user", "nodes")
    ]


def commands() -> list[str]:
    app = typer.Typer()
    for group in GROUPS:
        importlib.import_module(group).register(app)
    return sorted(typer.main.get_command(app).commands)  # type: ignore[attr-defined]  # a group, since there are several


@pytest.mark.parametrize("command", commands())
def test_every_command_is_named_somewhere(command: str) -> None:
    texts = [README, *(path.read_text() for path in (ROOT / "docs").glob("*.md"))]
    assert any(f"headgate {command}" in text or f"`{command}`" in text for text in texts), command


def test_every_test_that_a_table_names_is_there() -> None:
    named = re.findall(r"`((?:\w+/)?test_\w+\.py)(?:::(test_\w+))?`", (ROOT / "docs" / "results.md").read_text())
    assert len(named) > 20
    assert not [f"{file}::{test}" for file, test in named if f"def {test}" not in (ROOT / "tests" / file).read_text()]


def test_prefect_yaml_has_the_deployments_of_headgate_up() -> None:
    written = yaml.safe_load((ROOT / "prefect.yaml").read_text())["deployments"]
    assert [
        (each["name"], each["entrypoint"], each["work_pool"]["name"], each["description"], [s["cron"] for s in each.get("schedules", [])])
        for each in written
    ] == [(each.flow, each.entrypoint, each.pool, each.description, [each.cron] if each.cron else []) for each in DEFINITIONS]


def test_the_readme_names_its_two_commands_first() -> None:
    blocks = [line.strip() for line in README.splitlines() if line.startswith("    make")]
    assert blocks[:2] == ["make demo", "make test"]


def test_every_group_says_which_verbs_it_has() -> None:
    for group, verbs in GROUPS.items():
        app = typer.Typer()
        app.command("none")(lambda: None)
        importlib.import_module(group).register(app)
        assert sorted(verbs) == sorted(set(typer.main.get_command(app).commands) - {"none"})  # type: ignore[attr-defined]  # a group


@pytest.mark.parametrize(("group", "verb"), [(group, verb) for group, verbs in GROUPS.items() for verb in verbs])
def test_every_verb_can_be_asked_for_help_with_only_its_own_group_there(group: str, verb: str) -> None:
    app = typer.Typer()
    app.callback()(lambda: None)
    importlib.import_module(group).register(app)
    told = CliRunner().invoke(app, [verb, "--help"], prog_name="headgate")
    assert told.exit_code == 0
    assert f"Usage: headgate {verb}" in told.output


def test_the_installed_command_imports_the_group_that_it_is_asked_for() -> None:
    command = [sys.executable, "-m", "cli.main", "console", "--help"]
    assert "Usage: headgate console" in subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout
