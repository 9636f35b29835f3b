"""Every `zuul` variable that Zuul 14.3's manual names ("Zuul Variables"), with its value in a real run, and those outside of `zuul`."""

from __future__ import annotations

import base64
import json
from pathlib import Path
from typing import Any

from headgate.build_facts import BuildFacts
from headgate.results import Verdict
from tasks.playbooks import run_build
from tests.services.workshop import PROJECT, Workshop, tasks

SHOW = (
    "{copy: {content: '{{ zuul | to_json }}', dest: '{{ zuul.executor.log_root }}/zuul.json'}}",
    "{copy: {content: '{{ [zuul_success | default(none), zuul_will_retry | default(none)] | to_json }}', "
    "dest: '{{ zuul.executor.log_root }}/said-{{ zuul_execution_phase }}.json'}}",
)
NODE = "{copy: {content: '{{ [nodepool, zuul_node, zuul_user_dir, groups.zuul_unreachable] | to_json }}', dest: node.json}}"
PROJECT_VARIABLES = {
    "name": "org/nova",
    "short_name": "nova",
    "canonical_hostname": "review.example.org",
    "canonical_name": PROJECT,
    "src_dir": f"src/{PROJECT}",
}


def change_of(facts: BuildFacts) -> dict[str, Any]:
    change = facts.items[0].change
    return {
        "project": PROJECT_VARIABLES,
        "branch": "main",
        "ref": "refs/changes/34/1234/5",
        "change": "1234",
        "patchset": "5",
        "change_url": change.url,
        "commit_id": change.commit,
        "change_message": "A change\n",
        "message": base64.b64encode(b"A change\n").decode(),
        "topic": None,
    }


async def test_every_variable_has_its_value_in_a_real_run(tmp_path: Path) -> None:
    workshop = Workshop(tmp_path)
    plan = await workshop.plan(
        run=tasks(*SHOW, hosts="localhost") + tasks(NODE),
        post=tasks(*SHOW, hosts="localhost"),
        nodes={"primary": workshop.local_node()},
        timeout=600,
        pre_timeout=60,
        post_timeout=300,
        tags=("fast", "unit"),
        override_checkout="main",
        facts={
            "artifacts": ({"name": "wheel", "url": "https://logs/wheel", "job": "build"},),
            "child_jobs": ("publish",),
            "included_vars": ((PROJECT, "colours.yaml", {"colour": "teal"}),),
            "ansible_version": "2.19",
            "executor": "executor-1",
            "post_review": True,
        },
    )
    assert (await run_build(plan)).verdict == Verdict("SUCCESS"), workshop.console(plan)
    logs = plan.directory / "logs"
    found = json.loads((logs / "zuul.json").read_text())
    own = change_of(plan.facts)
    reference = {**own, "src_dir": f"src/{PROJECT}"}
    context = found.pop("playbook_context")
    assert found == {
        **own,
        "ansible_version": "2.19",
        "artifacts": [{"name": "wheel", "url": "https://logs/wheel", "job": "build"}],
        "attempts": 1,
        "build": "build-1",
        "build_refs": [reference],
        "buildset": "buildset-1",
        "buildset_refs": [reference],
        "child_jobs": ["publish"],
        "deduplicate": "auto",
        "event_id": "event-1",
        "executor": {
            "hostname": "executor-1",
            "inventory_file": "/build/ansible/inventory.yaml",
            "log_root": "/build/work/logs",
            "result_data_file": "/build/work/results.json",
            "src_root": "/build/work/src",
            "work_root": "/build/work",
        },
        "image_build_name": None,
        "include_vars": [{"project": {"canonical_name": PROJECT}, "name": "colours.yaml"}],
        "items": [own],
        "job": "job-1",
        "jobtags": ["fast", "unit"],
        "max_attempts": 3,
        "override_checkout": "main",
        "pipeline": "check",
        "post_review": True,
        "post_timeout": 300,
        "pre_timeout": 60,
        "projects": {
            PROJECT: {
                **PROJECT_VARIABLES,
                "checkout": "main",
                "checkout_description": "zuul branch",
                "commit": plan.facts.projects[0].commit,
                "required": True,
            }
        },
        "resources": {},
        "tenant": "example",
        "timeout": 600,
        "voting": True,
        "workspace_checkout": True,
    }
    assert set(context) == {"playbook_projects", "pre_playbooks", "playbooks", "post_playbooks"}
    assert context["playbooks"] == [{"path": f"/build/untrusted/main/{PROJECT}/playbooks/1/run-0.yaml", "trusted": False, "roles": []}]
    assert json.loads((logs / "said-run.json").read_text()) == [None, None]
    assert json.loads((logs / "said-post-run.json").read_text()) == [True, False]
    home = Path(plan.nodes["primary"].home)
    nodepool, zuul_node, user_dir, unreachable = json.loads((home / "node.json").read_text())
    assert nodepool == zuul_node
    assert (user_dir, unreachable) == (str(home), [])
    assert set(nodepool) == {
        *("label", "az", "cloud", "provider", "region", "host_id", "external_id", "uuid", "slot", "interface_ip"),
        *("public_ipv4", "private_ipv4", "public_ipv6", "private_ipv6", "node_properties", "reuse"),
    }
    assert (nodepool["label"], nodepool["provider"], nodepool["uuid"]) == ("local", "test", "home")
