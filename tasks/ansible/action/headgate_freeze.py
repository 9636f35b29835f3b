"""The `headgate_freeze` action: evaluates the job's variables for one host and writes them where the executor reads them.

The names are in the variable `headgate_frozen_names`. What cannot be evaluated is left out.
"""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any
from urllib.parse import quote_plus

from ansible.errors import AnsibleError
from ansible.plugins.action import ActionBase


class ActionModule(ActionBase):  # type: ignore[misc]  # Ansible has no types
    TRANSFERS_FILES = False

    def run(self, tmp: Any = None, task_vars: dict[str, Any] | None = None) -> dict[str, Any]:
        result: dict[str, Any] = super().run(tmp, task_vars)
        known = task_vars or {}
        frozen = {}
        for name in known["headgate_frozen_names"]:
            try:
                if name in known:
                    frozen[name] = json.loads(json.dumps(self._templar.template(known[name]), default=str))
            except (AnsibleError, ValueError, RecursionError):
                continue
        target = Path(os.environ["AWX_ISOLATED_DATA_DIR"], "job_events", f"{quote_plus(known['inventory_hostname'])}.json")
        target.write_text(json.dumps(frozen))
        return {**result, "changed": False}
