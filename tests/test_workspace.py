"""What goes to a node when its workspace is made, and what does not."""

from __future__ import annotations

import dataclasses
import subprocess
from pathlib import Path

import pytest

from headgate.results import Verdict
from tasks.playbooks import run_build
from tests.services.sshd import sshd_node
from tests.services.workshop import PROJECT, Workshop, tasks

pytestmark = pytest.mark.slow
ASK = "git count-objects -v | sed -n '/^count/p; /^in-pack/p'; echo files= $(ls many | wc -l); git remote get-url origin"


@pytest.mark.parametrize("place", [f"{PROJECT}.git", PROJECT])
async def test_what_the_images_cache_has_is_not_pushed_again(tmp_path: Path, place: str) -> None:
    workshop = Workshop(tmp_path)
    workshop.upstream.commit("many files", {f"many/{number}": f"{number}\n" for number in range(100)})
    bare = ("--bare",) if place.endswith(".git") else ()
    subprocess.run(["git", "clone", "-q", *bare, str(workshop.upstream.path), str(tmp_path / "caches" / "opt" / place)], check=True)
    with sshd_node(tmp_path, caches=tmp_path / "caches" / "opt") as server:
        task = f"- shell: |\n        {ASK}\n      args: {{chdir: '{{{{ zuul.project.src_dir }}}}'}}"
        run = f"- hosts: all\n  gather_facts: false\n  tasks:\n    {task}\n"
        plan = await workshop.plan(run=run, nodes={"primary": server.node}, private_key=server.private_key)
        outcome = await run_build(plan)
    said = workshop.said(plan)
    assert outcome.verdict == Verdict("SUCCESS"), "\n".join(workshop.console(plan))
    objects = [int(line.split()[1]) for line in said if line.startswith(("count: ", "in-pack: "))]
    assert 0 < sum(objects) < 10
    assert "files= 100" in said
    assert "file:///dev/null" in said


async def test_a_repository_inside_another_ones_directory_is_spared_when_that_is_cleaned(tmp_path: Path) -> None:
    workshop, inner = Workshop(tmp_path), f"{PROJECT}/deep"
    with sshd_node(tmp_path) as server:
        look = tasks("{shell: 'cat deep/a.txt; rm -f a.txt; ls', args: {chdir: '{{ zuul.project.src_dir }}'}}")
        plan = await workshop.plan(run=look, nodes={"primary": server.node}, private_key=server.private_key)
        await workshop.caches.fetch(inner, str(workshop.upstream.path))
        (outer,) = plan.facts.projects
        facts = dataclasses.replace(plan.facts, projects=(dataclasses.replace(outer, name=inner), outer))
        for _ in range(2):  # the second time there is something to clean
            outcome = await run_build(dataclasses.replace(plan, facts=facts))
            assert outcome.verdict == Verdict("SUCCESS"), "\n".join(workshop.console(plan))
