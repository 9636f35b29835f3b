"""Every directory of Zuul's own public fixtures, frozen by Zuul's own code and by ours, and the configuration errors.

The test fetches Zuul's source distribution and makes an environment for it (once, below the user's cache), so it needs a package
index. `HEADGATE_ZUUL` may name a directory that already has both: `venv/` and `zuul-14.3.0/`.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tarfile
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest

from cli.configuration_questions import answer, question_of, read_tenants, world_of
from cli.configuration_sources import HOSTNAMES
from headgate.configuration import BadTenantFile
from tests.configuration.simple_layouts import simple_layouts

VERSION = "14.3.0"
DRIVERS = {
    **dict.fromkeys(("gerrit", "review_gerrit", "another_gerrit", "alt_voting_gerrit"), "gerrit"),
    **dict.fromkeys(("github", "github_ro", "github_ent", "github_ssh"), "github"),
    **{name: name for name in ("git", "gitlab", "pagure", "smtp", "mqtt", "elasticsearch", "aws", "openstack", "azure", "static")},
    "outgoing_smtp": "smtp",
    "kube": "kubernetes",
    "openshift": "kubernetes",
    "openstack2": "openstack",
}
KNOWN = {
    "multi-tenant-semaphore": "Zuul leaves its own marks in a variable that happens to be called semaphore",
    "git-driver": "the stand-in has no canonical name for a git connection",
    "nodepool-missing-connection": "offline nobody says which connections there are",
}


def environment() -> tuple[Path, Path]:
    """Python and source tree of Zuul, fetched if they are not there, into HEADGATE_ZUUL or the cache."""
    root = Path(os.environ.get("HEADGATE_ZUUL") or Path.home() / ".cache" / "headgate" / "zuul")
    root.mkdir(parents=True, exist_ok=True)
    source, python = root / f"zuul-{VERSION}", root / "venv" / "bin" / "python"
    if not python.exists():
        subprocess.run([sys.executable, "-m", "venv", str(root / "venv")], check=True)
        subprocess.run([python, "-m", "pip", "install", "-q", "wheel", "setuptools<81", "pbr"], check=True)
    if not source.exists():
        fetch = [python, "-m", "pip", "download", "-q", "--no-deps", "--no-binary", ":all:", "--no-build-isolation", f"zuul=={VERSION}"]
        subprocess.run(fetch, check=True, cwd=root)
        with tarfile.open(root / f"zuul-{VERSION}.tar.gz") as archive:
            archive.extractall(root, filter="data")
        subprocess.run([python, "-m", "pip", "install", "-q", "-r", str(source / "requirements.txt")], check=True)
    return python, source


def asked_of_zuul(python: Path, source: Path, cases: list[tuple[Path, str]], more: Sequence[Mapping[str, Any]] | None = None) -> list[Any]:
    """Zuul's answers about each tenant file; `more` adds to the request of each."""
    key = (source / "tests" / "fixtures" / "private.pem").read_text()
    requests = [
        {"directory": str(directory), "main": main, "key": key, "hostnames": HOSTNAMES, "drivers": DRIVERS, "queries": "all", **extra}
        for (directory, main), extra in zip(cases, more or [{}] * len(cases), strict=True)
    ]
    script = Path(__file__).with_name("zuul_reference.py")
    done = subprocess.run(
        [python, script],
        input=json.dumps(requests),
        text=True,
        capture_output=True,
        check=True,
        env={"PYTHONPATH": str(source), "PATH": "/usr/bin:/bin"},
    )
    answers: list[Any] = json.loads(done.stdout)
    return answers


def errors_of(result: dict[str, Any]) -> Counter[tuple[str, str, str, int]]:
    errors = result.get("config_errors") or ()
    return Counter((each["name"], each["severity"], each["source"] or "", each["line"] or 0) for each in errors)


def differences(directory: Path, main: str, answers: Any) -> list[str]:
    """What our answers say otherwise than Zuul's for one tenant file."""
    if isinstance(answers, dict):
        try:
            read_tenants(directory / main)
        except BadTenantFile:
            return []
        return [f"Zuul refuses the tenant file: {answers['refused']}"]
    world = world_of(directory, main)
    found = []
    for theirs in answers:
        query = {key: theirs[key] for key in ("tenant", "project", "pipeline", "branch", "files", "tag", "ref", "overlay") if key in theirs}
        ours = answer(world, question_of(query))
        if errors_of(ours) != errors_of(theirs):
            found.append(
                f"{query}: errors {errors_of(theirs) - errors_of(ours)} are missing, {errors_of(ours) - errors_of(theirs)} too many"
            )
        if ("error" in ours) != ("error" in theirs):
            found.append(f"{query}: Zuul says {theirs.get('error')!r}, Headgate {ours.get('error')!r}")
        elif ours.get("jobs") != theirs.get("jobs"):
            found.append(f"{query}: {theirs['jobs']} is not {ours['jobs']}")
    return found


@pytest.mark.zuul
@pytest.mark.slow
@pytest.mark.timeout(3600)
def test_graphs_and_errors_are_zuul_s_over_its_whole_corpus(tmp_path: Path) -> None:
    python, source = environment()
    fixtures = source / "tests" / "fixtures"
    directories = [*sorted((fixtures / "config").iterdir()), *simple_layouts(fixtures, tmp_path)]
    cases = [(directory, main.name) for directory in directories for main in sorted(directory.glob("*.yaml"))]
    answers = asked_of_zuul(python, source, cases)
    found = [
        f"{directory.name}/{main}: {difference}"
        for (directory, main), each in zip(cases, answers, strict=True)
        if directory.name not in KNOWN
        for difference in differences(directory, main, each)
    ]
    assert not found, "\n".join(found[:20])
    assert sum(len(each) for each in answers if isinstance(each, list)) > 8000
