"""`headgate try`: one job of a checkout, here and now."""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import shutil
import sys
import time
import uuid
from collections.abc import AsyncIterator, Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
import yaml

from cli.options import ConfigOption
from cli.trying_places import Places, find_places
from headgate.problems import Problem
from tasks.installation import read_settings

if TYPE_CHECKING:
    from tasks.connections import Connection
    from tasks.playbooks import Build
    from tasks.trial import Chosen, World

DIRECTORY = Path("~/.cache/headgate/try")
KEPT = 10
"""Tries whose consoles and logs stay."""
Tell = Callable[[str], None]


def try_job(
    job: Annotated[str, typer.Argument(metavar="JOB", help="The job's name; not needed with --release.")] = "",
    project: Annotated[str, typer.Option(help="The project under test; by default the one whose checkout this is.")] = "",
    branch: Annotated[str, typer.Option(help="The branch it is meant for; by default the one it is on or follows.")] = "",
    pipeline: Annotated[str, typer.Option(help="By default the first that runs the job.")] = "",
    tenants: Annotated[Path | None, typer.Option(help="The tenant file; by default main.yaml here or above.")] = None,
    tenant: Annotated[str, typer.Option(help="By default the first that has the project.")] = "",
    source: Annotated[list[str] | None, typer.Option(help="Where a checkout is: NAME=DIR, or NAME@BRANCH=DIR; may be repeated.")] = None,
    hostname: Annotated[list[str] | None, typer.Option(help="A connection's canonical hostname: NAME=HOST.")] = None,
    node_from: Annotated[str, typer.Option(metavar="PROVIDER", help="A provider of --config, or a driver.")] = "local",
    secret: Annotated[list[str] | None, typer.Option(help="A secret's values in a YAML file: NAME=FILE.")] = None,
    hold: Annotated[bool, typer.Option("--hold", help="Keep the nodes; --release gives them back.")] = False,
    shell: Annotated[bool, typer.Option("--shell", help="Open a shell where the job has run, before the nodes go.")] = False,
    release: Annotated[bool, typer.Option("--release", help="Give back every node that was held.")] = False,
    config: ConfigOption | None = None,
    directory: Annotated[Path, typer.Option(help="Where tries are kept.")] = DIRECTORY,
) -> None:
    """Run one job of this checkout, uncommitted changes included, without a server: exit code 0 if it succeeds."""
    from cli.trying_nodes import release_held

    directory = directory.expanduser().absolute()
    if release:
        for node in asyncio.run(release_held(directory, config)):
            typer.echo(f"{node} is given back")
        return
    if not job:
        raise Problem("Which job? headgate try JOB; headgate jobs lists those of a project.")
    places = find_places(Path.cwd(), tenants, tenant, project, source or (), hostname or (), config)
    secrets = read_secrets(secret or ())
    trial = Trial(directory, places, typer.echo, hold, shell)
    try:
        result = asyncio.run(trial.run(job, branch, pipeline, node_from, config, secrets))
    except KeyboardInterrupt:
        typer.echo("cancelled; what it started is gone" + (", the nodes are kept" if hold else ""))
        raise typer.Exit(130) from None
    raise typer.Exit(0 if result == "SUCCESS" else 1)


def read_secrets(given: list[str] | tuple[str, ...]) -> dict[str, Any]:
    """`NAME=FILE` options as values. Raises `Problem`."""
    found = {}
    for each in given:
        name, equals, file = each.partition("=")
        try:
            value = yaml.safe_load(Path(file).read_text()) if equals else None
        except (OSError, UnicodeDecodeError, yaml.YAMLError) as wrong:
            raise Problem(f"--secret {name}: {file} cannot be read: {str(wrong).splitlines()[0]}.") from wrong
        if not isinstance(value, dict):
            raise Problem(f"--secret {each}: NAME=FILE is expected, and in FILE a mapping of names to values.")
        found[name] = value
    return found


