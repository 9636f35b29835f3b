"""A worker on another machine, which shares nothing with the first but the addresses of its database, Prefect, pages and Gerrit."""

from __future__ import annotations

import asyncio
import contextlib
import shutil
import subprocess
import tempfile
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import asyncpg
import httpx
import pytest
import yaml

from headgate.configuration.encryption import as_yaml, encrypt
from services.postgres import EmbeddedPostgres
from tests.services.bell import Bell
from tests.services.far import FarMachine, far_machine
from tests.services.gerrit import GerritServer
from tests.services.installation import HEADGATE, Installation, project_stanza
from tests.services.sshd import SshNode
from tests.services.until import until

pytestmark = pytest.mark.slow

KNOWS = [
    {
        "hosts": "all",
        "gather_facts": False,
        "tasks": [
            {"ansible.builtin.assert": {"that": ["login.password == 'hunter2' * 100"]}, "no_log": True},
            {"ansible.builtin.command": "echo it knows {{ login.password }}"},
        ],
    }
]
"""A job that needs its secret."""


@pytest.fixture(scope="module")
def far() -> Iterator[FarMachine]:
    machine = far_machine()
    yield machine
    machine.close()


@pytest.fixture(scope="module")
def home(far: FarMachine, gerrit: GerritServer, node: SshNode, postgres: EmbeddedPostgres) -> Iterator[Installation]:
    """An installation that another machine can reach, whose own worker takes one job."""
    asyncio.run(create_database(postgres.url("postgres")))
    bell = Bell()
    far.as_local(bell.port)
    directory = Path(tempfile.mkdtemp(prefix="headgate-home-"))
    installed = Installation(
        directory / "ci", gerrit, node, bell, host=far.here,
        database=postgres.url("far"), worker={"jobs": 1}, prefect={"auth": "somebody:something"},
    )  # fmt: skip
    installed.start()
    yield installed
    installed.clean()
    shutil.rmtree(directory, ignore_errors=True)
    bell.close()


async def create_database(url: str) -> None:
    connection = await asyncpg.connect(url)
    await connection.execute("create database far")
    await connection.close()


class FarWorker:
    """`headgate worker` there, with a directory and a configuration file of its own."""

    def __init__(self, far: FarMachine, home: Installation, postgres: EmbeddedPostgres) -> None:
        self.far, self.home = far, home
        self.directory = Path(tempfile.mkdtemp(prefix="headgate-worker-"))
        self.output = self.directory / "output"
        self.config = self.directory / "headgate.yaml"
        settings: dict[str, Any] = yaml.safe_load(home.config.read_text())
        socket = postgres.url("far").partition("?host=")[2]
        review = settings["connections"][0]
        for key, target in (("baseurl", review["baseurl"].removeprefix("http://")), ("port", f"127.0.0.1:{review['port']}")):
            port = far.reach(target)
            review[key] = f"http://{far.here}:{port}" if key == "baseurl" else port
        settings |= {
            "database": f"postgresql://postgres@{far.here}:{far.reach(f'{socket}/.s.PGSQL.5432')}/far",
            "prefect": {"url": home.prefect_url, "auth": settings["prefect"]["auth"]},
            "worker": {"home": home.web, "secret": "worker-secret"},
            "connections": [review | {"server": far.here}],
        }
        self.config.write_text(yaml.safe_dump(settings))
        shutil.copy(home.directory / "main.yaml", self.directory)
        shutil.copy(home.directory / "state" / "worker-secret", self.directory)
        self.process: subprocess.Popen[bytes] | None = None

    async def start(self) -> None:
        words = [HEADGATE, "worker", "--config", str(self.config), "--pool", "jobs"]
        self.process = process = self.far.start(words, self.home.directory, self.output)

        async def registered() -> bool:
            assert process.poll() is None, self.output.read_text()
            return bool(await self.home.ask("select 1 from workers where hostname = 'far' and process = $1 and gone is null", process.pid))

        await until(registered, "the worker on the other machine is registered")

    def kill(self) -> None:
        assert self.process is not None
        self.process.kill()
        self.process.wait()

    def builds(self) -> list[str]:
        """Of which it has files."""
        return sorted(path.name for path in (self.directory / "state" / "builds").glob("*"))

    async def has(self, build: str) -> None:
        """The build runs there."""
        query = "select workers.hostname from builds join claims using (flow_run) join workers on workers.id = worker where builds.id = $1"
        assert [row["hostname"] for row in await self.home.ask(query, build)] == ["far"]


@pytest.fixture
async def worker(far: FarMachine, home: Installation, postgres: EmbeddedPostgres) -> AsyncIterator[FarWorker]:
    """The worker, while a job keeps the one at home busy."""
    keeps_busy = home.propose("waits", message="Keeps the worker at home busy")
    ring = await home.bell.ring(keeps_busy.number)
    worker = FarWorker(far, home, postgres)
    await worker.start()
    yield worker
    if worker.process is not None and worker.process.poll() is None:
        worker.process.terminate()
        worker.process.wait(60)
    print(worker.output.read_text())  # for who reads why a test failed
    shutil.rmtree(worker.directory, ignore_errors=True)
    ring.end(0)
    await home.over(keeps_busy)


