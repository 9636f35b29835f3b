"""The commands about nodes, on a database with some."""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path

import pygit2
import pygit2.enums
import pytest
import typer
from typer.testing import CliRunner

from cli import autoholds, nodes
from headgate.node_estimates import Life, Waiting, estimates
from headgate.nodes import Capacity, Offer, Size
from headgate.problems import Problem
from tasks.database import Listener, open_engine
from tasks.installation import read_settings
from tasks.node_store import DISCARDED, NodeStore
from tasks.store import Store
from tests.test_nodes import NOW

CONFIGURATION = """
- job: {name: base, parent: null, run: playbooks/run.yaml}
- job: {name: tox, run: playbooks/run.yaml}
"""


@pytest.fixture
def config(database: str, tmp_path: Path) -> Path:
    path = tmp_path / "headgate.yaml"
    path.write_text(
        f"tenants: main.yaml\ndatabase: {database}\nconnections: [{{name: r, driver: git, path: r}}]\n"
        "providers: [{name: here, driver: local, labels: [small], max-servers: 1}]\nlabels: [{name: small, min-ready: 1}]\n"
    )
    return path


async def read_configuration(config: Path) -> None:
    """A tenant `openstack` with the project `org/nova`, read as the scheduler does."""
    place, who = config.parent, pygit2.Signature("a", "a@example.org")
    (place / "main.yaml").write_text(
        "- tenant: {name: openstack, source: {r: {config-projects: [org/config], untrusted-projects: [org/nova]}}}\n"
    )
    for name, text in (("org/config", CONFIGURATION), ("org/nova", "")):
        repository = pygit2.init_repository(str(place / "r" / f"{name}.git"), bare=True, initial_head="master")
        tree = repository.TreeBuilder()
        tree.insert("zuul.yaml", repository.create_blob(text.encode()), pygit2.enums.FileMode.BLOB)
        repository.create_commit("refs/heads/master", who, who, "begin", tree.write(), [])
    async with autoholds.open_tenants(read_settings(config)) as tenants:
        await tenants.read(tenants.tenant("openstack"))


def run(config: Path, *words: str) -> str:

    app = typer.Typer()
    for commands in (nodes, autoholds):
        commands.register(app)
    done = CliRunner().invoke(app, [*words, "--config", str(config)], catch_exceptions=False)
    assert done.exit_code == 0, done.output
    return done.output


async def ask_for_two(database: str) -> None:
    engine = open_engine(database, connections=1)
    store = NodeStore(engine)
    for build in ("build-1", "build-2"):
        await store.ask(build, ["small"], 200, "nova", "openstack")
    names = iter(("node-1", "node-2"))
    await store.decide([Offer("here", {"small": Size()}, Capacity(nodes=1))], lambda: next(names))
    await engine.dispose()


async def told_of_discarded(database: str, delete: Callable[[], str]) -> None:
    """Who destroys nodes is told at once."""
    listener = Listener(database)
    await listener.start()
    store = Store(open_engine(database, connections=1), listener)
    async with store.watch(DISCARDED) as told:
        await asyncio.to_thread(delete)
        async with asyncio.timeout(60):
            await told.wait()
    await store.close()


def test_who_has_a_node_and_who_waits_and_why(config: Path, database: str) -> None:
    asyncio.run(ask_for_two(database))
    [node] = json.loads(run(config, "nodes", "--json"))
    assert (node["id"], node["state"], node["build"]) == ("node-1", "building", "build-1")
    waiting = {row["build"]: row["reason"] for row in json.loads(run(config, "requests", "--json"))}
    assert waiting["build-2"] == "here has no room (nodes: 1 of 1 taken, 1 needed)"
    [label] = json.loads(run(config, "labels", "--json"))
    assert (label["label"], label["providers"], label["nodes"], label["min-ready"]) == ("small", "here", 1, 1)
    [provider] = json.loads(run(config, "providers", "--json"))
    assert (provider["provider"], provider["nodes"], provider["limited by"], provider["full"]) == ("here", "1 of 1", "settings", "no")
    assert provider["failed"] == "0 of 0"
    asyncio.run(told_of_discarded(database, lambda: run(config, "nodes", "delete", "node")))
    assert json.loads(run(config, "nodes", "--json"))[0]["state"] == "deleting"


