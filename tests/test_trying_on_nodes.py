"""`headgate try --node-from` a provider of a configuration file, with real nodes reached by ssh."""

from __future__ import annotations

import shlex
import subprocess
from pathlib import Path

import pytest
import yaml

from tests.services import machines
from tests.test_trying import example, headgate_try

__all__ = ["example"]
pytestmark = pytest.mark.slow


@pytest.fixture
def lab(example: Path) -> tuple[str, ...]:
    """The options for nodes of driver `namespace`, by a configuration file that has nothing else: no server is needed."""
    provider = {"name": "lab", "driver": "namespace", "labels": [{"name": "local", "tree": str(machines.tree())}]}
    file = example.parent / "headgate.yaml"
    file.write_text(yaml.safe_dump({"tenants": "main.yaml", "state-dir": "state", "providers": [provider]}))
    return "--node-from", "lab", "--config", str(file)


def test_a_held_node_is_reached_as_was_said_and_released_from_its_provider(example: Path, lab: tuple[str, ...]) -> None:
    said = headgate_try(example, "unit-tests", "--hold", *lab)
    try:
        assert "| node | Ran 1 test" in said
        way = shlex.split(next(line.partition(": ")[2] for line in said.splitlines() if line.startswith("node is kept: ")))
        there = subprocess.run([*way, "hostname; ls src/review/sample"], check=True, capture_output=True, text=True).stdout.split()
        assert there[0].startswith("headgate-")
        assert "playbooks" in there
    finally:
        released = headgate_try(example, "--release", *lab[2:])
    assert "is given back" in released
    assert not list((example.parent / "state/nodes").glob("*.json"))


def test_a_shell_is_on_the_node(example: Path, lab: tuple[str, ...]) -> None:
    said = headgate_try(example, "package", "--shell", *lab, typed="hostname; ls src/review; exit\n")
    assert "a shell on node" in said
    assert "headgate-" in said
    assert "sample.tar.gz" in said
    assert not list((example.parent / "state/nodes").glob("*.json"))


def test_a_label_that_the_provider_has_not_is_one_sentence(example: Path, lab: tuple[str, ...]) -> None:
    configuration = example.parent / "config/zuul.d/jobs.yaml"
    configuration.write_text(configuration.read_text().replace("label: local", "label: large"))
    said = headgate_try(example, "compile", *lab, code=1)
    assert "headgate: lab has no nodes with the label large, which compile asks for; it has local." in said
