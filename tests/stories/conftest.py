"""One installation for all stories. It is started again if a story left it stopped."""

from __future__ import annotations

from collections.abc import Iterator

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
def installation(tmp_path_factory: pytest.TempPathFactory, gerrit: GerritServer, node: SshNode) -> Iterator[Installation]:
    bell = Bell()
    installed = Installation(tmp_path_factory.mktemp("stories") / "ci", gerrit, node, bell)
    yield installed
    installed.clean()
    bell.close()


@pytest.fixture
def ci(installation: Installation) -> Installation:
    installation.start()
    return installation
