"""The key that a project's secrets are encrypted for: one RSA key per project in a file of its own, made when it is first asked for.

`STATE-DIR/keys/<project, quoted>.pem`, readable by its owner only. Keys exported from Zuul may be put there under that name.
"""

from __future__ import annotations

import contextlib
import tempfile
from pathlib import Path
from urllib.parse import quote

from headgate.configuration.encryption import new_private_key, public_key
from headgate.problems import Problem


class SecretKeys:
    """The keys in one directory. Safe to use from several processes at once."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory

    def path(self, project: str) -> Path:
        """Where the key of a canonical project is."""
        return self.directory / f"{quote(project, safe='')}.pem"

    def private(self, project: str) -> str:
        """The private key, PEM; made now (about a second) if there is none. Raises `Problem`."""
        path = self.path(project)
        try:
            if not path.exists():
                self._make(path)
            return path.read_text()
        except OSError as problem:
            raise Problem(f"The key of {project} in {self.directory} cannot be used: {problem.strerror}.") from problem

    def public(self, project: str) -> str:
        """The public key, PEM. As `private`, and raises `encryption.BadKey` if the file holds something else."""
        return public_key(self.private(project))

    def _make(self, path: Path) -> None:
        self.directory.mkdir(parents=True, exist_ok=True, mode=0o700)
        with tempfile.NamedTemporaryFile("w", dir=self.directory) as file:  # only its owner may read it
            file.write(new_private_key())
            file.flush()
            with contextlib.suppress(FileExistsError):  # another process was first: its key is the project's
                path.hardlink_to(file.name)
