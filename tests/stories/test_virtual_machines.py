"""The whole life of jobs on virtual machines here: a change at Gerrit, nodes that go on from a saved one, a vote, and nothing left."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

from tests.services.bell import Bell
from tests.services.gerrit import GerritServer
from tests.services.installation import Installation, playbook
from tests.services.sshd import SshNode
from tests.test_qemu import entry, running_below

pytestmark = [pytest.mark.slow, pytest.mark.image, pytest.mark.timeout(900)]

ADDRESS = "{{ hostvars.other.nodepool.private_ipv4 }}"
LOOK = f"python3 -c 'import socket; print(socket.create_connection((\"{ADDRESS}\", 22), 30).recv(4).decode())'"
ONE = {"nodes": [{"name": "primary", "label": "small"}]}
TWO = {"nodes": [{"name": "one", "label": "small"}, {"name": "other", "label": "small"}]}
FILES = {
    "zuul.d/machines.yaml": yaml.safe_dump(
        [
            {"job": {"name": "tells-its-machine", "run": "playbooks/machine.yaml", "nodeset": ONE}},
            {"job": {"name": "reaches-the-other", "run": "playbooks/look.yaml", "nodeset": TWO}},
        ]
    ),
    "playbooks/machine.yaml": playbook("systemd-detect-virt"),
    "playbooks/look.yaml": playbook(LOOK).replace("hosts: all", "hosts: one"),
}


@pytest.fixture
def ci(gerrit: GerritServer, node: SshNode) -> Iterator[Installation]:
    place = Path(tempfile.mkdtemp(prefix="headgate-machines-"))  # PostgreSQL of root is another user: not below pytest's directory
    bell = Bell()
    machines = entry(place / "vms", **{"name": "vms", "max-servers": 3})
    installed = Installation(place / "ci", gerrit, node, bell, providers=[machines], files=FILES)
    installed.start()
    yield installed
    installed.clean()
    bell.close()
    shutil.rmtree(place)


async def test_jobs_run_on_virtual_machines_that_are_gone_afterwards(ci: Installation) -> None:
    change = ci.propose("tells-its-machine", "reaches-the-other")
    report = await ci.report(change, seconds=600)
    assert ci.verified(change) == 1, report
    builds = {row["job"]: row["id"] for row in await ci.ask("select id, job from builds")}
    for job, said in (("tells-its-machine", "qemu"), ("reaches-the-other", "SSH-")):
        console = (ci.directory / "state" / "builds" / builds[job] / "console.log").read_text()
        assert said in console
    await ci.over(change)
    assert await ci.ask("select id from nodes") == []
    assert not list((ci.directory.parent / "vms").glob("*.json"))
    assert not running_below(ci.directory.parent / "vms")
