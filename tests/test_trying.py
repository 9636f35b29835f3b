"""`headgate try`, as a new user types it: one job of a checkout, on nodes of this machine, without any server."""

from __future__ import annotations

import asyncio
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from cli.trying import read_secrets
from cli.trying_places import find_places
from headgate.configuration.objects import Variant
from headgate.jobs import FrozenJob, Playbook, SecretUse
from headgate.problems import Problem
from tasks.git import Caches
from tasks.runtime import located
from tasks.trial import read_world, without_secrets
from tests.services.workshop import processes

ROOT = Path(__file__).parent.parent


@pytest.fixture
def example(tmp_path: Path) -> Path:
    """The project of examples/, with its configuration beside it."""
    shutil.copytree(ROOT / "examples", tmp_path / "example", ignore=shutil.ignore_patterns("__pycache__"))
    return tmp_path / "example/sample"


def headgate_try(here: Path, *arguments: str, typed: str = "", code: int = 0) -> str:
    done = subprocess.run(
        [sys.executable, "-m", "cli.main", "try", *arguments],
        cwd=here,
        input=typed,
        capture_output=True,
        text=True,
        env={**os.environ, "HOME": str(here.parent), "PYTHONPATH": str(ROOT)},
    )
    assert done.returncode == code, done.stdout + done.stderr
    return done.stdout + done.stderr


def test_a_job_runs_on_what_is_not_committed_and_its_console_is_shown(example: Path) -> None:
    subprocess.run(["git", "init", "-q", "-b", "main"], cwd=example, check=True)
    subprocess.run(["git", "add", "-A"], cwd=example, check=True)
    subprocess.run(["git", "-c", "user.name=x", "-c", "user.email=x@y", "commit", "-q", "-m", "all"], cwd=example, check=True)
    passed = headgate_try(example, "unit-tests")
    assert "unit-tests for review/sample (main) as in check" in passed
    assert "| node | Ran 1 test" in passed
    assert "SUCCESS in " in passed
    module = example / "sample/__init__.py"
    module.write_text(module.read_text().replace("Hello", "Farewell"))
    failed = headgate_try(example, "unit-tests", code=1)
    assert "(main, 1 file not committed)" in failed
    assert "AssertionError: 'Farewell, world!' != 'Hello, world!'" in failed
    assert "FAILURE in " in failed
    assert not list((example.parent / ".cache/headgate/try/nodes/local").glob("*.json"))


def test_a_held_node_stays_until_it_is_released(example: Path) -> None:
    said = headgate_try(example, "compile", "--hold")
    home = Path(next(line.rpartition(": ")[2] for line in said.splitlines() if line.startswith("node is kept: ")))
    assert (home / "src/review/sample/sample/__init__.py").exists()
    assert "is given back" in headgate_try(example, "--release")
    assert not home.exists()
    assert headgate_try(example, "--release") == ""


def test_a_shell_opens_in_the_job_s_sandbox_before_the_node_goes(example: Path) -> None:
    said = headgate_try(example, "package", "--shell", typed="ls src/review; id -un; cat /etc/shadow; exit\n")
    assert "what it depends on is not run: unit-tests" in said
    assert "sample.tar.gz" in said
    assert "\nheadgate\n" in said
    assert "No such file or directory" in said


def test_ctrl_c_gives_the_node_back(example: Path) -> None:
    (example / "playbooks/compile.yaml").write_text("- hosts: all\n  gather_facts: false\n  tasks: [{shell: 'echo up; sleep 6543.1'}]\n")
    environment = {**os.environ, "HOME": str(example.parent), "PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-m", "cli.main", "try", "compile"]
    running = subprocess.Popen(command, cwd=example, env=environment, stdout=subprocess.PIPE, text=True)
    assert running.stdout is not None
    for line in running.stdout:
        if line.endswith("| node | up\n"):
            break
    running.send_signal(signal.SIGINT)
    said = running.stdout.read()
    assert running.wait() == 130
    assert "cancelled; what it started is gone" in said
    assert not processes("sleep 6543.1")
    assert not list((example.parent / ".cache/headgate/try/nodes/local").glob("*.json"))


