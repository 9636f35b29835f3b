"""The `headgate` command: its groups of verbs, and how a problem is shown."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Mapping

import typer

from headgate.problems import Problem

app = typer.Typer(
    name="headgate",
    help="Gerrit, Zuul and Nodepool's work as Prefect flows.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)


@app.callback()
def headgate() -> None:
    """Gerrit, Zuul and Nodepool's work as Prefect flows."""  # with a callback, one verb alone is still a verb


GROUPS: Mapping[str, tuple[str, ...]] = {
    "cli.running": ("up", "worker"),
    "cli.demo": ("demo",),
    "cli.reruns": ("rerun", "flaky"),
    "cli.queues": ("status", "queues", "enqueue", "enqueue-ref", "dequeue", "dequeue-ref", "promote"),
    "cli.keys": ("key",),
    "cli.console": ("console",),
    "cli.trying": ("try",),
    "cli.configuration": ("check", "jobs", "explain", "diff", "schema", "encrypt"),
    "cli.jenkins": ("import",),
    "cli.nodes": ("nodes", "requests", "labels", "providers"),
    "cli.autoholds": ("autohold",),
    "cli.simulate": ("simulate",),
    "cli.images": ("images",),
}
"""One file per group of verbs; each adds its commands to `app` in `register(app)`. Only the group that is asked for is imported."""


def main() -> None:
    """Run the command. A `Problem` is one sentence on stderr and exit code 1."""
    asked = sys.argv[1] if len(sys.argv) > 1 else ""
    for group in [group for group, verbs in GROUPS.items() if asked in verbs] or GROUPS:
        importlib.import_module(group).register(app)
    try:
        app(prog_name="headgate")
    except Problem as problem:
        print(f"headgate: {problem}", file=sys.stderr)
        sys.exit(1)


if __name__ == "__main__":
    main()
