"""Where an installation's files are: its settings, and the addresses of what runs. Light to import: commands begin here."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from headgate.problems import Problem
from headgate.settings import Settings, SettingsProblem, parse_settings

CONFIG_VARIABLE = "HEADGATE_CONFIG"
RESULTS_BLOCK = "headgate"
"""Prefect's block for results, of which our flows keep none."""


def read_settings(path: Path) -> Settings:
    """The settings in a file. Raises `SettingsProblem` in one sentence, also when there is no such file."""
    try:
        text = path.read_text()
    except FileNotFoundError:
        raise SettingsProblem(f"There is no configuration file {path}: name one with --config.") from None
    except (OSError, UnicodeDecodeError) as problem:
        raise SettingsProblem(f"The configuration file {path} cannot be read: {problem}.") from problem
    return parse_settings(text, path)


def address_file(settings: Settings) -> Path:
    """Where `headgate up` writes down where its parts are: {"database": URL, "prefect": URL, "web": URL, "process": PID}."""
    return settings.state / "addresses.json"


def addresses(settings: Settings) -> dict[str, Any]:
    """Where the parts of the running installation are. Raises `Problem` when it does not run."""
    try:
        found: dict[str, Any] = json.loads(address_file(settings).read_text())
    except (OSError, ValueError):
        raise Problem(f"Headgate is not running in {settings.state}: start it with `headgate up`.") from None
    return found


def database_url(settings: Settings) -> str:
    """The database of this installation, which for an embedded one must be running. Raises `Problem`."""
    return settings.database if settings.database != "embedded" else str(addresses(settings)["database"])


def prefect_environment(settings: Settings, database: str | None = None) -> dict[str, str]:
    """The settings every process of ours gives Prefect, in the environment before Prefect is first imported. `database` is for the
    server alone."""
    environment = {
        "PREFECT_API_URL": settings.prefect_url,
        "PREFECT_HOME": str(settings.state / "prefect"),
        "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
        # connections beyond the pool are made and closed for each use: that was a quarter of what its database and it took in a busy minute
        "PREFECT_SERVER_DATABASE_SQLALCHEMY_POOL_SIZE": "15",
        "PREFECT_SERVER_DATABASE_SQLALCHEMY_MAX_OVERFLOW": "0",
        "PREFECT_SERVER_EPHEMERAL_ENABLED": "false",
        "PREFECT_SERVER_LOGGING_LEVEL": "WARNING",
        "PREFECT_SERVER_SERVICES_DB_VACUUM_ENABLED": "events,flow_runs",
        # tasks' states are written together, a second late at most, instead of each by itself: a third of the server's time for a run
        "PREFECT_SERVER_SERVICES_TASK_RUN_RECORDER_BATCH_SIZE": "200",
        "PREFECT_SERVER_SERVICES_TASK_RUN_RECORDER_FLUSH_INTERVAL": "1",
        # our server asks for no such token, and every run's client would ask for one
        "PREFECT_CLIENT_CSRF_SUPPORT_ENABLED": "false" if settings.prefect.url is None else "true",
        # named, it is looked up once a process instead of several times a run
        "PREFECT_DEFAULT_RESULT_STORAGE_BLOCK": f"local-file-system/{RESULTS_BLOCK}",
        "DO_NOT_TRACK": "1",
    }
    if settings.prefect.auth:
        environment["PREFECT_SERVER_API_AUTH_STRING"] = settings.prefect.auth
        environment["PREFECT_API_AUTH_STRING"] = settings.prefect.auth
    if database is not None:
        environment["PREFECT_API_DATABASE_CONNECTION_URL"] = database.replace("postgresql://", "postgresql+asyncpg://", 1)
    return environment
