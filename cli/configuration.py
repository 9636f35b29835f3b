"""`headgate check`, `jobs`, `explain`, `diff`, `schema`, `encrypt`: Zuul's configuration, offline."""

from __future__ import annotations

import json
import sys
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any

import typer

from cli.configuration_questions import BadQuestion, Question, World, answer, batch, overlaid, read_tenants, the_ref, world_of
from headgate.configuration import BadTenantFile, FreezeFailed, Layout
from headgate.configuration.advice import advice
from headgate.configuration.answers import plain, problem_answers
from headgate.configuration.differing import differences
from headgate.configuration.differing_text import readable
from headgate.configuration.encryption import BadKey, as_yaml, encrypt, public_key
from headgate.configuration.explaining import explain
from headgate.configuration.problems import Problem as Finding
from headgate.configuration.schema import configuration_schema, tenant_schema
from headgate.problems import Problem

Directory = Annotated[Path, typer.Argument(metavar="DIR", help="Holds the tenant file and git/<project, / as _>.")]
Json = Annotated[bool, typer.Option("--json", help="Print JSON.")]
Main = Annotated[str, typer.Option(help="Name of the tenant file.")]
Source = Annotated[
    list[str] | None, typer.Option(help="A checkout, bare repository or directory: NAME=DIR, or NAME@BRANCH=DIR; may be repeated.")
]
Hostname = Annotated[list[str] | None, typer.Option(help="A connection's canonical hostname: NAME=HOST.")]
Overlay = Annotated[list[str] | None, typer.Option(help="A proposed branch: PROJECT@BRANCH=DIR; may be repeated.")]
Files = Annotated[list[str] | None, typer.Option("--file", help="A file the change touches; may be repeated.")]


def register(app: typer.Typer) -> None:
    """Add this file's commands."""
    for command in (check, jobs, schema):
        app.command()(command)
    app.command("explain")(explain_jobs)
    app.command("diff")(diff_jobs)
    app.command("encrypt")(encrypt_secret)


def _world(directory: Path, main: str, source: list[str] | None, hostname: list[str] | None) -> World:
    try:
        return world_of(directory, main, source or (), hostname or ())
    except BadQuestion as wrong:
        raise Problem(str(wrong)) from wrong


def _print_json(value: Any) -> None:
    typer.echo(json.dumps(value, indent=1, default=str))


def check(
    main: Annotated[
        Path,
        typer.Argument(metavar="MAIN.yaml", help="The tenant file (of a directory, its main.yaml); projects may lie beside it under git/."),
    ],
    source: Source = None,
    hostname: Hostname = None,
    as_json: Json = False,
) -> None:
    """Load every tenant and print what is wrong, or probably wrong, with it. Exit code 1 if anything is wrong."""
    main = main / "main.yaml" if main.is_dir() else main
    world = _world(main.parent, main.name, source, hostname)
    found: dict[str, list[Finding]] = {}
    try:
        tenants = read_tenants(main)
        for sentence in world.sources.unknown(tenants):
            typer.echo(f"warning: {sentence}", err=True)
        for tenant in tenants:
            layout = world.tenant(tenant.name)
            found[tenant.name] = [*world.sources.unread(tenant), *layout.problems, *advice(layout)]
    except (BadTenantFile, BadQuestion) as wrong:
        if as_json:
            _print_json({"error": str(wrong)})
            raise typer.Exit(1) from wrong
        raise Problem(str(wrong)) from wrong
    errors = sum(problem.is_error for problems in found.values() for problem in problems)
    if as_json:
        _print_json({name: [asdict(problem) for problem in problems] for name, problems in found.items()})
    else:
        for name, problems in found.items():
            for problem in problems:
                typer.echo(f"{problem}")
            wrong_here = sum(problem.is_error for problem in problems)
            typer.echo(f"tenant {name}: {wrong_here} error(s), {len(problems) - wrong_here} warning(s)")
    if errors:
        raise typer.Exit(1)


def jobs(
    directory: Directory,
    tenant: Annotated[str, typer.Option(help="Tenant.")] = "",
    pipeline: Annotated[str, typer.Option(help="Pipeline.")] = "",
    project: Annotated[str, typer.Option(help="Project, short or canonical.")] = "",
    branch: Annotated[str, typer.Option(help="Branch of the change (or the tag).")] = "master",
    file: Files = None,
    tag: Annotated[bool, typer.Option("--tag", help="--branch is a tag.")] = False,
    ref: Annotated[bool, typer.Option("--ref", help="--branch was pushed to; there is no change.")] = False,
    overlay: Overlay = None,
    batch_file: Annotated[Path | None, typer.Option("--batch", help="A JSON list of such queries.")] = None,
    main: Main = "main.yaml",
    source: Source = None,
    hostname: Hostname = None,
    as_json: Json = False,
) -> None:
    """Freeze the job graph of a change that does not exist yet."""
    world = _world(directory, main, source, hostname)
    if batch_file is not None:
        try:
            _print_json(batch(world, json.loads(batch_file.read_text())))
        except (OSError, ValueError, BadQuestion) as wrong:
            raise Problem(f"{batch_file}: {wrong}") from wrong
        return
    result = answer(world, _question(tenant, pipeline, project, branch, file, tag, ref, overlay))
    if as_json:
        _print_json(result)
    elif "error" in result:
        raise Problem(result["error"])
    else:
        _print_jobs(result)


