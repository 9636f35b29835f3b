"""What a person does wrong, or finds broken, is told in one sentence: no traceback, exit code 1, nothing left running."""

from __future__ import annotations

import json
import re
import shutil
import socket
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import asyncpg
import pytest
import yaml

from services.postgres import EmbeddedPostgres
from services.scheduler import ANOTHER
from tests.services.installation import HEADGATE, Installation, processes_of
from tests.services.small_disk import small_disk
from tests.services.sshd import free_port, make_key
from tests.services.until import until

pytestmark = pytest.mark.slow
Settings = dict[str, Any]


class Place:
    """A directory with the configuration of an installation that could work, but for what a test changes."""

    def __init__(self, ci: Installation, directory: Path) -> None:
        self.directory = directory
        self.config = directory / "headgate.yaml"
        shutil.copy(ci.directory / "main.yaml", directory / "main.yaml")
        self.settings: Settings = yaml.safe_load(ci.config.read_text())
        self.change(lambda settings: settings.update(web={"port": free_port()}, prefect={"port": free_port()}))

    def change(self, edit: Callable[[Settings], object]) -> None:
        edit(self.settings)
        self.config.write_text(yaml.safe_dump(self.settings, sort_keys=False))

    def up(self, *command: str) -> str:
        """The sentence with which `headgate up` (or another command) refuses."""
        words = [HEADGATE, *(command or ("up",)), "--config", str(self.config)]
        done = subprocess.run(words, capture_output=True, text=True, timeout=120, cwd=self.directory)
        assert done.returncode == 1, done
        assert "Traceback" not in done.stdout + done.stderr, done
        assert re.fullmatch(r"headgate: [^\n]+\n", done.stderr), done
        assert processes_of(self.directory) == {}
        return done.stderr.removeprefix("headgate: ").strip()


@pytest.fixture
def place(installation: Installation) -> Iterator[Place]:
    directory = Path(tempfile.mkdtemp(prefix="headgate-mistakes-"))  # not below pytest's directory, for the reason in conftest.py
    yield Place(installation, directory)
    shutil.rmtree(directory, ignore_errors=True)


FILES = {
    "no YAML": ("a: [1\n", r"headgate\.yaml:2: this is not YAML: .*"),
    "no mapping": ("- a\n", r"headgate\.yaml:1: expected keys such as 'tenants:' and 'connections:', found list\."),
    "a key with a slip": (
        "tenants: main.yaml\nconections: []\nconnections: [{name: a, driver: git, path: x}]\n",
        r"headgate\.yaml:2: 'conections' is not a known key; did you mean 'connections'\?",
    ),
    "a key missing": ("connections: []\n", r"headgate\.yaml:1: 'tenants' is missing\."),
    "no connections": ("tenants: main.yaml\n", r"main\.yaml: the source 'review' is not a configured connection; there is none .*"),
    "a bad number": (
        "tenants: main.yaml\nweb: {port: many}\nconnections: [{name: a, driver: git, path: x}]\n",
        r"headgate\.yaml:2: 'web\.port': .* \(found 'many'\)\.",
    ),
    "no such driver": (
        "tenants: main.yaml\nconnections: [{name: a, driver: hub, path: x}]\n",
        r".*connections\[0\] \(a\): .*hub.*",
    ),
    "no such tenant file": (
        "tenants: men.yaml\nconnections: [{name: a, driver: git, path: .}]\n",
        r".*men\.yaml.*",
    ),
    "a bad provider": (
        "tenants: main.yaml\nconnections: [{name: a, driver: git, path: .}]\n"
        "providers: [{name: p, driver: local, labels: [x], max-server: 3}]\n",
        r"provider p: max-server is not known; did you mean max-servers\?",
    ),
    "a bad database": (
        "tenants: main.yaml\ndatabase: mysql://x\nconnections: [{name: a, driver: git, path: x}]\n",
        r"headgate\.yaml:2: 'database': 'mysql://x' is neither 'embedded' nor a postgresql:// URL\.",
    ),
}


@pytest.mark.parametrize("kind", FILES)
def test_a_bad_configuration_file_is_told_by_file_line_and_key(place: Place, kind: str) -> None:
    text, sentence = FILES[kind]
    ports = f"web: {{port: {free_port()}}}\n" if "web:" not in text and text.startswith("tenants") else ""
    place.config.write_text(text + ports)
    assert re.fullmatch(sentence, place.up().removeprefix(f"{place.directory}/"))


def test_a_file_that_is_not_there_is_told(place: Place) -> None:
    place.config.unlink()
    assert place.up() == f"There is no configuration file {place.config}: name one with --config."


def test_a_tenant_file_that_is_wrong_is_told(place: Place) -> None:
    (place.directory / "main.yaml").write_text("- tenant: {name: t, source: {rewiev: {config-projects: [config]}}}\n")
    assert re.search(r"main\.yaml.*'rewiev'.*review", place.up())


def test_an_unreachable_gerrit_is_told(place: Place) -> None:
    port = free_port()
    place.change(lambda settings: settings["connections"][0].update(baseurl=f"http://127.0.0.1:{port}"))
    assert re.match(rf"connection review: Gerrit at http://127\.0\.0\.1:{port} cannot be reached", place.up())