def console(home: Installation, build: str) -> str:
    """What the page of the build's console shows."""
    return httpx.get(f"{home.web}/api/console/{build}", params={"follow": "0"}).text


@contextlib.contextmanager
def following(home: Installation, build: str) -> Iterator[Path]:
    """The file that `headgate console -f` writes, at home."""
    output = home.directory / f"followed-{build}"
    with output.open("wb") as file:
        process = subprocess.Popen([HEADGATE, "console", build, "-f", "--config", str(home.config)], stdout=file, stderr=file)
    try:
        yield output
        assert process.wait(60) == 0
    finally:
        process.kill()


async def test_a_job_there_is_watched_and_its_logs_are_found_as_if_it_ran_here(home: Installation, worker: FarWorker) -> None:
    change = home.propose("waits")
    ring = await home.bell.ring(change.number)
    await worker.has(ring.build)
    with following(home, ring.build) as followed:
        ring.print("the first word")
        await until(lambda: "the first word" in console(home, ring.build), "the page shows what it prints")
        await until(lambda: "the first word" in followed.read_text(), "who follows sees what it prints")
        ring.print("the last word")
        ring.end(0)
    report = await home.report(change)
    assert home.verified(change) == 1
    assert f"{home.web}/build/{ring.build}" in report
    assert "the last word" in followed.read_text()
    logs = httpx.get(f"{home.web}/logs/{ring.build}/").text
    assert "job-output.json" in logs
    for name in ("console.log", "job-output.txt"):
        assert "the last word" in httpx.get(f"{home.web}/logs/{ring.build}/{name}").text
    await until(lambda: worker.builds() == [], "what was sent is deleted there")


async def test_cancel_stops_a_job_there(home: Installation, worker: FarWorker) -> None:
    change = home.propose("waits")
    ring = await home.bell.ring(change.number)
    await worker.has(ring.build)
    ring.print("so far")
    await until(lambda: "so far" in console(home, ring.build), "it was printed")
    home.cancel(home.run_of(change, "waits"))
    await until(lambda: ring.gone, "its process is gone", seconds=30)
    report = await home.report(change)
    assert " : CANCELED" in report
    await until(lambda: "CANCELED" in console(home, ring.build), "the console says so")


async def test_a_worker_killed_there_loses_nothing_but_the_attempt(home: Installation, worker: FarWorker) -> None:
    change = home.propose("waits")
    first = await home.bell.ring(change.number)
    await worker.has(first.build)
    first.print("before the end")
    await until(lambda: "before the end" in console(home, first.build), "it was printed")
    worker.kill()
    await until(lambda: first.gone, "its job ended with it")
    await worker.start()
    second = await home.bell.ring(change.number, number=2)
    await worker.has(second.build)
    second.end(0)
    await home.report(change)
    await home.over(change)
    assert home.verified(change) == 1
    assert len(home.reports(change)) == 1
    assert "before the end" in console(home, first.build)
    worker.kill()
    await worker.start()
    await until(lambda: worker.builds() == [], "what the killed one left is deleted there")
    assert not await home.nodes(change)


async def test_a_job_there_gets_its_secrets_and_the_keys_stay_at_home(home: Installation, worker: FarWorker) -> None:
    public = home.headgate("key", home.server.project)
    secret = as_yaml(encrypt("hunter2" * 100, public), "login", "password")
    job = "- job: {name: knows, run: playbooks/knows.yaml, secrets: [login]}\n"
    home.land({
        "zuul.d/knows.yaml": secret + job, "playbooks/knows.yaml": yaml.safe_dump(KNOWS),
        "zuul.d/project.yaml": project_stanza(["noop"], gate=["knows"]),
    })  # fmt: skip
    change = home.propose(files={"approved": "x"})
    home.approve(change)
    await until(lambda: home.merged(change), "it is merged")
    (build,) = await home.ask(
        "select builds.id from builds join buildsets on buildsets.id = buildset join items on items.id = item where job = 'knows'"
    )
    text = console(home, build["id"])
    assert "it knows" in text
    assert "hunter2" not in text
    left = [path for path in worker.directory.rglob("*") if path.is_file() and b"PRIVATE KEY" in path.read_bytes()]
    assert [path for path in left if "keys" in path.parts] == []


async def test_a_worker_with_another_secret_is_told(home: Installation, worker: FarWorker) -> None:
    (worker.directory / "worker-secret").write_text("x" * 64)
    words = [HEADGATE, "worker", "--config", str(worker.config)]
    done = worker.far.start(words, home.directory, output := worker.directory / "refused")
    assert done.wait(60) == 1
    assert output.read_text() == (
        "headgate: The secret of this worker is not that of its home: copy `worker-secret` of the machine of `headgate up`.\n"
    )
