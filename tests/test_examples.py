"""The configuration repositories that are shipped work as they are."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

from cli.configuration_questions import Question, answer, world_of

EXAMPLE = Path(__file__).parent.parent / "examples/openstack"
GIT = ("git", "-c", "user.name=x", "-c", "user.email=x@example.org")
PROJECTS = ("config", "devstack", "nova")


def test_the_openstack_shaped_example_has_no_mistake_and_its_jobs_freeze(tmp_path: Path) -> None:
    for name in PROJECTS:
        shutil.copytree(EXAMPLE / name, tmp_path / name)
        for command in (("init", "-q", "-b", "main"), ("add", "-A"), ("commit", "-q", "-m", "all")):
            subprocess.run([*GIT, *command], cwd=tmp_path / name, check=True)
    shutil.copy(EXAMPLE / "main.yaml", tmp_path)
    world = world_of(tmp_path, "main.yaml", [f"{name}={tmp_path / name}" for name in PROJECTS])
    assert [str(problem) for problem in world.tenant("openstack").problems if problem.is_error] == []
    found = answer(world, Question("openstack", "check", "nova", "main"))
    jobs = {job["name"]: job for job in found["jobs"]}
    assert sorted(jobs) == ["devstack-multinode", "nova-tox-py3"]
    assert [node["label"] for node in jobs["devstack-multinode"]["nodeset"][0]] == ["debian-12", "debian-12"]
    assert jobs["nova-tox-py3"]["parents"] == ["base", "openstack-tox", "nova-tox-py3"]
