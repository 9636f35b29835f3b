"""Plays scenarios on Zuul's own scheduler, with the fakes of its source distribution. Runs in Zuul's environment, not in ours: it
imports nothing of Headgate.

`SCENARIOS` is a directory: every `NAME.json` in it is a scenario, and `NAME.answer` gets what `headgate simulate` would print. ZooKeeper,
its certificates and PostgreSQL are named as Zuul's own tests want them (`ZUUL_ZK_HOST`, `ZUUL_ZK_CA`, `ZUUL_ZK_CERT`, `ZUUL_ZK_KEY`,
`PGPORT`). Run it by `python -m testtools.run zuul_scheduler.Play` from Zuul's source tree.
"""

import json
import logging
import os
import re
import time
from pathlib import Path

import zuul.lib.ansible
from zuul.executor.server import SshAgent
from zuul.lib.keystorage import KeyStorage
from zuul.model import DequeueEvent, EnqueueEvent, PromoteEvent

from tests.base import ZuulTestCase

SCENARIOS = sorted(Path(os.environ["SCENARIOS"]).glob("*.json"))

zuul.lib.ansible.AnsibleManager.getAnsibleCommand = lambda self, version, command="": "/bin/true"
zuul.lib.ansible.AnsibleManager.getAnsibleInstallDir = lambda self, version: "/"
KeyStorage.getTenantSSHKeys = lambda self, tenant_name: ("none", "none")  # no job here logs in anywhere, and making a key is slow
SshAgent.addData = lambda self, name, data: None
SILENT = ("change", "fail", "hold", "snapshot", "time", "conflict")


