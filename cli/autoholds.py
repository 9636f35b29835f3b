"""`headgate autohold`: whose failure is waited for, so that its nodes can be looked at."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Annotated

import typer

from cli.nodes import Json, ask_store, show
from cli.options import CONFIG, ConfigOption
from cli.queues import known_project, one_of
from headgate.configuration.problems import nearest
from headgate.problems import Problem
from headgate.settings import Settings
from tasks.installation import database_url
from tasks.node_store import Autohold, NodeStore

if TYPE_CHECKING:  # it takes a second to import, which `--help` need not
    from tasks.tenants import Tenants

group = typer.Typer(help="Hold the nodes of builds that will fail.", invoke_without_command=True)


@group.callback()
def list_autoholds(context: typer.Context, as_json: Json = False, config: ConfigOption = CONFIG) -> None:
    """Hold the nodes of builds that will fail; without a verb, those that wait for one."""
    if context.invoked_subcommand:
        return
    found = ask_store(config, lambda store, _: store.holds.autoholds())
    show([{name: getattr(one, name) for name in Autohold.__slots__} for one in found], as_json, "No failure is waited for.")


@asynccontextmanager
async def open_tenants(settings: Settings) -> AsyncIterator[Tenants]:
    """The tenants with what is in force of their configuration."""
    from tasks.database import Listener, open_engine
    from tasks.git import Caches
    from tasks.runtime import open_connections
    from tasks.store import Store
    from tasks.tenants import Tenants

    connections = open_connections(settings)
    url = database_url(settings)
    store = Store(open_engine(url, connections=1), Listener(url))
    try:
        yield Tenants(settings.tenant_file, store, Caches(settings.state / "git"), connections)
    finally:
        await store.close()
        await asyncio.gather(*(connection.close() for connection in connections.values()))


@group.command("add")
def add_autohold(
    tenant: Annotated[str, typer.Option(help="The tenant.")],
    project: Annotated[str, typer.Option(help="Its name, or its canonical name.")],
    job: Annotated[str, typer.Option(help="The job.")],
    reason: Annotated[str, typer.Option(help="Why, for others.")],
    change: Annotated[str, typer.Option(help="Only this change: number, or number,patchset.")] = "",
    count: Annotated[int, typer.Option(min=1, help="How many failed builds.")] = 1,
    hold_hours: Annotated[float, typer.Option(min=0, help="How long nodes are held; 0 for as long as `max-hold-age` says.")] = 24,
    expires_hours: Annotated[float, typer.Option(min=0, help="After that nothing is waited for any more; 0 for never.")] = 0,
    config: ConfigOption = CONFIG,
) -> None:
    """Hold the nodes of the next builds of a job that fail."""
    if change and not all(part.isdecimal() for part in change.split(",", 1)):
        raise Problem(f"{change} is no change: write NUMBER or NUMBER,PATCHSET.")

    async def add(store: NodeStore, settings: Settings) -> str:
        from tasks.store import new_id

        async with open_tenants(settings) as tenants:
            name = one_of(tenant, "tenant", [each.name for each in tenants.tenants()])
            layout = await tenants.layout(name)
            theirs = known_project(layout, project).name
            if job not in layout.state.jobs:
                raise Problem(f'Tenant {name} has no job "{job}"{nearest(job, layout.state.jobs) or "."}')
        now = datetime.now(UTC)
        expires = now + timedelta(hours=expires_hours) if expires_hours else None
        seconds = int(hold_hours * 3600) or settings.max_hold_age
        wanted = Autohold(new_id(), name, theirs, job, change, count, seconds, reason, now, expires)
        await store.holds.add(wanted)
        return wanted.id

    typer.echo(ask_store(config, add))


@group.command("delete")
def delete_autohold(autohold: Annotated[str, typer.Argument(help="Its id.")], config: ConfigOption = CONFIG) -> None:
    """Wait for that failure no longer. Nodes that are held stay."""
    if not ask_store(config, lambda store, _: store.holds.remove(autohold)):
        raise Problem(f"There is no autohold '{autohold}'; headgate autohold lists them.")


def register(app: typer.Typer) -> None:
    app.add_typer(group, name="autohold")
