"""`headgate nodes`, `requests`, `labels`, `providers`: what there is of nodes, who waits and why, and what is kept."""

from __future__ import annotations

import asyncio
import json
from collections import Counter
from collections.abc import Awaitable, Callable, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Annotated, Any, TypeVar

import typer

from cli.options import CONFIG, ConfigOption
from headgate.node_allocation import in_order
from headgate.node_estimates import Life, Waiting, estimates
from headgate.node_pools import pools_of
from headgate.nodes import NodeState, Request, Size
from headgate.problems import Problem
from headgate.settings import Settings
from providers.base import LimitedSettings
from tasks.installation import database_url, read_settings
from tasks.node_store import NodeStore, Past, StoredNode

Json = Annotated[bool, typer.Option("--json", help="As JSON.")]
Row = dict[str, Any]
Result = TypeVar("Result")
group = typer.Typer(help="Nodes that exist, with who has them.", invoke_without_command=True)
HISTORY = timedelta(days=1)


def ask_store(config: Path, ask: Callable[[NodeStore, Settings], Awaitable[Result]]) -> Result:
    from tasks.database import open_engine

    settings = read_settings(config)

    async def run() -> Result:
        engine = open_engine(database_url(settings), connections=2)
        try:
            return await ask(NodeStore(engine), settings)
        finally:
            await engine.dispose()

    return asyncio.run(run())


def show(rows: Sequence[Row], as_json: bool, nothing: str) -> None:
    if as_json:
        typer.echo(json.dumps(rows, indent=2, default=str))
    elif not rows:
        typer.echo(nothing)
    else:
        from rich.box import SIMPLE
        from rich.console import Console
        from rich.table import Table

        table = Table(*rows[0], box=SIMPLE, pad_edge=False)
        for row in rows:
            table.add_row(*("" if value is None else str(value) for value in row.values()))
        Console(soft_wrap=True).print(table)


def _ago(moment: datetime) -> str:
    return _spell(datetime.now(UTC) - moment)


def _spell(span: timedelta) -> str:
    seconds = int(span.total_seconds())
    for unit, length in (("d", 86400), ("h", 3600), ("m", 60)):
        if seconds >= 2 * length:
            return f"{seconds // length}{unit}"
    return f"{seconds}s"


@group.callback()
def nodes(context: typer.Context, as_json: Json = False, config: ConfigOption = CONFIG) -> None:
    """Nodes that exist, with who has them."""
    if context.invoked_subcommand:
        return
    found = ask_store(config, lambda store, _: store.nodes())
    rows = [
        {
            "id": node.id,
            "label": node.label,
            "provider": node.provider,
            "zone": node.zone,
            "state": str(node.state),
            "for": _ago(node.changed),
            "build": node.request,
            "address": f"{node.node.username}@{node.node.host}:{node.node.port}" if node.node and node.node.connection == "ssh" else "",
            "message": node.message,
        }
        for node in found
    ]
    show(rows, as_json, "There are no nodes.")


async def _the_node(store: NodeStore, beginning: str) -> str:
    found = [node.id for node in await store.nodes() if node.id.startswith(beginning)]
    if len(found) != 1:
        raise Problem(f"{f'{len(found)} nodes begin' if found else 'No node begins'} with '{beginning}'; headgate nodes lists them.")
    return found[0]


@group.command("hold")
def hold(
    node: Annotated[str, typer.Argument(help="Its id, or the beginning.")],
    reason: Annotated[str, typer.Option(help="Why, for others.")] = "held by hand",
    hours: Annotated[float, typer.Option(min=0, help="For how long; 0 for as long as `max-hold-age` says.")] = 0,
    config: ConfigOption = CONFIG,
) -> None:
    """Keep a node when its build ends, to look at it."""

    async def ask(store: NodeStore, settings: Settings) -> str:
        node_id = await _the_node(store, node)
        if not await store.holds.hold(node_id, reason, int(hours * 3600) or settings.max_hold_age):
            raise Problem(f"Node {node_id} is not up: only nodes that are ready or in use can be held.")
        return node_id

    typer.echo(f"{ask_store(config, ask)} is held; `headgate nodes delete` gives it back.")


@group.command("delete")
def delete(node: Annotated[str, typer.Argument(help="Its id, or the beginning.")], config: ConfigOption = CONFIG) -> None:
    """Give a node back now, whatever it is doing."""

    async def ask(store: NodeStore, _: Settings) -> str:
        node_id = await _the_node(store, node)
        await store.discard(node_id, now=True)
        return node_id

    typer.echo(f"{ask_store(config, ask)} goes away, now or when Headgate runs again.")


