"""`headgate key`: the public key that a project's secrets are encrypted with."""

from __future__ import annotations

from typing import Annotated

import typer

from cli.options import CONFIG, ConfigOption
from headgate.problems import Problem
from tasks.installation import read_settings


def key(
    project: Annotated[str, typer.Argument(metavar="PROJECT", help="Canonical, or its end if only one ends so.")],
    config: ConfigOption = CONFIG,
) -> None:
    """Print a project's public key, for `headgate encrypt --key`; it is made when it is first asked for."""
    from headgate.configuration.encryption import BadKey
    from tasks.runtime import open_connections
    from tasks.secret_keys import SecretKeys
    from tasks.tenants import check_tenant_file

    settings = read_settings(config)
    known = dict.fromkeys(check_tenant_file(settings.tenant_file, open_connections(settings)))
    found = [name for name in known if name == project] or [name for name in known if name.endswith(f"/{project}")]
    if len(found) != 1:
        raise Problem(
            f"'{project}' is {'no project' if not found else 'several projects'} of {settings.tenants}: {', '.join(found or known)}."
        )
    try:
        typer.echo(SecretKeys(settings.state / "keys").public(found[0]), nl=False)
    except BadKey as wrong:
        raise Problem(f"The key of {found[0]} in {settings.state / 'keys'} is {wrong}.") from wrong


def register(app: typer.Typer) -> None:
    app.command()(key)
