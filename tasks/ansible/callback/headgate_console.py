"""Writes a playbook's story into the build's console, beside ansible-runner's own callback: banners, results, recap.

Task output itself is written while it happens by `tasks.ansible.streaming`; both append to the same file, so lines stand in the order
things happened.
"""

from __future__ import annotations

import json
import time
from typing import Any

from ansible.plugins.callback import CallbackBase

from tasks.ansible import streaming
from tasks.ansible.early import FAILED, UNREACHABLE, may_be_rescued

DOCUMENTATION = """
  name: headgate_console
  type: aggregate
  short_description: live console of a build
  description: Appends to the console of the build that this playbook belongs to.
"""

ALREADY_SHOWN = ("stdout", "stderr", "stdout_lines", "stderr_lines", "invocation", "deprecations", "exception")
LONGEST_RESULT = 20_000
PRINTING = frozenset(
    f"{prefix}{name}" for name in ("async_status", "raw", "script") for prefix in ("", "ansible.builtin.", "ansible.legacy.")
)
"""Actions whose output is known at their end only; so is that of commands left to run in the background."""
CENSORED = "the result is hidden because the task says no_log"


class CallbackModule(CallbackBase):  # type: ignore[misc]  # Ansible has no types
    CALLBACK_VERSION = 2.0
    CALLBACK_TYPE = "aggregate"
    CALLBACK_NAME = "headgate_console"
    CALLBACK_NEEDS_ENABLED = True

    def __init__(self) -> None:
        super().__init__()
        self.started: dict[str, float] = {}

    def v2_playbook_on_play_start(self, play: Any) -> None:
        streaming.console.say(f"PLAY [{play.get_name()}]")

    def v2_playbook_on_task_start(self, task: Any, is_conditional: bool) -> None:
        streaming.console.banner(f"TASK [{task.get_name()}]")

    def v2_playbook_on_handler_task_start(self, task: Any) -> None:
        streaming.console.banner(f"HANDLER [{task.get_name()}]")

    def v2_playbook_on_include(self, included_file: Any) -> None:
        hosts = ", ".join(host.name for host in included_file._hosts)
        streaming.console.say(f"included {included_file._filename} for {hosts}")

    def v2_playbook_on_no_hosts_matched(self) -> None:
        streaming.console.say("no host of this build is meant by this play")

    def v2_runner_on_start(self, host: Any, task: Any) -> None:
        self.started[host.name] = time.monotonic()

    def v2_runner_on_ok(self, result: Any) -> None:
        self._show("changed" if result._result.get("changed") else "ok", result)

    def v2_runner_on_failed(self, result: Any, ignore_errors: bool = False) -> None:
        self._show("FAILED (ignored)" if ignore_errors else "FAILED", result)
        if not ignore_errors and not may_be_rescued(result._task):
            streaming.console.telling.tell(FAILED, f"{result._host.name}: {result._task.get_name()}")

    def v2_runner_on_unreachable(self, result: Any) -> None:
        streaming.console.telling.tell(UNREACHABLE, result._host.name)
        self._show("UNREACHABLE", result)

    def v2_runner_on_skipped(self, result: Any) -> None:
        self._show("skipped", result)

    def v2_runner_retry(self, result: Any) -> None:
        self._say(result, f"not yet, try {result._result.get('attempts')} of {result._result.get('retries')}")

    def v2_runner_item_on_ok(self, result: Any) -> None:
        self._show("changed" if result._result.get("changed") else "ok", result, item=True)

    def v2_runner_item_on_failed(self, result: Any) -> None:
        self._show("FAILED", result, item=True)

    def v2_runner_item_on_skipped(self, result: Any) -> None:
        self._show("skipped", result, item=True)

    def v2_playbook_on_stats(self, stats: Any) -> None:
        streaming.console.say("PLAY RECAP")
        for host in sorted(stats.processed):
            numbers = stats.summarize(host)
            streaming.console.say(f"{host} | " + " ".join(f"{name}: {number}" for name, number in numbers.items()))

    def _say(self, result: Any, text: str) -> None:
        streaming.console.say("\n".join(f"{result._host.name} | {line}" for line in text.split("\n")))

    def _show(self, kind: str, result: Any, item: bool = False) -> None:
        """One result in one line, with what a reader needs more when it is a failure or a debug message."""
        outcome = result._result
        if result._task.action in PRINTING or result._task.async_val:
            self._output(result)
        if outcome.get("_ansible_no_log"):
            self._say(result, f"{kind} ({CENSORED})")
            return
        facts = []
        if item:
            facts.append(f"item={self._get_item_label(outcome)}")
        if "rc" in outcome:
            facts.append(f"rc={outcome['rc']}")
        if not item and kind != "skipped" and result._host.name in self.started:
            facts.append(f"{time.monotonic() - self.started[result._host.name]:.2f} s")
        text = kind + (": " + ", ".join(facts) if facts else "")
        for warning in outcome.get("warnings") or ():
            text += f"\nwarning: {warning}"
        if kind.startswith(("FAILED", "UNREACHABLE")) or outcome.get("_ansible_verbose_always"):
            text += self._details(outcome)
        self._say(result, text)

    def _output(self, result: Any) -> None:
        """What a module that does not stream has printed, at its end."""
        outcome = result._result
        if not outcome.get("_ansible_no_log"):
            lines = [line for name in ("stdout", "stderr") if isinstance(outcome.get(name), str) for line in outcome[name].splitlines()]
            streaming.console.telling.look([line.encode(errors="replace") for line in lines])
            if lines:
                self._say(result, "\n".join(lines))

    def _details(self, outcome: dict[str, Any]) -> str:
        hidden = (*ALREADY_SHOWN, "changed", "failed", "warnings", "results", "start", "end", "delta", "cmd", "rc")
        shown = {name: value for name, value in outcome.items() if name not in hidden and not name.startswith("_")}
        if not shown:
            return ""
        message = shown.get("msg")
        if set(shown) == {"msg"} and isinstance(message, str):
            return "\n" + message[:LONGEST_RESULT].rstrip("\n")
        return "\n" + json.dumps(shown, indent=2, default=str, ensure_ascii=False)[:LONGEST_RESULT]
