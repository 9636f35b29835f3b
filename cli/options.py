"""Options that several commands take, and what they do first."""

from __future__ import annotations

import asyncio
import logging
import os
import signal
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
    handler = logging.FileHandler(path, mode="w")
    handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)-7s %(name)s: %(message)s"))
    logging.getLogger("headgate").handlers = [handler]
    logging.getLogger().handlers = [handler]


def stop_on_signals() -> asyncio.Event:
    """An event set by Ctrl-C or SIGTERM; a second Ctrl-C ends at once."""
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()

    def asked() -> None:
        if stop.is_set():
            os._exit(130)
        stop.set()

    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, asked)
    return stop
