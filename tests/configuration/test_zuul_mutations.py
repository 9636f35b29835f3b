"""Zuul's own public fixtures, changed in a few places by seed, and whole made-up configurations, frozen by Zuul's code and by ours,
some with proposed branches over them; and their errors.

`HEADGATE_MUTATIONS` says how many of each (200), `HEADGATE_SEED` which is the first (0), `HEADGATE_CORPORA` names further directories
of configurations in the layout of those fixtures, colon between. A difference prints the seed and what was changed.
"""

from __future__ import annotations

import os
import random
import shutil
from pathlib import Path

import pytest

from tests.configuration.mutation_nodes import Pool
from tests.configuration.mutations import mutate
from tests.configuration.simple_layouts import simple_layouts
from tests.configuration.test_zuul_corpus import KNOWN, asked_of_zuul, differences, environment
from tests.configuration.worlds import World, write_files

PATHS = ("README", "zuul.yaml", "src/x.py", "docs/index.rst", "a.txt", ".zuul.yaml", "playbooks/x.yaml", "vars/a.yaml", "/COMMIT_MSG")


def copied(source: Path, target: Path) -> Path:
    target.mkdir(parents=True)
    shutil.copy(source / "main.yaml", target / "main.yaml")
    shutil.copytree(source / "git", target / "git", symlinks=True, ignore=shutil.ignore_patterns("*.pem"))
    return target


@pytest.mark.zuul
@pytest.mark.slow
@pytest.mark.timeout(3600)
def test_graphs_and_errors_of_mutated_configurations_are_zuul_s(tmp_path: Path) -> None:
    python, source = environment()
    corpora = [source / "tests" / "fixtures" / "config", *map(Path, filter(None, os.environ.get("HEADGATE_CORPORA", "").split(":")))]
    directories = [
        each
        for corpus in corpora
        for each in sorted(corpus.iterdir())
        if (each / "git").is_dir() and (each / "main.yaml").is_file() and each.name not in KNOWN
    ]
    directories += [each for each in simple_layouts(source / "tests" / "fixtures", tmp_path / "layouts") if each.name not in KNOWN]
    pool = Pool()
    for directory in directories:
        for path in sorted((directory / "git").rglob("*zuul*.yaml")):
            pool.learn(path.read_text(errors="replace"))
    first, count = int(os.environ.get("HEADGATE_SEED", "0")), int(os.environ.get("HEADGATE_MUTATIONS", "200"))
    cases, logs, requests = [], [], []
    for seed in range(first, first + count):
        rng = random.Random(seed)
        directory = rng.choice(directories)
        case = copied(directory, tmp_path / f"{seed}-{directory.name}")
        logs.append(mutate(case, rng, pool, rng.choice([1, 2, 3, 5])))
        cases.append((case, "main.yaml"))
        requests.append({"sample": 12, "seed": seed, "files": [rng.sample(PATHS, rng.choice([1, 2, 3])) for _ in range(2)]})
    answers = asked_of_zuul(python, source, cases, requests)
    found = [
        f"{case.name}, changed by {log}: {difference}"
        for (case, main), log, each in zip(cases, logs, answers, strict=True)
        for difference in differences(case, main, each)
    ]
    assert not found, "\n".join(found[:20])
    assert sum(len(each) for each in answers if isinstance(each, list)) > 5 * count


def overlay(rng: random.Random, world: World, directory: Path) -> dict[str, str]:
    """Proposed branches for some of a world's projects, none for two worlds in three."""
    found = {}
    for number in range(rng.choice([0, 0, 0, 0, 1, 2])):
        name = rng.choice([*world.config, *world.untrusted])
        branch = rng.choice(world.branches[name])
        write_files(directory / f"proposed{number}", world.files(name, branch))
        found[f"{name}@{branch}"] = str(directory / f"proposed{number}")
    return found


@pytest.mark.zuul
@pytest.mark.slow
@pytest.mark.timeout(3600)
def test_graphs_and_errors_of_made_up_configurations_are_zuul_s(tmp_path: Path) -> None:
    python, source = environment()
    first, count = int(os.environ.get("HEADGATE_SEED", "0")), int(os.environ.get("HEADGATE_MUTATIONS", "200"))
    cases, requests = [], []
    for seed in range(first, first + count):
        rng = random.Random(seed)
        world, directory = World(rng), tmp_path / str(seed)
        directory.mkdir()
        world.write(directory)
        cases.append((directory, "main.yaml"))
        files = [rng.sample(PATHS, rng.choice([1, 2, 3])) for _ in range(2)]
        requests.append({"sample": 16, "seed": seed, "files": files, "overlay": overlay(rng, world, directory)})
    answers = asked_of_zuul(python, source, cases, requests)
    found = [
        f"{case.name}: {difference}"
        for (case, main), each in zip(cases, answers, strict=True)
        for difference in differences(case, main, each)
    ]
    assert not found, "\n".join(found[:20])
    assert sum(len(each) for each in answers if isinstance(each, list)) > 5 * count