class Play(ZuulTestCase):
    config_file = "zuul-sql-driver-postgres.conf"
    wait_timeout = 90

    @property
    def path(self):
        return Path(os.environ["SCENARIOS"]) / (self._testMethodName.removeprefix("test_") + ".json")

    def setUp(self):
        self.scenario = json.loads(self.path.read_text())
        self.tenant_config_file = self.scenario["config"] + "/main.yaml"
        super().setUp()
        logging.disable()  # a good part of the time otherwise

    def assertFinalState(self):
        """A scenario may end with anything in the queues."""

    def assertCleanShutdown(self):
        pass

    def checkLogs(self):
        pass

    def name(self, number, patchset):
        return f"{self.names[str(number)]},{patchset}"

    def changes_of(self, item):
        return [
            self.name(change.number, change.patchset) if hasattr(change, "number") else f"{change.project.name} {change.ref}"
            for change in item.changes
        ]

    def tested(self, build):
        items = build.parameters["zuul"]["items"]
        return [
            self.name(each["change"], each["patchset"]) if "change" in each else f"{each['project']['name']} {each['ref']}"
            for each in items
        ]

    def move(self, step):
        project, ref = step["project"], step["ref"]
        if ref.startswith("refs/tags/"):
            event = self.fake_gerrit.addFakeTag(project, step.get("branch", "master"), ref.removeprefix("refs/tags/"))
        elif step.get("deleted"):
            event = self.fake_gerrit.getFakeBranchDeletedEvent(project, ref.removeprefix("refs/heads/"))
        else:
            event = self.fake_gerrit.getFakeBranchCreatedEvent(project, ref.removeprefix("refs/heads/"))
        self.fake_gerrit.addEvent(event)

    def queues(self):
        found = {}
        for tenant in self.scheds.first.sched.abide.tenants.values():
            for manager in tenant.layout.pipeline_managers.values():
                queues = [
                    {
                        "queue": queue.name,
                        "window": queue.window,
                        "items": [
                            {
                                "changes": self.changes_of(item),
                                "live": item.live,
                                "active": item.active,
                                "ahead": self.changes_of(item.item_ahead) if item.item_ahead else None,
                            }
                            for item in queue.queue
                        ],
                    }
                    for queue in manager.state.queues
                    if queue.queue
                ]
                if queues:
                    found[f"{tenant.name}/{manager.pipeline.name}"] = queues
        return found

    def release_builds(self, regex=None, name=None):
        held = [
            build
            for build in self.builds
            if (not regex or re.fullmatch(regex, build.name)) and (name is None or self.tested(build)[-1].rpartition(",")[0] == name)
        ]
        for build in sorted(held, key=lambda build: (len(build.changes.split()), build.name, build.changes)):
            while build in self.builds and build.isWaiting():  # the fakes hold it before each of its playbooks
                build.release()
                self.waitUntilSettled()

    def make(self, step):
        parent = self.made.get(step.get("parent"))
        change = self.fake_gerrit.addFakeChange(
            step["project"],
            step.get("branch", "master"),
            step.get("subject", step["id"]),
            files=step.get("files"),
            parent=parent.data["currentPatchSet"]["ref"] if parent else None,
            topic=step.get("topic"),
        )
        change.data.pop("parents", None)
        self.made[step["id"]] = change
        self.names[str(change.number)] = step["id"]
        self.needs[step["id"]] = step.get("depends_on") or []
        if parent:
            change.setDependsOn(parent, parent.latest_patchset)
        for name, needs in self.needs.items():
            if needs and all(each in self.made for each in needs):
                lines = "".join(f"Depends-On: {self.made[each].data['url']}\n" for each in needs)
                self.made[name].data["commitMessage"] = f"{self.made[name].subject}\n\n{lines}"

    def ask(self, step, names):
        pipeline = step["pipeline"]
        tenants = self.scheds.first.sched.abide.tenants.values()
        tenant = next(each.name for each in tenants if pipeline in each.layout.pipeline_managers)
        changes = [self.made[name] for name in names]
        identities = [f"{change.number},{change.latest_patchset}" for change in changes]
        queue = self.scheds.first.sched.pipeline_management_events[tenant][pipeline]
        if step["op"] == "promote":
            queue.put(PromoteEvent(tenant, pipeline, identities), needs_result=False)
            return
        kind = EnqueueEvent if step["op"] == "enqueue" else DequeueEvent
        for change, identity in zip(changes, identities, strict=True):
            queue.put(kind(tenant, pipeline, "review.example.com", change.project, change=identity, ref=None), needs_result=False)

    def step(self, step):
        op, change, gerrit = step["op"], self.made.get(step.get("id")), self.fake_gerrit
        if op == "change":
            self.make(step)
        elif op == "approve":
            event = change.addApproval(step["label"], step["value"])
            if step.get("event"):
                gerrit.addEvent(event)
        elif op in ("event", "patchset"):
            if op == "patchset":
                change.addPatchset(files=step.get("files"))
            gerrit.addEvent(change.getPatchsetCreatedEvent(change.latest_patchset))
        elif op == "comment":
            gerrit.addEvent(change.getChangeCommentEvent(change.latest_patchset, step["text"]))
        elif op == "abandon":
            change.setAbandoned()
            gerrit.addEvent(change.getChangeAbandonedEvent())
        elif op == "submit":
            change.setMerged()
            gerrit.addEvent(change.getChangeMergedEvent())
        elif op == "fail":
            self.executor_server.failJob(step["job"], change)
        elif op == "hold":
            self.executor_server.hold_jobs_in_build = bool(step["on"])
        elif op == "hold_nodes":
            (self.fake_nodepool.pause if step["on"] else self.fake_nodepool.unpause)()
        elif op == "release":
            self.release_builds(step.get("regex"), step.get("id"))
        elif op == "conflict":
            change.fail_merge = True
        elif op == "ref":
            self.move(step)
        elif op in ("enqueue", "dequeue", "promote"):
            self.ask(step, step.get("ids") or [step["id"]])
        elif op == "snapshot":
            running = [{"job": build.name, "changes": self.tested(build)} for build in self.builds]
            running.sort(key=lambda each: (each["changes"], each["job"]))
            self.trace.append({"label": step.get("label"), "queues": self.queues(), "running": running})
        if op not in SILENT and not step.get("nosettle"):
            self.waitUntilSettled()

    def seconds(self):
        """CPU seconds so far of the scheduler's own thread, and of everything that runs in this process."""
        clock = time.pthread_getcpuclockid(self.scheds.first.sched.ident)
        return {"scheduler": time.clock_gettime(clock), "process": time.process_time()}

    def play(self):
        self.made, self.names, self.needs, self.trace = {}, {}, {}, []
        began = self.seconds()
        for step in self.scenario["steps"]:
            self.step(step)
        self.waitUntilSettled()
        self.fake_nodepool.unpause()
        self.waitUntilSettled()
        while self.builds:
            self.release_builds()
        history = [{"job": build.name, "result": build.result, "changes": self.tested(build)} for build in self.history]
        changes = {
            name: {
                "status": change.data["status"],
                "votes": [[each["type"], int(each["value"]), each["by"]["username"]] for each in change.patchsets[-1]["approvals"]],
                "messages": change.messages,
                "reports": change.reported,
            }
            for name, change in self.made.items()
        }
        history.sort(key=lambda each: (each["changes"], each["job"], each["result"]))
        spent = {name: round(now - began[name], 2) for name, now in self.seconds().items()}
        answer = {"trace": self.trace, "history": history, "changes": changes, "CPU s": spent}
        self.path.with_suffix(".answer").write_text(json.dumps(answer))


for _path in SCENARIOS:
    setattr(Play, f"test_{_path.stem}", lambda self: self.play())
