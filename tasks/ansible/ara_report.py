"""Makes ARA's static report of a build out of its `job-output.json`: `python ara_report.py JOB-OUTPUT DATABASE REPORT ANSIBLE-VERSION`.

Run in a sandbox of its own, because the texts are a job's. ARA's own callback would cost each playbook of a build more than a second; this
costs one start, at the end. The last line on stdout is `done` or `failed`, with the reason in the line before.
"""

from __future__ import annotations

import importlib
import json
import os
import sys
import uuid
from pathlib import Path
from typing import Any

LONGEST_NAME = 255
NO_TEXT = "The text of this playbook is in its repository.\n"


def worst(statuses: list[str]) -> str:
    return "failed" if "failed" in statuses else "completed"


def status_of(result: dict[str, Any]) -> str:
    return next((word for word in ("unreachable", "failed", "skipped") if result.get(word)), "ok")


def times(told: dict[str, Any]) -> dict[str, str]:
    duration = told.get("duration") or {}
    start = str(duration.get("start") or "")
    return {"started": start, "ended": str(duration.get("end") or start)} if start else {}


class Report:
    """Records by ARA's own API."""

    def __init__(self, client: Any, ansible_version: str) -> None:
        self._client = client
        self._ansible_version = ansible_version

    def post(self, kind: str, **values: Any) -> int:
        answer = self._client.post(f"/api/v1/{kind}", **values)
        if "id" not in answer:
            raise ValueError(f"ARA does not take one of {kind}: {answer}")
        return int(answer["id"])

    def playbook(self, told: dict[str, Any]) -> None:
        plays = told.get("plays") or []
        failed = any(numbers.get("failures") or numbers.get("unreachable") for numbers in (told.get("stats") or {}).values())
        starts = [found for play in plays if (found := times(play["play"]))]
        span = {"started": starts[0]["started"], "ended": starts[-1]["ended"]} if starts else {}
        playbook = self.post(
            "playbooks",
            ansible_version=self._ansible_version,
            arguments={},
            labels=[told["phase"]],
            name=f"{told['phase']}: {told['playbook']}"[:LONGEST_NAME],
            path=told["playbook"][-LONGEST_NAME:],
            status="failed" if failed else "completed",
            **span,
        )
        file = self.post("files", playbook=playbook, path=told["playbook"][-LONGEST_NAME:], content=NO_TEXT)
        hosts = {}
        for name, numbers in (told.get("stats") or {}).items():
            counts = {ours: numbers.get(theirs, 0) for ours, theirs in COUNTS.items()}
            hosts[name] = self.post("hosts", playbook=playbook, name=name[:LONGEST_NAME], facts={}, **counts)
        for play in plays:
            self.play(play, playbook, file, hosts)

    def play(self, told: dict[str, Any], playbook: int, file: int, hosts: dict[str, int]) -> None:
        name = str(told["play"].get("name") or "")[:LONGEST_NAME]
        play = self.post("plays", playbook=playbook, name=name, uuid=str(uuid.uuid4()), status="completed", **times(told["play"]))
        for task in told.get("tasks") or []:
            results = {host: result for host, result in (task.get("hosts") or {}).items() if host in hosts}
            statuses = {host: status_of(result) for host, result in results.items()}
            about = {"playbook": playbook, "play": play}
            number = self.post(
                "tasks",
                **about,
                file=file,
                uuid=str(uuid.uuid4()),
                name=str(task["task"].get("name") or ""),
                action=next((str(result.get("action")) for result in results.values()), "none")[:LONGEST_NAME],
                lineno=1,
                tags=[],
                handler=False,
                status=worst(list(statuses.values())),
                **times(task["task"]),
            )
            for host, result in results.items():
                facts = {"status": statuses[host], "changed": bool(result.get("changed")), "content": result, **times(task["task"])}
                self.post("results", **about, task=number, host=hosts[host], **facts)


COUNTS = {"changed": "changed", "failed": "failures", "ok": "ok", "skipped": "skipped", "unreachable": "unreachable"}


def main() -> None:
    job_output, database, report, ansible_version = sys.argv[1:]
    Path(database).mkdir()
    os.environ.update({"ARA_BASE_DIR": database, "ARA_LOG_LEVEL": "ERROR", "DJANGO_SETTINGS_MODULE": "ara.server.settings"})
    client: Any = importlib.import_module("ara.clients.utils")  # what it brings reads the environment
    management: Any = importlib.import_module("django.core.management")
    records = Report(client.get_client(client="offline"), ansible_version)
    for told in json.loads(Path(job_output).read_text()):
        records.playbook(told)
    management.execute_from_command_line(["ara-manage", "generate", report])
    print("done", flush=True)


if __name__ == "__main__":
    try:
        main()
    except Exception as problem:  # noqa: BLE001 - whatever it is: there is no report then, and why
        print(f"{type(problem).__name__}: {' '.join(str(problem).split())}\nfailed", flush=True)
