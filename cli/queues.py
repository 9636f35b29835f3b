"""The verbs of operators: what is in the pipelines and why it waits, and what shall be in them."""

from __future__ import annotations

import asyncio
import json
import os
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Annotated, Any, TypeVar

import typer

from cli.options import CONFIG, ConfigOption
from headgate.changes import Change, Event
from headgate.configuration.problems import nearest
from headgate.configuration.stanza import Wrong
from headgate.problems import Problem
from headgate.records import Command, CommandKind
from headgate.refs import change_of_ref
from tasks.installation import database_url, prefect_environment, read_settings

if TYPE_CHECKING:  # these take a second to import, which `--help` need not
    from headgate.configuration import Layout
    from headgate.configuration.projects import Known
    from headgate.gating import Key
    from services.web.reader import Status
    from tasks.runtime import Runtime

Result = TypeVar("Result")

ChangesArgument = Annotated[list[str], typer.Argument(help="Changes, each NUMBER or NUMBER,PATCHSET.", metavar="CHANGE...")]
ProjectArgument = Annotated[str, typer.Argument(help="The project's name.", metavar="PROJECT")]
RefArgument = Annotated[str, typer.Argument(help="refs/heads/BRANCH (or BRANCH alone) or refs/tags/TAG.", metavar="REF")]
TenantOption = Annotated[str, typer.Option("--tenant", "-t", help="The tenant; not needed where there is one.")]
PipelineOption = Annotated[str, typer.Option("--pipeline", "-p", help="The pipeline.")]
ConnectionOption = Annotated[str, typer.Option("--connection", help="The changes' connection; not needed where there is one.")]
JsonOption = Annotated[bool, typer.Option("--json", help="As JSON, in the shape of Zuul's status.")]


def _with_runtime(config: Any, work: Callable[[Runtime], Awaitable[Result]]) -> Result:
    settings = read_settings(config)
    database_url(settings)  # says so if there is no installation to work for
    os.environ.update(prefect_environment(settings))

    async def run() -> Result:
        from tasks.runtime import Runtime

        runtime = await Runtime.open(settings)
        try:
            return await work(runtime)
        finally:
            await runtime.close()

    return asyncio.run(run())


def one_of(name: str, kind: str, known: list[str]) -> str:
    """The one that was named, or the only one there is."""
    if name in known:
        return name
    if not name and len(known) == 1:
        return known[0]
    there = ", ".join(known)
    if not name:
        raise Problem(f"Which {kind}? There is {there}: say --{kind}.")
    raise Problem(f"There is no {kind} {name}{nearest(name, known) or f'; there is {there}.'}")


async def _key(runtime: Runtime, connection: str, text: str) -> tuple[str, int, int]:
    number, _, patchset = text.partition(",")
    if not number.isdecimal() or not (patchset or "1").isdecimal():
        raise Problem(f"{text} is no change: write NUMBER or NUMBER,PATCHSET.")
    try:
        change = await runtime.connections[connection].change(int(number), int(patchset) if patchset else None)
    except LookupError:
        raise Problem(f"There is no change {text} at {connection}.") from None
    return change.key


def _ask(kind: CommandKind, changes: list[str], pipeline: str, tenant: str, connection: str, config: Any, reason: str = "") -> None:
    async def ask(runtime: Runtime) -> str:
        layout, name = await _place(runtime, tenant, pipeline)
        server = one_of(connection, "connection", list(runtime.connections))
        keys = tuple([await _key(runtime, server, text) for text in changes])
        return await _outcome(runtime, layout.tenant.name, name, kind, keys, reason)

    typer.echo(f"{kind.value} {' '.join(changes)}: {_with_runtime(config, ask)}.")


async def _place(runtime: Runtime, tenant: str, pipeline: str) -> tuple[Layout, str]:
    """The tenant's layout and the name of the pipeline."""
    layout = await runtime.tenants.layout(one_of(tenant, "tenant", [each.name for each in runtime.tenants.tenants()]))
    return layout, one_of(pipeline, "pipeline", list(layout.pipelines))


async def _outcome(
    runtime: Runtime, tenant: str, pipeline: str, kind: CommandKind, keys: tuple[Key, ...], reason: str = "", refs: tuple[Change, ...] = ()
) -> str:
    """Ask the scheduler, and wait for what becomes of it."""
    from tasks.store import new_id

    command = Command(new_id(), tenant, pipeline, kind, datetime.now(UTC), keys, reason=reason, refs=refs)
    async with runtime.store.watch("queues", "items") as changed:
        await runtime.store.ask(command)
        try:
            async with asyncio.timeout(30):
                while (outcome := await runtime.store.outcome(command.id)) is None:
                    await changed.wait()
                    changed.clear()
        except TimeoutError:
            return "kept; it is done as soon as the scheduler runs"
    return outcome


def enqueue(
    changes: ChangesArgument,
    pipeline: PipelineOption = "",
    tenant: TenantOption = "",
    connection: ConnectionOption = "",
    config: ConfigOption = CONFIG,
) -> None:
    """Put changes into a pipeline, whatever it requires of them."""
    _ask(CommandKind.ENQUEUE, changes, pipeline, tenant, connection, config)


def dequeue(
    changes: ChangesArgument,
    pipeline: PipelineOption = "",
    tenant: TenantOption = "",
    connection: ConnectionOption = "",
    reason: Annotated[str, typer.Option(help="Why, for those who look later.")] = "",
    config: ConfigOption = CONFIG,
) -> None:
    """Take changes out of a pipeline; their jobs stop."""
    _ask(CommandKind.DEQUEUE, changes, pipeline, tenant, connection, config, reason)