def test_a_wrong_password_is_told(place: Place) -> None:
    place.change(lambda settings: settings["connections"][0].update(password="no"))
    assert re.search(r"does not take the password of headgate", place.up())


def test_a_wrong_key_is_told(place: Place) -> None:
    public = make_key(place.directory / "key")
    place.change(lambda settings: settings["connections"][0].update(sshkey="key"))
    sentence = place.up()
    assert "Gerrit does not take the key" in sentence
    assert public in sentence


def test_a_project_that_gerrit_does_not_have_is_told(place: Place) -> None:
    (place.directory / "main.yaml").write_text("- tenant: {name: t, source: {review: {config-projects: [no/such]}}}\n")
    assert re.search(r"no/such", place.up())


@pytest.mark.parametrize("section", ["web", "prefect"])
def test_a_port_that_is_taken_is_told(place: Place, section: str) -> None:
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        port = other.getsockname()[1]
        place.change(lambda settings: settings.update({section: {"port": port}}))
        assert re.match(rf"Port {port} on 127\.0\.0\.1 is taken by another program: .*`{section}\.port:`\.", place.up())


def test_a_second_one_in_the_same_directory_is_told(ci: Installation, place: Place) -> None:
    place.change(lambda settings: settings.update({"state-dir": str(ci.directory / "state")}))
    assert ci.process is not None
    assert place.up() == f"Headgate is running in {ci.directory / 'state'} already (process {ci.process.pid})."


async def test_a_second_one_with_the_same_database_says_that_it_waits(ci: Installation, place: Place) -> None:
    database = json.loads((ci.directory / "state" / "addresses.json").read_text())["database"]
    place.change(lambda settings: settings.update({"database": database, "prefect": {"url": ci.prefect_url}}))
    output = place.directory / "output"
    with output.open("wb") as file:
        process = subprocess.Popen([HEADGATE, "up", "--config", str(place.config)], stdout=file, stderr=file)
    try:
        await until(lambda: ANOTHER in output.read_text() or process.poll() is not None, "it says that it waits")
        assert process.poll() is None, output.read_text()
        assert "ready;" not in output.read_text()
    finally:
        process.terminate()
        process.wait(60)


def test_a_worker_elsewhere_that_does_not_know_the_way_is_told(place: Place) -> None:
    place.change(lambda settings: settings.update(worker={"home": "http://127.0.0.1:1"}))
    assert "needs that machine's `database:` and `prefect.url:`" in place.up("worker")
    addresses = {"database": "postgresql://nobody@127.0.0.1:1/none", "prefect": {"url": "http://127.0.0.1:1/api"}}
    place.change(lambda settings: settings.update(addresses))
    assert place.up() == "`worker.home` is for `headgate worker` on another machine; `headgate up` is where home is: leave it out."


@pytest.mark.parametrize("command", [("worker",), ("rerun", "1")], ids=["worker", "rerun"])
def test_commands_that_need_a_running_one_say_so(place: Place, command: tuple[str, ...]) -> None:
    assert place.up(*command) == f"Headgate is not running in {place.directory / 'state'}: start it with `headgate up`."


def test_a_full_disk_is_told(place: Place, tmp_path: Path) -> None:
    with small_disk(tmp_path / "small", megabytes=40) as disk:
        place.change(lambda settings: settings.update({"state-dir": str(disk / "state")}))
        assert re.match(rf"The disk of {disk}/state/postgres is full: \d+ MB are free", place.up())


def test_a_database_that_is_not_there_is_told(place: Place, database: str) -> None:
    name = database.partition("?")[0].rpartition("/")[2]
    place.change(lambda settings: settings.update(database=database.replace(name, "no_such_database")))
    assert re.search(r"The database .*no_such_database.*`database:`", place.up())
    place.change(lambda settings: settings.update(database=f"postgresql://someone:secret@127.0.0.1:{free_port()}/headgate"))
    sentence = place.up()
    assert re.search(r"The database cannot be reached: .*`database:`", sentence)
    assert "secret" not in sentence


async def test_a_database_of_a_newer_version_is_told(place: Place, database: str) -> None:
    connection = await asyncpg.connect(database)
    await connection.execute("update headgate.alembic_version set version_num = '9999'")
    await connection.close()
    place.change(lambda settings: settings.update(database=database))
    assert re.match(r"The database is at revision 9999, which this Headgate does not know: .*newer", place.up())


async def test_a_database_of_ones_own_serves_headgate_and_prefect(place: Place, postgres: EmbeddedPostgres) -> None:
    connection = await asyncpg.connect(postgres.url("postgres"))
    await connection.execute("create database one_for_both")
    place.change(lambda settings: settings.update(database=postgres.url("one_for_both")))
    output = place.directory / "output"
    with output.open("wb") as file:
        process = subprocess.Popen([HEADGATE, "up", "--config", str(place.config)], stdout=file, stderr=file)
    try:
        await until(lambda: "ready;" in output.read_text() or process.poll() is not None, "it is ready")
        assert process.poll() is None, output.read_text()
        assert not (place.directory / "state" / "postgres").exists()
    finally:
        process.terminate()
        process.wait(60)
    await connection.execute("drop database one_for_both with (force)")
    await connection.close()
