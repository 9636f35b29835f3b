"""The kinds of connection, by the class of their settings. A kind is one settings class, one file and one line here."""

from __future__ import annotations

from tasks.connection_settings import ConnectionSettings, GerritSettings
from tasks.connections import Connection


def open_connection(settings: ConnectionSettings) -> Connection:
    """The connection these settings describe. It touches nothing outside yet: `check` does.

    The files are imported when first needed, because asyncssh costs 0.2 s that a place without Gerrit need not pay.
    """
    if isinstance(settings, GerritSettings):
        from tasks.gerrit import GerritConnection

        return GerritConnection(settings)
    from tasks.local_git import LocalGitConnection

    return LocalGitConnection(settings)
