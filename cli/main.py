"""The `headgate` command: its groups of verbs, and how a problem is shown."""

from __future__ import annotations

import importlib
import sys

import typer

from headgate.problems import Problem

app = typer.Typer(
    name="headgate",
    help="Gerrit, Zuul and Nodepool's work as Prefect flows.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)

GROUPS = ("cli.running", "cli.demo", "cli.reruns", "cli.configuration", "cli.jenkins")
"""One file per group of verbs; each adds its commands to `app` in `register(app)`."""


def main() -> None:
    """Run the command. A `Problem` is one sentence on stderr and exit code 1."""
    for group in GROUPS:
        importlib.import_module(group).register(app)
    try:
        app()
    except Problem as problem:
        print(f"headgate: {problem}", file=sys.stderr)
        sys.exit(1)


if __name__ == "__main__":
    main()
