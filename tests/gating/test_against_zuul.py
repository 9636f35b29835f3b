"""The same scenarios on Zuul's own scheduler and on ours: equal queues, builds, votes and merges at every snapshot.

Needs what `zuul_installation` names. `HEADGATE_ZUUL_SEEDS` (8) says how many random scenarios of each configuration are played; more of
them, of any configuration, are played by `python -m tests.gating.comparing`.
"""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest

from tests.gating.comparing import difference, made, on_ours, on_zuul
from tests.gating.zuul_installation import installation, is_possible

SEEDS = int(os.environ.get("HEADGATE_ZUUL_SEEDS", "8"))

pytestmark = [
    pytest.mark.zuul,
    pytest.mark.slow,
    pytest.mark.timeout(3600),
    pytest.mark.skipif(not is_possible(), reason="needs what zuul_installation names"),
]


@pytest.fixture(scope="module")
def environment(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, str]]:
    with installation(tmp_path_factory.mktemp("zuul")) as variables:
        yield variables


@pytest.mark.parametrize("name", ["everything", "single-tenant", "random"])
def test_same_scenarios_come_to_the_same(name: str, environment: dict[str, str]) -> None:
    scenarios = {f"seed{seed}": made(f"{name}-{seed}" if name == "random" else name, seed, 25) for seed in range(SEEDS)}
    differences = []
    for label, answer in on_zuul(scenarios, environment).items():
        assert answer is not None, f"Zuul did not bring {name} {label} to its end"
        if found := difference(on_ours(scenarios[label]), answer):
            differences.append(f"{label}: {found}")
    assert not differences, "\n".join(differences)