class Trial:
    """One run of the command. `tell` gets what a person reads."""

    def __init__(self, directory: Path, places: Places, tell: Tell, hold: bool = False, shell: bool = False) -> None:
        self._directory = directory
        self._places = places
        self._tell = tell
        self._hold = hold
        self._shell = shell

    async def run(self, job: str, branch: str, pipeline: str, node_from: str, config: Path | None, secrets: dict[str, Any]) -> str:
        """Until the job has ended; its result. Raises `Problem`."""
        from tasks.git import Caches, GitProblem
        from tasks.trial import choose, read_world, without_secrets
        from tasks.zygote import zygote

        warm = asyncio.create_task(zygote())  # half a second that is needed anyway
        places = self._places
        connections: Mapping[str, Connection] = {}
        if config is not None:
            from tasks.runtime import open_connections

            connections = open_connections(read_settings(config))
        try:
            world = await read_world(
                places.tenant, places.directories, Caches(self._directory / "git"), places.hostnames, places.project, branch, connections
            )
        except GitProblem as wrong:
            raise Problem(f"{wrong}.") from wrong
        chosen = choose(world, places.canonical, job, pipeline)
        remaining, lacking = without_secrets(chosen.job, secrets)
        self._introduce(world, chosen)
        for playbook, name in lacking:
            self._tell(f"left out: {playbook.path} of {playbook.project}, which needs the secret {name} (--secret {name}=FILE)")
        if not remaining.run:
            raise Problem(f"Nothing of {job} is left to run without its secrets.")
        await warm
        return await self._on_nodes(world, dataclasses.replace(chosen, job=remaining), node_from, config, secrets)

    def _introduce(self, world: World, chosen: Chosen) -> None:
        snapshot = world.snapshots[chosen.project]
        more = f", {counted(snapshot.uncommitted, 'file')} not committed" if snapshot.uncommitted else ""
        self._tell(f"{chosen.job.name} for {chosen.project} ({chosen.branch}{more}) as in {chosen.pipeline}")
        if errors := [problem for problem in chosen.layout.problems if problem.is_error]:
            self._tell(f"the configuration has {counted(len(errors), 'error')}, the first: {errors[0]}")
        if chosen.attached:
            self._tell(f"no pipeline of the project runs it: it is tried as if {chosen.pipeline} did")
        if needs := ", ".join(dependency.name for dependency in chosen.job.dependencies):
            self._tell(f"what it depends on is not run: {needs}")

    async def _on_nodes(self, world: World, chosen: Chosen, node_from: str, config: Path | None, secrets: dict[str, Any]) -> str:
        from cli.trying_nodes import nodes_for
        from tasks.building import make_key
        from tasks.trial import make_trial_plan

        build = uuid.uuid4().hex
        place = self._directory / "builds" / build
        place.mkdir(parents=True, mode=0o700)
        await asyncio.to_thread(forget_old, place.parent)
        _, public_key = await asyncio.to_thread(make_key, place)
        async with nodes_for(chosen.job, node_from, self._directory, config, build, public_key, self._hold) as nodes:
            try:
                plan = await make_trial_plan(world, chosen, build, place, nodes, secrets)
            except LookupError as wrong:
                raise Problem(f"{str(wrong).strip(chr(39))}.") from wrong
            result = await self._play(plan)
            if self._hold:
                self._say_where(plan)
        shutil.rmtree(place / "exports", ignore_errors=True)
        return result

    async def _play(self, plan: Any) -> str:
        from tasks.playbooks import BuildProblem, run_build
        from tasks.sandbox import SandboxProblem
        from tasks.workspace import WorkspaceProblem
        from tasks.zygote import ZygoteProblem

        began = time.monotonic()
        (plan.directory / "console.log").touch(mode=0o640)
        try:
            async with shown(plan.directory / "console.log"):
                outcome = await run_build(plan, self._converse if self._shell else None)
        except (BuildProblem, SandboxProblem, WorkspaceProblem, ZygoteProblem) as wrong:
            raise Problem(f"{str(wrong).rstrip('.')}.") from wrong
        result = outcome.verdict.result or "RETRY"
        self._tell(f"{result} in {time.monotonic() - began:.1f} s; console and logs are in {plan.directory / 'logs'}")
        if outcome.verdict.retry:
            self._tell(f"this says nothing about the change, so the job would be tried up to {plan.job.attempts} times")
        for warning in outcome.warnings:
            self._tell(f"warning: {warning}")
        return result

    async def _converse(self, build: Build) -> None:
        from cli.trying_nodes import shell_command
        from tasks.terminal import talk

        await asyncio.sleep(0.1)  # what the console says last is shown before
        command, environment, where = await shell_command(build)
        self._tell(f"a shell on {where}; the end of it (Ctrl-D) ends the build")
        await asyncio.to_thread(talk, command, environment)

    def _say_where(self, plan: Any) -> None:
        from cli.trying_nodes import way_to

        for name, node in plan.nodes.items():
            self._tell(f"{name} is kept: {way_to(node, plan.directory)}")
        self._tell("headgate try --release gives it back" if plan.nodes else "there is no node to keep")


def counted(number: int, name: str) -> str:
    return f"{number} {name}{'' if number == 1 else 's'}"


@contextlib.asynccontextmanager
async def shown(console: Path) -> AsyncIterator[None]:
    """While this lasts, what is written to the console is printed, with the time of day only."""
    from tasks.following import Watcher, follow

    ended = asyncio.Event()
    watcher = Watcher()

    async def wait() -> None:
        await ended.wait()

    async def copy() -> None:
        start = True
        async for chunk in follow(console, 0, watcher, wait):
            for line in chunk.splitlines(keepends=True):
                sys.stdout.buffer.write(line[11:19] + line[26:] if start and line[10:11] == b" " else line)
                start = line.endswith(b"\n")
            sys.stdout.buffer.flush()

    copying = asyncio.create_task(copy())
    try:
        yield
    finally:
        ended.set()
        await copying
        watcher.close()


def forget_old(builds: Path) -> None:
    """Remove all but the newest tries; those that hold nodes stay."""
    old = sorted((path for path in builds.iterdir() if not (path / "held.json").exists()), key=lambda path: path.stat().st_mtime)
    for path in old[:-KEPT]:
        shutil.rmtree(path, ignore_errors=True)


def register(app: typer.Typer) -> None:
    app.command("try")(try_job)
