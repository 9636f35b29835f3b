"""`headgate simulate`: what the rules do in a scenario, without any server."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer

from cli.configuration_questions import read_tenants
from cli.configuration_sources import Sources, hostname_of
from headgate.configuration import BadTenantFile
from headgate.simulation import BadScenario, Scenario, Setting, parse_recording, parse_scenario, replay, run


def read_setting(directory: Path) -> Setting:
    """Tenants and repositories from a directory with `main.yaml` and `git/`. Raises `BadScenario`."""
    sources = Sources(directory)
    try:
        tenants = read_tenants(directory / "main.yaml")
    except BadTenantFile as bad:
        raise BadScenario(str(bad)) from bad
    trees = {
        f"{hostname_of(project.connection, {})}/{project.name}": {
            branch: {path: tree.text(path) for path in tree.paths()} for branch, tree in sources.trees(project).items()
        }
        for tenant in tenants
        for project in tenant.projects
    }
    return Setting({tenant.name: sources.layout(tenant) for tenant in tenants}, trees)


def simulate(
    scenarios: Annotated[list[Path], typer.Argument(metavar="SCENARIO.json", help="A configuration and the steps to play.")],
    recorded: Annotated[
        Path | None,
        typer.Option("--replay", metavar="EVENTS", help="Play these events instead, under each SCENARIO's configuration (or directory)."),
    ] = None,
) -> None:
    """Play a scenario with a simulated Gerrit and executor, and print as JSON what the queues, builds and changes came to.

    With --replay, compare policies: what each configuration would have made of recorded events.
    """
    if recorded is not None:
        recording = parse_recording(_read(recorded))
        policies = {str(each): replay(recording, read_setting(_directory(each))) for each in scenarios}
        typer.echo(json.dumps(policies, indent=1))
        return
    for scenario in scenarios:
        parsed = _parsed(scenario)
        typer.echo(json.dumps(run(parsed, read_setting(scenario.parent / parsed.config)), indent=1))


def _directory(policy: Path) -> Path:
    """Where a policy's configuration is: the directory itself, or that of a scenario."""
    return policy if policy.is_dir() else policy.parent / _parsed(policy).config


def _parsed(scenario: Path) -> Scenario:
    try:
        return parse_scenario(json.loads(_read(scenario)))
    except ValueError as wrong:
        raise BadScenario(f"{scenario} cannot be read: {wrong}") from wrong


def _read(path: Path) -> str:
    try:
        return path.read_text()
    except (OSError, UnicodeDecodeError) as wrong:
        raise BadScenario(f"{path} cannot be read: {wrong}") from wrong


def register(app: typer.Typer) -> None:
    app.command()(simulate)
