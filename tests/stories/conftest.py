"""One installation for all stories. It is started again if a story left it stopped."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.services.bell import Bell
from tests.services.gerrit import GerritServer
from tests.services.installation import Installation
from tests.services.sshd import SshNode, sshd_node


@pytest.fixture(scope="session")
def node(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SshNode]:
    with sshd_node(tmp_path_factory.mktemp("nodes")) as server:
        yield server


@pytest.fixture(scope="session")
def installation(gerrit: GerritServer, node: SshNode) -> Iterator[Installation]:
    bell = Bell()
    # not below pytest's own directory: as root PostgreSQL is another user, and every start of pytest closes that to others
    directory = Path(tempfile.mkdtemp(prefix="headgate-stories-"))
    installed = Installation(directory / "ci", gerrit, node, bell)
    yield installed
    installed.clean()
    shutil.rmtree(directory, ignore_errors=True)
    bell.close()


@pytest.fixture
def ci(installation: Installation) -> Iterator[Installation]:
    installation.start()
    yield installation
    installation.bell.forget(installation.last_change)
