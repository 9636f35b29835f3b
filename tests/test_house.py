"""The house stands as its plan says: arrows point one way, and the rules touch nothing."""

from __future__ import annotations

import ast
import re
import sys
from pathlib import Path

import pytest

from flows.registry import FLOWS

ROOT = Path(__file__).parent.parent
ALLOWED = {
    "headgate": set(),
    "providers": {"headgate"},
    "tasks": {"headgate", "providers"},
    "flows": {"headgate", "providers", "tasks"},
    "services": {"headgate", "providers", "tasks", "flows", "deployments"},
    "deployments": {"headgate", "providers", "tasks", "flows", "services"},
    "cli": {"headgate", "providers", "tasks", "flows", "services", "deployments"},
}
"""Who may import whom. `services.up` applies the deployments, which name the worker's type."""
OUTSIDE = {
    *("asyncio", "subprocess", "socket", "os", "shutil", "tempfile", "threading", "multiprocessing", "time", "random", "urllib.request"),
    *("httpx", "sqlalchemy", "prefect", "asyncssh", "asyncpg", "pygit2"),
}
"""What a rule may not even import."""
FILES = [path for room in ALLOWED for path in sorted((ROOT / room).rglob("*.py"))]


def imports(path: Path) -> set[str]:
    found: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            found |= {node.module, *(f"{node.module}.{alias.name}" for alias in node.names)}
    return found


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(ROOT)))
def test_imports_point_one_way(path: Path) -> None:
    room = path.relative_to(ROOT).parts[0]
    used = {name.split(".")[0] for name in imports(path)} & set(ALLOWED)
    assert used <= ALLOWED[room] | {room}


@pytest.mark.parametrize("path", sorted((ROOT / "headgate").rglob("*.py")), ids=lambda path: path.name)
def test_rules_do_not_touch_the_outside(path: Path) -> None:
    assert not {name for name in imports(path) if name in OUTSIDE or name.split(".")[0] in OUTSIDE}


def test_no_module_hides_a_standard_one() -> None:
    standard = set(sys.stdlib_module_names)
    assert not [path for path in FILES if path.parent.name in ALLOWED and path.parent == ROOT and path.stem in standard]
    assert not standard & set(ALLOWED)


def test_every_room_says_what_it_is_for() -> None:
    for room in ALLOWED:
        assert ast.get_docstring(ast.parse((ROOT / room / "__init__.py").read_text())), room


def test_no_flow_keeps_its_result() -> None:
    """A run that starts again must do again what has no result in the store, whatever Prefect remembers of it."""
    assert {name: flow.persist_result for name, flow in FLOWS.items()} == dict.fromkeys(FLOWS, False)


def test_the_schema_has_one_line_of_history() -> None:
    """Two migrations after the same one leave no database that either can be made in."""
    files = sorted((ROOT / "tasks/migrations/versions").glob("*.py"))
    before = [re.search(r'^down_revision = (?:"(\d+)"|None)$', file.read_text(), re.MULTILINE) for file in files]
    names = [file.name.partition("_")[0] for file in files]
    assert [found[1] if found else "?" for found in before] == [None, *names[:-1]]