def wait_for_failure(config: Path, tenant: str = "openstack", project: str = "org/nova", job: str = "tox", *more: str) -> str:
    names = ("--tenant", tenant, "--project", project, "--job", job)
    return run(config, "autohold", "add", *names, "--reason", "looking", "--count", "2", *more).strip()


def test_an_autohold_is_added_listed_and_deleted(config: Path) -> None:
    asyncio.run(read_configuration(config))
    name = wait_for_failure(config, project="localhost/org/nova")
    [listed] = json.loads(run(config, "autohold", "--json"))
    assert (listed["id"], listed["job"], listed["count"], listed["hold_seconds"]) == (name, "tox", 2, 86400)
    assert listed["project"] == "org/nova"
    run(config, "autohold", "delete", name)
    assert "No failure is waited for." in run(config, "autohold")


def test_an_autohold_for_what_there_is_not_is_refused_with_the_nearest_name(config: Path) -> None:
    asyncio.run(read_configuration(config))
    wrong = {
        'There is no tenant opensack, did you mean "openstack"?': {"tenant": "opensack"},
        'Tenant openstack has no project "org/nvoa", did you mean "org/nova"?': {"project": "org/nvoa"},
        'Tenant openstack has no job "toxx", did you mean "tox"?': {"job": "toxx"},
    }
    for sentence, names in wrong.items():
        with pytest.raises(Problem, match=re.escape(sentence)):
            wait_for_failure(config, **names)
    with pytest.raises(Problem, match=r"1,x is no change: write NUMBER or NUMBER,PATCHSET\."):
        wait_for_failure(config, "openstack", "org/nova", "tox", "--change", "1,x")
    assert "No failure is waited for." in run(config, "autohold")


LIVES = [Life("a", NOW, NOW + timedelta(minutes=1), NOW + timedelta(minutes=10))]
A, B = frozenset({"a"}), frozenset({"b"})


def test_an_estimate_counts_those_before_at_the_same_providers() -> None:
    waiting = [Waiting("elsewhere", 9, B), Waiting("first", 1, A), Waiting("second", 2, A | B)]
    about = estimates(waiting, {"a": 5}, LIVES, NOW)
    assert about == {"first": timedelta(minutes=2 + 1), "second": timedelta(minutes=2 * (9 + 1 + 2) + 1)}


def test_nodes_that_start_take_as_long_as_others_took() -> None:
    waiting = [
        Waiting("starting", 1, A, NOW - timedelta(seconds=20)),
        Waiting("late", 1, A, NOW - timedelta(hours=1)),
        Waiting("next", 1, A),
    ]
    about = estimates(waiting, {"a": 5}, LIVES, NOW)
    assert about == {"starting": timedelta(seconds=40), "late": timedelta(), "next": timedelta(minutes=2 + 1)}


def test_what_was_never_seen_is_not_guessed() -> None:
    assert estimates([Waiting("first", 1, A)], {}, LIVES, NOW) == {}
    assert estimates([Waiting("first", 1, A), Waiting("starting", 1, B, NOW)], {"a": 5, "b": 1}, [], NOW) == {}


def test_requests_are_listed_as_they_are_served(config: Path, database: str) -> None:
    async def ask() -> None:
        engine = open_engine(database, connections=1)
        store = NodeStore(engine)
        await store.ask("old", ["small"], 300, "nova", "openstack")
        await store.ask("gate", ["small"], 100, "nova", "openstack")
        await engine.dispose()

    asyncio.run(ask())
    assert [row["build"] for row in json.loads(run(config, "requests", "--json"))] == ["gate", "old"]


def test_a_node_that_is_not_there_is_said_in_a_sentence(config: Path) -> None:
    with pytest.raises(Problem, match="No node begins with 'x'; headgate nodes lists them"):
        run(config, "nodes", "hold", "x")
