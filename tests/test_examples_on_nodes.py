"""The roles of examples/openstack that need no public ones, on a real node: bindep from PyPI, packages and databases from Debian."""

from __future__ import annotations

import dataclasses
import shutil
import subprocess
from pathlib import Path

import pytest

from headgate.jobs import RoleSource
from headgate.results import Verdict
from providers.base import Node
from tasks.build_plan import BuildPlan, Source
from tasks.playbooks import run_build
from tests.services.machines import namespace_node
from tests.services.workshop import Workshop

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]
CONFIG = Path(__file__).parent.parent / "examples/openstack/config"
PROJECT = "review.example.org/config"
TESTS = """
import unittest

ACCOUNT = {"host": "127.0.0.1", "user": "openstack_citest", "password": "openstack_citest"}


class Databases(unittest.TestCase):
    def test_mysql(self):
        import pymysql
        with pymysql.connect(database="openstack_citest", **ACCOUNT) as connection, connection.cursor() as cursor:
            cursor.execute("CREATE DATABASE another")
            cursor.execute("SELECT VERSION()")
            print(cursor.fetchone())

    def test_postgresql(self):
        import psycopg2
        with psycopg2.connect(dbname="openstack_citest", **ACCOUNT) as connection, connection.cursor() as cursor:
            cursor.execute("CREATE ROLE another")
            cursor.execute("SELECT version()")
            print(cursor.fetchone())
"""
LIST = "python3-pymysql [platform:dpkg test]\npython3-psycopg2 [platform:dpkg test]\nnone-of-that-name [platform:rpm]\n"


async def planned(workshop: Workshop, node: tuple[Node, Path], run: str, files: dict[str, str]) -> BuildPlan:
    """A plan whose playbook has the roles of the example."""
    config = workshop.root / "config"
    shutil.copytree(CONFIG, config)
    git = ("git", "-C", str(config), "-c", "user.name=x", "-c", "user.email=x@example.org")
    for command in (("init", "-q", "-b", "main"), ("add", "-A"), ("commit", "-q", "-m", "all")):
        subprocess.run([*git, *command], check=True)
    await workshop.caches.fetch(PROJECT, str(config))
    roles = (RoleSource(PROJECT, "main", False),)
    plan = await workshop.plan(run=run, roles=roles, files=files, nodes={"primary": node[0]}, private_key=node[1])
    return dataclasses.replace(
        plan, sources={**plan.sources, Source(PROJECT, "main", False): await workshop.caches.resolve(PROJECT, "main")}
    )


async def test_a_project_gets_the_packages_of_its_list_and_real_databases(tmp_path: Path) -> None:
    run = """
- hosts: all
  environment: {PIP_CERT: /etc/ssl/certs/ca-certificates.crt}
  tasks:
    - include_role: {name: install-distro-packages}
    - include_role: {name: database}
      loop: [first, again]
    - command: python3 -m unittest -v test_databases
      args: {chdir: "{{ zuul.project.src_dir }}"}
    - name: Without a list
      include_role: {name: install-distro-packages}
      vars: {install_distro_packages_directory: /nowhere, install_distro_packages_fallback: [hello]}
    - command: hello
    - name: With a list that cannot be read
      block:
        - copy: {content: "gcc [platform:", dest: bad/bindep.txt}
        - include_role: {name: install-distro-packages}
          vars: {install_distro_packages_directory: bad}
        - fail: {msg: "nothing was wrong with it"}
      rescue:
        - debug: {msg: "refused by {{ ansible_failed_task.name }}"}
  pre_tasks:
    - file: {path: bad, state: directory}
"""
    workshop = Workshop(tmp_path)
    async with namespace_node(tmp_path) as node:
        plan = await planned(workshop, node, run, {"bindep.txt": LIST, "test_databases.py": TESTS})
        outcome = await run_build(plan)
    said = workshop.said(plan)
    assert outcome.verdict == Verdict("SUCCESS"), "\n".join(workshop.console(plan))
    assert any("MariaDB" in line for line in said)
    assert any("PostgreSQL" in line for line in said)
    assert "OK" in said
    assert "Hello, world!" in said
    assert any("refused by" in line and "Ask what the node lacks" in line for line in said)