def test_a_job_that_is_in_no_pipeline_is_tried_as_if_it_were(example: Path) -> None:
    configuration = example / ".zuul.yaml"
    configuration.write_text("- job: {name: new, run: playbooks/compile.yaml}\n" + configuration.read_text())
    said = headgate_try(example, "new")
    assert "no pipeline of the project runs it: it is tried as if check did" in said
    assert "SUCCESS in " in said


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (("unit-test",), 'There is no job "unit-test" for review/sample at main, did you mean "unit-tests"? it runs compile, package, uni'),
        (("base",), 'The job "base" cannot run for review/sample at main: the job "base" has no run playbook'),
        (("compile", "--node-from", "cloud"), "--node-from cloud: there is no such provider or driver; there are local, "),
        (("compile", "--pipeline", "chekc"), 'There is no pipeline "chekc" in tenant "example", did you mean "check"?'),
        (("compile", "--project", "simple"), 'There is no project "simple" in '),
        (("compile", "--tenants", "absent.yaml"), "The tenant file absent.yaml cannot be read: "),
        ((), "Which job? headgate try JOB"),
    ],
)
def test_a_mistake_is_one_sentence(example: Path, arguments: tuple[str, ...], sentence: str) -> None:
    said = headgate_try(example, *arguments, code=1)
    assert f"headgate: {sentence}" in said
    assert "Traceback" not in said


def test_playbooks_whose_secrets_are_not_given_are_left_out() -> None:
    plain = Playbook("review/config", "main", "pre.yaml", True)
    upload = Playbook("review/config", "main", "upload.yaml", True, secrets=(SecretUse("logins", "site_logins", "review/config", "main"),))
    job = FrozenJob("tox", pre_run=(plain,), run=(plain,), post_run=(upload,))
    remaining, lacking = without_secrets(job, {})
    assert (remaining.post_run, lacking) == ((), ((upload, "site_logins"),))
    assert without_secrets(job, {"site_logins": {}}) == (job, ())


def test_a_secret_comes_from_a_file(tmp_path: Path) -> None:
    (tmp_path / "logins").write_text("user: me\n")
    assert read_secrets([f"site_logins={tmp_path}/logins"]) == {"site_logins": {"user": "me"}}
    with pytest.raises(Problem, match="NAME=FILE is expected"):
        read_secrets(["site_logins"])


def test_a_checkout_is_known_by_where_it_was_cloned_from(tmp_path: Path) -> None:
    (tmp_path / "main.yaml").write_text(
        "- tenant: {name: t, source: {review: {config-projects: [org/config], untrusted-projects: [org/nova, org/lib]}}}"
    )
    for name in ("work", "config", "lib"):
        subprocess.run(["git", "init", "-q", str(tmp_path / name)], check=True)
    subprocess.run(["git", "remote", "add", "origin", "ssh://me@review.example.org:29418/org/nova"], cwd=tmp_path / "work", check=True)
    (tmp_path / "work/deep").mkdir()
    found = find_places(tmp_path / "work/deep", None, "", "", (), ("review=review.example.org",), None)
    assert (found.project, found.canonical) == ("org/nova", "review.example.org/org/nova")
    assert found.directories == {"org/config": tmp_path / "config", "org/nova": tmp_path / "work", "org/lib": tmp_path / "lib"}


def test_a_branch_may_have_a_directory_of_its_own(tmp_path: Path) -> None:
    (tmp_path / "main.yaml").write_text(
        "- tenant: {name: t, source: {review: {config-projects: [org/config], untrusted-projects: [org/nova, org/lib]}}}"
    )
    lib = "- job: {name: base, parent: null, run: WHERE}"
    for name, text in {"nova": "", "config": "", "new": lib.replace("WHERE", "new"), "old": lib.replace("WHERE", "old")}.items():
        (tmp_path / name).mkdir()
        (tmp_path / name / "zuul.yaml").write_text(text)
    sources = [f"org/lib={tmp_path / 'new'}", f"review/org/lib@stable={tmp_path / 'old'}", f"org/config@master={tmp_path / 'config'}"]
    places = find_places(tmp_path / "nova", None, "", "org/nova", sources, (), None)
    caches = Caches(tmp_path / "git")
    world = asyncio.run(read_world(places.tenant, places.directories, caches, places.hostnames, places.project, "", {}))
    variants = world.layout.state.candidates.get(("job", "base")) or []
    assert [(each.source.branch, each.job.run[0].path) for each in variants if isinstance(each, Variant)] == [
        ("master", "new"),
        ("stable", "old"),
    ]
    assert list(world.snapshots["review/org/config"].branches) == ["master"]


def test_paths_of_a_provider_begin_at_its_configuration_file(tmp_path: Path) -> None:
    section = {
        "name": "lab",
        "labels": ["plain", {"name": "debian", "tree": "trees/debian"}, {"name": "vm", "file": "vm.qcow2", "kernel": "/boot/vmlinuz"}],
        "nodes": [{"name": "a", "private-key": "key"}],
    }
    found = located(section, tmp_path)
    assert found["labels"] == [
        "plain",
        {"name": "debian", "tree": f"{tmp_path}/trees/debian"},
        {"name": "vm", "file": f"{tmp_path}/vm.qcow2", "kernel": "/boot/vmlinuz"},
    ]
    assert found["nodes"] == [{"name": "a", "private-key": f"{tmp_path}/key"}]