def enqueue_ref(
    project: ProjectArgument,
    ref: RefArgument,
    pipeline: PipelineOption = "",
    tenant: TenantOption = "",
    newrev: Annotated[str, typer.Option(help="The commit it points to; without it, what it points to now.")] = "",
    oldrev: Annotated[str, typer.Option(help="The commit it pointed to before.")] = "",
    config: ConfigOption = CONFIG,
) -> None:
    """Put a branch or tag into a pipeline, as if it had just moved."""

    async def ask(runtime: Runtime) -> str:
        layout, name = await _place(runtime, tenant, pipeline)
        known, whole = known_project(layout, project), _whole(ref)
        branch = whole.removeprefix("refs/heads/") if whole.startswith("refs/heads/") else ""
        commit = newrev
        if branch and not commit:
            branches = await runtime.connections[known.settings.connection].branches(known.name)
            if branch not in branches:
                raise Problem(f"There is no branch {branch} of {project}; there is {', '.join(sorted(branches))}.")
            commit = branches[branch]
        moved = Event("", known.settings.connection, "ref-updated", datetime.now(UTC), known.name, branch, whole,
                      old_commit=oldrev, new_commit=commit)  # fmt: skip
        change = change_of_ref(moved)
        return await _outcome(runtime, layout.tenant.name, name, CommandKind.ENQUEUE, (change.key,), refs=(change,))

    typer.echo(f"enqueue {project} {ref}: {_with_runtime(config, ask)}.")


def dequeue_ref(
    project: ProjectArgument,
    ref: RefArgument,
    pipeline: PipelineOption = "",
    tenant: TenantOption = "",
    reason: Annotated[str, typer.Option(help="Why, for those who look later.")] = "",
    config: ConfigOption = CONFIG,
) -> None:
    """Take a branch or tag out of a pipeline; its jobs stop."""

    async def ask(runtime: Runtime) -> str:
        layout, name = await _place(runtime, tenant, pipeline)
        canonical, whole = known_project(layout, project).canonical, _whole(ref)
        items = [item for item in await runtime.store.live_items() if (item.tenant, item.pipeline) == (layout.tenant.name, name)]
        keys = [each.key for item in items for each in item.changes if item.project == canonical and each.is_ref and each.ref == whole]
        if not keys:
            raise Problem(f"{project} {whole} is not in {name}.")
        return await _outcome(runtime, layout.tenant.name, name, CommandKind.DEQUEUE, tuple(keys), reason)

    typer.echo(f"dequeue {project} {ref}: {_with_runtime(config, ask)}.")


def known_project(layout: Layout, name: str) -> Known:
    """The project, however it was called. Raises `Problem` for an unknown or ambiguous name."""
    tenant, projects = layout.tenant.name, layout.projects
    try:
        canonical = projects.find(name)
    except Wrong as ambiguous:
        raise Problem(f"In tenant {tenant} {ambiguous}.") from None
    if canonical is None:
        raise Problem(f'Tenant {tenant} has no project "{name}"{nearest(name, projects.by_name) or "."}')
    return projects.by_canonical[canonical]


def _whole(ref: str) -> str:
    """A branch may be named without refs/heads/."""
    return ref if ref.startswith("refs/") else f"refs/heads/{ref}"


def promote(
    changes: ChangesArgument,
    pipeline: PipelineOption = "",
    tenant: TenantOption = "",
    connection: ConnectionOption = "",
    config: ConfigOption = CONFIG,
) -> None:
    """Move changes to the head of their queues, in the order given. What was ahead of them is tested anew behind them."""
    _ask(CommandKind.PROMOTE, changes, pipeline, tenant, connection, config)


def status(tenant: TenantOption = "", as_json: JsonOption = False, config: ConfigOption = CONFIG) -> None:
    """Everything that is in the pipelines: queues as trees, what each job does, why it waits and how long it usually takes."""

    async def read(runtime: Runtime) -> Status:
        from services.store_reader import StoreReader

        return await StoreReader(runtime).status()

    _show(_with_runtime(config, read), tenant, as_json)


def queues(
    tenant: TenantOption = "",
    watch: Annotated[bool, typer.Option("--watch", "-w", help="Show them again whenever something changes, until Ctrl-C.")] = False,
    config: ConfigOption = CONFIG,
) -> None:
    """The queues as they are now, or with --watch as they change."""

    async def follow(runtime: Runtime) -> None:
        from rich.live import Live

        from cli.queue_trees import trees
        from services.store_reader import StoreReader

        reader = StoreReader(runtime)
        with Live(trees(await reader.status(), tenant, datetime.now(UTC)), auto_refresh=False) as live:
            async for _ in reader.updates():
                live.update(trees(await reader.status(), tenant, datetime.now(UTC)), refresh=True)

    if not watch:
        status(tenant, False, config)
        return
    try:
        _with_runtime(config, follow)
    except KeyboardInterrupt:
        typer.echo("")


def _show(found: Status, tenant: str, as_json: bool) -> None:
    if as_json:
        from services.web.zuul_json import tenant_status

        shown = {each.name: tenant_status(each, "") for each in found.tenants if tenant in ("", each.name)}
        typer.echo(json.dumps(shown.get(tenant, shown), indent=2))
        return
    from rich.console import Console

    from cli.queue_trees import trees

    Console().print(trees(found, tenant, datetime.now(UTC)))


def register(app: typer.Typer) -> None:
    for verb in (enqueue, enqueue_ref, dequeue, dequeue_ref, promote, status, queues):
        app.command()(verb)