def _question(
    tenant: str,
    pipeline: str,
    project: str,
    branch: str,
    file: list[str] | None = None,
    tag: bool = False,
    ref: bool = False,
    overlay: list[str] | None = None,
) -> Question:
    question = Question(tenant, pipeline, project, branch, file or (), tag, ref, overlay or ())
    missing = [f"--{name}" for name in ("tenant", "pipeline", "project") if not getattr(question, name)]
    if missing:
        raise Problem(f"{', '.join(missing)} must be given")
    return question


def _print_jobs(result: dict[str, Any]) -> None:
    for job in result["jobs"]:
        needs = ", ".join(each["name"] + (" (soft)" if each["soft"] else "") for each in job["dependencies"])
        labels = ", ".join(node["label"] for node in job["nodeset"][0]) or "no node"
        parents = " < ".join(reversed(job["parents"][:-1])) or "base job"
        typer.echo(f"{job['name']}{'' if job['voting'] else ' (non-voting)'}: {parents}; {labels}")
        if needs:
            typer.echo(f"    after {needs}")
    if not result["jobs"]:
        typer.echo("no job runs, see headgate explain")
    errors = sum(each["severity"] == "error" for each in result["config_errors"])
    if errors:
        typer.echo(f"{errors} configuration error(s), see headgate check", err=True)


def explain_jobs(
    directory: Directory,
    tenant: Annotated[str, typer.Option(help="Tenant.")],
    pipeline: Annotated[str, typer.Option(help="Pipeline.")],
    project: Annotated[str, typer.Option(help="Project, short or canonical.")],
    branch: Annotated[str, typer.Option(help="Branch of the change (or the tag).")] = "master",
    file: Files = None,
    tag: Annotated[bool, typer.Option("--tag", help="--branch is a tag.")] = False,
    ref: Annotated[bool, typer.Option("--ref", help="--branch was pushed to; there is no change.")] = False,
    overlay: Overlay = None,
    main: Main = "main.yaml",
    source: Source = None,
    hostname: Hostname = None,
    as_json: Json = False,
) -> None:
    """Say of each job whether it runs and why, and which definition set each of its attributes."""
    world = _world(directory, main, source, hostname)
    question = _question(tenant, pipeline, project, branch, file, tag, ref, overlay)
    layout, proposed = _before_and_after(world, tenant, overlay)
    try:
        failure, jobs_explained = explain(proposed, the_ref(proposed, question), pipeline, layout)
    except (BadQuestion, FreezeFailed) as wrong:
        raise Problem(str(wrong)) from wrong
    if as_json:
        _print_json({"error": failure, "jobs": [asdict(each) for each in jobs_explained]})
        return
    if failure:
        typer.echo(f"no job runs: {failure}")
    for each in jobs_explained:
        typer.echo(f"{each.name} {'runs' if each.runs else 'does not run'}: {each.reason}")
        for origin in each.origins:
            typer.echo(f"    {origin.attribute:22} {origin.job}, {origin.place}")


def _before_and_after(world: World, tenant: str, overlay: list[str] | None) -> tuple[Layout, Layout]:
    try:
        layout = world.tenant(tenant)
        return layout, overlaid(layout, overlay, world.sources)[0] if overlay else layout
    except (BadQuestion, BadTenantFile) as wrong:
        raise Problem(str(wrong)) from wrong


def diff_jobs(
    directory: Directory,
    tenant: Annotated[str, typer.Option(help="Tenant.")],
    overlay: Annotated[list[str], typer.Option(help="A proposed branch: PROJECT@BRANCH=DIR; may be repeated.")],
    main: Main = "main.yaml",
    source: Source = None,
    hostname: Hostname = None,
    as_json: Json = False,
) -> None:
    """Show what would run differently, in every project, if a change to the configuration merged."""
    world = _world(directory, main, source, hostname)
    try:
        before = world.tenant(tenant)
        after = overlaid(before, overlay, world.sources)[1]
    except (BadQuestion, BadTenantFile) as wrong:
        raise Problem(str(wrong)) from wrong
    found = list(differences(before, after))
    new = [problem for problem in after.problems if problem not in before.problems]
    if as_json:
        entries = [plain(asdict(each)) for each in found]
        _print_json({"differences": entries, "problems": [entry for each in new for entry in problem_answers(each, after)]})
        return
    for line in (*map(str, new), *readable(found)):
        typer.echo(line)
    typer.echo(f"{len(found)} difference(s), {len(new)} new problem(s)")


def schema(tenants: Annotated[bool, typer.Option("--tenants", help="Of the tenant file.")] = False) -> None:
    """Print the JSON Schema of configuration files, so that an editor completes and checks them."""
    _print_json(tenant_schema() if tenants else configuration_schema())


def encrypt_secret(
    key: Annotated[Path, typer.Option(help="The project's public key (or its private one), PEM.")],
    name: Annotated[str, typer.Option(help="Name of the secret.")] = "SECRET",
    field: Annotated[str, typer.Option(help="Name of the value in it.")] = "FIELD",
    infile: Annotated[Path | None, typer.Option(help="Where the plain text is; standard input if not given.")] = None,
    strip: Annotated[bool, typer.Option("--strip", help="Take white space off both ends.")] = False,
) -> None:
    """Encrypt a value for a project, as a secret stanza in Zuul's format."""
    try:
        plain_text = infile.read_text() if infile else sys.stdin.read()
        pem = key.read_text()
        public = public_key(pem) if "PRIVATE KEY" in pem else pem
        typer.echo(as_yaml(encrypt(plain_text.strip() if strip else plain_text, public), name, field), nl=False)
    except BadKey as wrong:
        raise Problem(f"{key}: {wrong}") from wrong
    except (OSError, UnicodeDecodeError) as wrong:
        raise Problem(f"cannot be read: {wrong}") from wrong
