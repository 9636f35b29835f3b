"""The `zuul_return` action: what a playbook tells the scheduler, merged into one file that the executor reads after each playbook."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

from ansible.errors import AnsibleActionFail
from ansible.plugins.action import ActionBase

ADDED = ("artifacts", "warnings", "redactions")  # lists below `zuul` that grow from call to call; any other list is replaced
ARGUMENTS = ("data", "secret_data", "file", "path")


def merge(old: dict[str, Any], new: dict[str, Any]) -> dict[str, Any]:
    """`new` over `old`, dictionaries merged within."""
    merged = dict(old)
    for name, value in new.items():
        known = merged.get(name)
        merged[name] = merge(known, value) if isinstance(known, dict) and isinstance(value, dict) else value
    return merged


def merge_section(old: dict[str, Any], new: dict[str, Any]) -> dict[str, Any]:
    """`merge`, with the growing lists added up."""
    merged = merge(old, new)
    before, after = old.get("zuul"), new.get("zuul")
    if isinstance(before, dict) and isinstance(after, dict):
        merged["zuul"] |= {name: [*before[name], *after[name]] for name in ADDED if name in before and name in after}
    return merged


class ActionModule(ActionBase):  # type: ignore[misc]  # Ansible has no types
    TRANSFERS_FILES = False

    def run(self, tmp: Any = None, task_vars: dict[str, Any] | None = None) -> dict[str, Any]:
        result: dict[str, Any] = super().run(tmp, task_vars)
        unknown = [name for name in self._task.args if name not in ARGUMENTS]
        if unknown:
            raise AnsibleActionFail(f"zuul_return takes data, secret_data and file, not {', '.join(unknown)}")
        target = Path(self._task.args.get("path") or (task_vars or {})["zuul"]["executor"]["result_data_file"])
        sections = {"data": dict(self._task.args.get("data") or {}), "secret_data": dict(self._task.args.get("secret_data") or {})}
        if self._task.args.get("file"):
            loaded = json.loads(Path(self._task.args["file"]).read_text())
            sections = {name: merge_section(sections[name], loaded.get(name) or {}) for name in sections}
        known = json.loads(target.read_text()) if target.exists() else {}
        merged = {name: merge_section(known.get(name) or {}, section) for name, section in sections.items()}
        temporary = target.with_name(f".{target.name}.{os.getpid()}")
        temporary.write_text(json.dumps(merged))
        temporary.rename(target)
        return {**result, "changed": True}