def requests(as_json: Json = False, config: ConfigOption = CONFIG) -> None:
    """Builds that wait for nodes: why each waits, and for about how long still."""

    from tasks.runtime import open_providers

    async def ask(store: NodeStore, settings: Settings) -> list[Row]:
        labels = {name: set(provider.labels) for name, provider in open_providers(settings).items()}
        stored = {one.id: one for one in await store.open_requests()}
        nodes = await store.nodes()
        order = in_order(await store.waiting())
        about = _estimates(order, labels, nodes, await store.history(HISTORY))
        return [
            {
                "build": one.id,
                "project": stored[one.id].project,
                "labels": " ".join(one.labels),
                "waits": _ago(one.created),
                "about": _spell(about[one.id]) if one.id in about else "unknown",
                "reason": stored[one.id].reason,
            }
            for one in order
            if one.id in stored
        ]

    show(ask_store(config, ask), as_json, "Nobody waits for nodes.")


def _estimates(
    order: Sequence[Request], labels: Mapping[str, set[str]], nodes: Sequence[StoredNode], past: Sequence[Past]
) -> dict[str, timedelta]:
    """About how long each request waits still. `labels` are those of each provider."""
    began: dict[str, datetime] = {}
    for node in nodes:
        began[node.request] = max(began.get(node.request, node.created), node.created)
    waiting = [
        Waiting(
            one.id,
            len(one.labels),
            frozenset({one.provider} if one.provider else {name for name, has in labels.items() if has >= set(one.labels)} - one.declined),
            began.get(one.id) if one.provider else None,
        )
        for one in order
    ]
    running = Counter(node.provider for node in nodes if node.state is not NodeState.HOLD)
    lives = [Life(one.provider, one.created, one.up, one.ended) for one in past if one.up is not None]
    return estimates(waiting, running, lives, datetime.now(UTC))


def labels(as_json: Json = False, config: ConfigOption = CONFIG) -> None:
    """What jobs can ask for, who has it, and what is kept ready."""
    from tasks.runtime import open_providers

    async def ask(store: NodeStore, settings: Settings) -> list[Row]:
        providers = open_providers(settings)
        known = await store.nodes()
        ready = {pool.label: pool.min_ready for pool in pools_of(settings.labels)}
        names = sorted({*ready, *(label for provider in providers.values() for label in provider.labels)})
        return [
            {
                "label": name,
                "providers": " ".join(provider.name for provider in providers.values() if name in provider.labels) or "none",
                "nodes": sum(node.label == name for node in known),
                "ready": sum(node.label == name and node.state is NodeState.READY and not node.request for node in known),
                "min-ready": ready.get(name, 0),
            }
            for name in names
        ]

    show(ask_store(config, ask), as_json, "No provider has a label.")


def _used(count: int, limit: int | None) -> str:
    return f"{count} of {limit}" if limit is not None else str(count)


def providers(as_json: Json = False, config: ConfigOption = CONFIG) -> None:
    """Where nodes come from: what is used of which limit (MiB of ram), who set it, and how many launches failed within a day."""
    from tasks.runtime import open_providers

    async def ask(store: NodeStore, settings: Settings) -> list[Row]:
        known, past, full = await store.nodes(), await store.history(HISTORY), await store.full()
        places = open_providers(settings)
        capacities = await asyncio.gather(*(place.capacity() for place in places.values()))
        rows = []
        for place, capacity in zip(places.values(), capacities, strict=True):
            mine = [place.labels.get(node.label, Size()) for node in known if node.provider == place.name]
            tried = [one for one in past if one.provider == place.name and (one.up or one.failed)]
            failed = sum(bool(one.failed) for one in tried)
            own = place.settings.limits.nodes if isinstance(place.settings, LimitedSettings) else capacity.nodes
            rows.append(
                {
                    "provider": place.name,
                    "driver": place.settings.driver,
                    "isolation": place.isolation,
                    "nodes": _used(len(mine), capacity.nodes),
                    "cores": _used(sum(size.cores for size in mine), capacity.cores),
                    "ram": _used(sum(size.ram for size in mine), capacity.ram),
                    "limited by": "nothing" if capacity.nodes is None else "quota" if capacity.nodes != own else "settings",
                    "full": "yes" if place.name in full else "no",
                    "failed": f"{failed} of {len(tried)}" + (f" ({100 * failed // len(tried)} %)" if tried else ""),
                }
            )
            await place.close()
        return rows

    show(ask_store(config, ask), as_json, "No provider is configured.")


def register(app: typer.Typer) -> None:
    app.add_typer(group, name="nodes")
    for verb in (requests, labels, providers):
        app.command()(verb)
