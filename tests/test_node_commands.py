"""The commands about nodes, on a database with some."""

from __future__ import annotations

import asyncio
import json
from datetime import timedelta
from pathlib import Path

import pytest
import typer
from typer.testing import CliRunner

from cli.nodes import register
from headgate.node_estimates import estimates
from headgate.nodes import Capacity, Offer, Size
from tasks.database import open_engine
from tasks.node_store import NodeStore
from tests.test_nodes import NOW


@pytest.fixture
def config(database: str, tmp_path: Path) -> Path:
    path = tmp_path / "headgate.yaml"
    path.write_text(
        f"tenants: main.yaml\ndatabase: {database}\nconnections: [{{name: r, driver: git, path: r}}]\n"
        "providers: [{name: here, driver: local, labels: [small], max-servers: 1}]\nlabels: [{name: small, min-ready: 1}]\n"
    )
    return path


def run(config: Path, *words: str) -> str:

    app = typer.Typer()
    register(app)
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


def test_who_has_a_node_and_who_waits_and_why(config: Path, database: str) -> None:
    asyncio.run(ask_for_two(database))
    [node] = json.loads(run(config, "nodes", "--json"))
    assert (node["id"], node["state"], node["build"]) == ("node-1", "building", "build-1")
    waiting = {row["build"]: row["reason"] for row in json.loads(run(config, "requests", "--json"))}
    assert waiting["build-2"] == "here has no room (nodes: 1 of 1 taken, 1 needed)"
    [label] = json.loads(run(config, "labels", "--json"))
    assert (label["label"], label["providers"], label["nodes"], label["min-ready"]) == ("small", "here", 1, 1)
    [provider] = json.loads(run(config, "providers", "--json"))
    assert (provider["provider"], provider["nodes"], provider["limit"], provider["full"]) == ("here", 1, 1, "no")
    run(config, "nodes", "delete", "node")
    assert json.loads(run(config, "nodes", "--json"))[0]["state"] == "deleting"


def test_an_autohold_is_added_listed_and_deleted(config: Path) -> None:
    wanted = ("--tenant", "openstack", "--project", "nova", "--job", "tox", "--reason", "looking", "--count", "2")
    name = run(config, "autohold", "add", *wanted).strip()
    [listed] = json.loads(run(config, "autohold", "--json"))
    assert (listed["id"], listed["job"], listed["count"], listed["hold_seconds"]) == (name, "tox", 2, 86400)
    run(config, "autohold", "delete", name)
    assert "No failure is waited for." in run(config, "autohold")


def test_an_estimate_counts_those_before() -> None:

    past = [("small", NOW, NOW + timedelta(minutes=10))]
    about = estimates([("first", ["small"]), ("second", ["small", "small"])], ["small"] * 5, past)
    assert about == {"first": timedelta(minutes=2), "second": timedelta(minutes=6)}
    assert estimates([("first", ["small"])], [], past) == {}
