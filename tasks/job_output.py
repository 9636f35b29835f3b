"""`logs/job-output.json`: what every playbook of a build did, task by task, in Zuul's shape."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from headgate.results import Played
from tasks.account import Account, give
from tasks.console import put

NAME = "job-output.json"


class JobOutput:
    """The file below `logs`, written anew after each playbook. `directory` is the build's own, which no playbook can write to;
    the file is `account`'s, whose roles set its mode."""

    def __init__(self, directory: Path, logs: Path, account: Account | None = None) -> None:
        self._account = account
        self._temporary = directory / f".{NAME}"
        self._target = logs / NAME
        self._stories: list[dict[str, Any]] = []

    def add(self, played: Played, before: Sequence[Played], story: Mapping[str, Any]) -> None:
        """Tell what `played` did; `story` is what our JSON callback wrote. By renaming: what is there by that name may be a link to
        anywhere. Raises `OSError`."""
        playbook = played.playbook
        self._stories.append(
            {
                "branch": playbook.branch,
                "index": str(sum(one.phase == played.phase for one in before)),
                "phase": played.phase.partition("-")[0],
                "playbook": f"{playbook.project}/{playbook.path}",
                "trusted": str(playbook.trusted),
                "plays": story.get("plays", []),
                "stats": story.get("stats", {}),
            }
        )
        self._temporary.write_text(json.dumps(self._stories, indent=4, sort_keys=True))
        give(self._temporary, self._account)
        put(self._temporary, self._target)
