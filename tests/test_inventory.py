"""What playbooks get to know, as golden files: a change of one is read as a diff.

HEADGATE_WRITE_PLANS=1 pytest tests/test_inventory.py     # write tests/plans/*.json anew
"""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest

from headgate.build_facts import BuildFacts, ItemChange, ProjectState
from headgate.changes import Change
from headgate.inventory import inventory, known_hosts
from headgate.jobs import FrozenJob, GroupUse, Nodeset, NodeUse, Playbook, RoleSource
from headgate.results import script
from headgate.zuul_variables import checks_out, source_path, workspace_path, zuul_variables
from providers.base import Node

PLANS = Path(__file__).parent / "plans"
NOVA, REQUIREMENTS, CONFIG = "review.example.org/openstack/nova", "review.example.org/openstack/requirements", "review.example.org/config"
COMMIT = "0123456789abcdef0123456789abcdef01234567"


def change(number: int, project: str = "openstack/nova") -> Change:
    return Change(
        connection="review",
        project=project,
        branch="stable/2026.1",
        number=number,
        patchset=5,
        ref=f"refs/changes/{number % 100:02}/{number}/5",
        commit=COMMIT,
        subject="Fix it",
        message="Fix it\n\nChange-Id: I0123\n",
        url=f"https://review.example.org/{number}",
        topic="fixes",
    )


def node(name: str, **attributes: Any) -> Node:
    known = {"connection": "ssh", "host": "203.0.113.7", "port": 22, "username": "zuul", "home": "/home/zuul", "provider": "cloud-1"}
    return Node(id=f"node-{name}", label="debian-12", external_id=f"uuid-{name}", **{**known, **attributes})


BASE = Playbook(CONFIG, "master", "playbooks/base/pre.yaml", True, roles=(RoleSource(CONFIG, "master", True, implicit=True),))
RUN = Playbook(NOVA, "stable/2026.1", "playbooks/unit/run.yaml", False, roles=(RoleSource(NOVA, "stable/2026.1", False),), nesting_level=1)
POST = Playbook(CONFIG, "master", "playbooks/base/post.yaml", True)
FACTS = BuildFacts(
    build="b1",
    buildset="s1",
    event_id="e1",
    tenant="openstack",
    pipeline="gate",
    items=(ItemChange(change(1233, "openstack/requirements"), REQUIREMENTS), ItemChange(change(1234), NOVA)),
    projects=(
        ProjectState(NOVA, COMMIT, "stable/2026.1"),
        ProjectState(REQUIREMENTS, COMMIT, "stable/2026.1", "zuul branch", required=True),
    ),
    attempt=2,
    executor="executor-1",
    ansible_version="2.19",
    artifacts=({"name": "wheel", "url": "https://logs.example.org/wheel"},),
    parent_data={"colour": "from a parent", "port": 3306},
)
PLANS_TO_KEEP = {
    "unit-tests": (
        FrozenJob("unit", pre_run=(BASE,), run=(RUN,), post_run=(POST,), vars={"colour": "teal"}, timeout=1800, tags=("fast",)),
        Nodeset("debian-12", (NodeUse(("primary",), "debian-12"),)),
        {"primary": node("primary")},
    ),
    "multinode": (
        FrozenJob(
            "devstack",
            run=(RUN,),
            host_vars={"controller": {"services": ["nova", "keystone"]}},
            group_vars={"compute": {"role": "compute"}, "all": {"mtu": 1400}},
            workspace_scheme="unique",
            voting=False,
        ),
        Nodeset(
            "two",
            (NodeUse(("controller",), "debian-12"), NodeUse(("compute1", "subnode"), "debian-12")),
            (GroupUse("compute", ("controller", "compute1")), GroupUse("subnodes", ("compute1",))),
        ),
        {
            "controller": node("1"),
            "compute1": node("2", host="2001:db8::7", port=2222),
            "subnode": node("2", host="2001:db8::7", port=2222),
        },
    ),
    "local-node": (
        FrozenJob("linters", run=(RUN,)),
        Nodeset("local", (NodeUse(("primary",), "local"),)),
        {"primary": node("primary", connection="local", host="localhost", port=0, username="", home="/state/nodes/n1")},
    ),
    "no-node": (FrozenJob("noop-like", run=(RUN,)), Nodeset(), {}),
}


@pytest.mark.parametrize("name", PLANS_TO_KEEP)
def test_plan_is_as_kept(name: str) -> None:
    job, nodeset, nodes = PLANS_TO_KEEP[name]
    plan = {
        "playbooks": [
            {
                "phase": phase,
                "path": playbook.path,
                "roles": [source_path(role.project, role.branch, role.trusted) for role in playbook.roles],
            }
            for phase, playbook in script(job)
        ],
        "inventory": inventory(job, nodeset, nodes, FACTS),
    }
    text = json.dumps(plan, indent=2) + "\n"
    path = PLANS / f"{name}.json"
    if os.environ.get("HEADGATE_WRITE_PLANS"):
        path.write_text(text)
    assert text == path.read_text()


def test_job_variables_lie_over_what_parents_returned() -> None:
    job, nodeset, nodes = PLANS_TO_KEEP["unit-tests"]
    variables = inventory(job, nodeset, nodes, FACTS)["all"]["vars"]
    assert (variables["colour"], variables["port"]) == ("teal", 3306)


@pytest.mark.parametrize(
    ("scheme", "path"),
    [("golang", "src/review.example.org/openstack/nova"), ("flat", "src/nova"), ("unique", "src/review.example.org/openstack%2Fnova")],
)
def test_workspace_scheme_decides_the_path(scheme: str, path: str) -> None:
    assert workspace_path(scheme, NOVA) == path
    assert zuul_variables(FrozenJob("j", workspace_scheme=scheme), FACTS)["project"]["src_dir"] == path


def test_an_unknown_scheme_is_named_with_what_there_is() -> None:
    with pytest.raises(ValueError, match="workspace-scheme 'deep' is not one of golang, flat, unique"):
        workspace_path("deep", NOVA)


def test_the_executor_has_the_files_only_where_no_node_has_them() -> None:
    one = Nodeset("one", (NodeUse(("primary",), "debian-12"),))
    assert [checks_out(FrozenJob("j", workspace_checkout=wish), one) for wish in ("auto", True, False)] == [False, True, False]
    assert [checks_out(FrozenJob("j", workspace_checkout=wish), Nodeset()) for wish in ("auto", True, False)] == [True, True, False]


def test_known_hosts_has_the_keys_of_ssh_nodes_each_once() -> None:
    nodes = [
        node("1", host_keys=("ssh-ed25519 AAAA",)),
        node("2", port=2222, host_keys=("ssh-rsa B", "ssh-ed25519 C")),
        node("1", host_keys=("ssh-ed25519 AAAA",)),
    ]
    assert known_hosts([*nodes, node("3", connection="local", host_keys=("x",))]) == (
        "203.0.113.7 ssh-ed25519 AAAA\n[203.0.113.7]:2222 ssh-rsa B\n[203.0.113.7]:2222 ssh-ed25519 C\n"
    )
