"""`headgate simulate`: what the rules do in a scenario, without any server."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer

from cli.configuration_questions import read_tenants
from cli.configuration_sources import Sources, hostname_of
from headgate.configuration import BadTenantFile
from headgate.simulation import BadScenario, Setting, parse_scenario, run


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
    scenario: Annotated[Path, typer.Argument(metavar="SCENARIO.json", help="A configuration and the steps to play.")],
) -> None:
    """Play a scenario with a simulated Gerrit and executor, and print as JSON what the queues, builds and changes came to."""
    try:
        value = json.loads(scenario.read_text())
    except (OSError, ValueError) as wrong:
        raise BadScenario(f"{scenario} cannot be read: {wrong}") from wrong
    parsed = parse_scenario(value)
    setting = read_setting(scenario.parent / parsed.config)
    typer.echo(json.dumps(run(parsed, setting), indent=1))


def register(app: typer.Typer) -> None:
    app.command()(simulate)
