"""Writes what a playbook did, task by task and host by host, for `job-output.json`; the executor puts it there.

Shape: Zuul's, `{"plays": [{"play": {...}, "tasks": [{"task": {...}, "hosts": {name: result}}]}], "stats": {host: {...}}}`, and for each
task where in the console it begins, in bytes.
"""

from __future__ import annotations

import json
import os
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from ansible.plugins.callback import CallbackBase

from tasks.ansible import streaming

DOCUMENTATION = """
  name: headgate_json
  type: aggregate
  short_description: results of a playbook for job-output.json
  description: Writes results as JSON beside the events of this playbook.
"""

LONGEST_TEXT = 64 << 10
"""Of a longer one the beginning is kept: the console has all of it."""
CENSORED = {"censored": "the result is hidden because the task says no_log"}


def now() -> str:
    return datetime.now(UTC).isoformat().replace("+00:00", "Z")


def shortened(value: Any) -> Any:
    """`value` as plain JSON with long texts cut."""
    if isinstance(value, dict):
        return {str(name): shortened(inner) for name, inner in value.items() if not str(name).startswith("_ansible_")}
    if isinstance(value, list | tuple):
        return [shortened(inner) for inner in value]
    if isinstance(value, bool | int | float) or value is None:
        return value
    return str(value)[:LONGEST_TEXT]


class CallbackModule(CallbackBase):  # type: ignore[misc]  # Ansible has no types
    CALLBACK_VERSION = 2.0
    CALLBACK_TYPE = "aggregate"
    CALLBACK_NAME = "headgate_json"
    CALLBACK_NEEDS_ENABLED = True

    def __init__(self) -> None:
        super().__init__()
        self.plays: list[dict[str, Any]] = []

    def v2_playbook_on_play_start(self, play: Any) -> None:
        self._end_play()
        self.plays.append({"play": {"name": play.get_name(), "id": str(play._uuid), "duration": {"start": now()}}, "tasks": []})

    def v2_playbook_on_task_start(self, task: Any, is_conditional: bool) -> None:
        # its banner is in the console by now: callbacks are called in the order of their names
        started: dict[str, Any] = {
            "task": {"name": task.get_name(), "id": str(task._uuid), "duration": {"start": now()}},
            "console_offset": streaming.console.task_offset,
            "hosts": {},
        }
        if task._role is not None:
            started["role"] = {"name": task._role.get_name(), "id": str(task._role._uuid), "path": str(task._role._role_path)}
        self.plays[-1]["tasks"].append(started)

    def v2_playbook_on_handler_task_start(self, task: Any) -> None:
        self.v2_playbook_on_task_start(task, False)

    def v2_runner_on_ok(self, result: Any) -> None:
        self._record(result)

    def v2_runner_on_skipped(self, result: Any) -> None:
        self._record(result, skipped=True)

    def v2_runner_on_unreachable(self, result: Any) -> None:
        self._record(result, unreachable=True)

    def v2_runner_on_failed(self, result: Any, ignore_errors: bool = False) -> None:
        self._record(result, failed=True)

    def v2_playbook_on_stats(self, stats: Any) -> None:
        self._end_play()
        story = {"plays": self.plays, "stats": {host: stats.summarize(host) for host in sorted(stats.processed)}}
        data = streaming.console.hidden(json.dumps(story).encode())
        Path(os.environ["AWX_ISOLATED_DATA_DIR"], "job_events/story.json").write_bytes(data)

    def _record(self, result: Any, **facts: bool) -> None:
        outcome = CENSORED if result._result.get("_ansible_no_log") else shortened(result._result)
        task = next(
            (task for task in reversed(self.plays[-1]["tasks"]) if task["task"]["id"] == str(result._task._uuid)),
            self.plays[-1]["tasks"][-1],
        )
        task["hosts"][result._host.name] = {"action": result._task.action, "changed": False, **outcome, **facts}
        task["task"]["duration"]["end"] = now()

    def _end_play(self) -> None:
        if self.plays:
            self.plays[-1]["play"]["duration"]["end"] = now()
