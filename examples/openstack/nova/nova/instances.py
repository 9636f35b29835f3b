"""Instances in a database, by any driver of Python's database interface."""

from __future__ import annotations

from typing import Any

TABLE = "CREATE TABLE instances (name VARCHAR(64) PRIMARY KEY, host VARCHAR(64) NOT NULL)"


def migrate(connection: Any) -> None:
    """Make the table."""
    connection.cursor().execute(TABLE)


def place(connection: Any, name: str, host: str) -> None:
    """Put an instance on a host."""
    connection.cursor().execute("INSERT INTO instances VALUES (%s, %s)", (name, host))


def on(connection: Any, host: str) -> list[str]:
    """The names of the instances on a host."""
    cursor = connection.cursor()
    cursor.execute("SELECT name FROM instances WHERE host = %s ORDER BY name", (host,))
    return [name for (name,) in cursor.fetchall()]
