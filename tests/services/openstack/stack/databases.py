"""Databases of the throw-away PostgreSQL. SQLite will not do: oslo.db opens its transactions with a plain BEGIN, so that concurrent boots
get "database is locked" from nova and placement."""

from __future__ import annotations

import psycopg2
from plan import Plan


def create(plan: Plan, name: str, like: str = "template1") -> None:
    """A new database, as a copy of `like` (to which nobody may be connected)."""
    connection = psycopg2.connect(host=plan.socket, user="postgres", dbname="postgres")
    connection.autocommit = True
    with connection.cursor() as cursor:
        cursor.execute(f'create database "{name}" template "{like}"')
    connection.close()
