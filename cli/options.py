"""Options that several commands take, and what they do first."""

from __future__ import annotations

import logging
import sys
from pathlib import Path
from typing import Annotated

import typer

ConfigOption = Annotated[Path, typer.Option("--config", "-c", envvar="HEADGATE_CONFIG", help="The configuration file.")]
CONFIG = Path("headgate.yaml")


def log_to_stderr(verbose: bool = False) -> None:
    """Our own messages, one line each, with the time."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)-7s %(name)s: %(message)s"))
    ours = logging.getLogger("headgate")
    ours.handlers = [handler]
    ours.propagate = False
    ours.setLevel(logging.DEBUG if verbose else logging.INFO)


def log_to_file(path: Path) -> None:
    """The same, for a command whose terminal belongs to a story."""
    log_to_stderr()
    # not a FileHandler: Prefect sets up logging anew when it is imported, which closes those for good
    handler = logging.StreamHandler(path.open("w"))
    handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)-7s %(name)s: %(message)s"))
    logging.getLogger("headgate").handlers = [handler]
