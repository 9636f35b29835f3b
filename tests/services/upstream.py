"""A git repository somebody works in, for tests: branches, changes as a server keeps them, time that stands still."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

IDENTITY = {
    "GIT_AUTHOR_NAME": "A Person",
    "GIT_AUTHOR_EMAIL": "a@example.org",
    "GIT_COMMITTER_NAME": "A Person",
    "GIT_COMMITTER_EMAIL": "a@example.org",
    "GIT_CONFIG_GLOBAL": "/dev/null",
    "GIT_CONFIG_NOSYSTEM": "1",
}


class Upstream:
    """A repository somebody works in."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.clock = 1_700_000_000
        subprocess.run(["git", "init", "-q", "-b", "main", str(path)], check=True, env={**os.environ, **IDENTITY})
        self.commit("start", {"a.txt": "one\ntwo\nthree\n", "zuul.d/jobs.yaml": "[]\n"})

    def git(self, *arguments: str, check: bool = True) -> str:
        stamp = {"GIT_AUTHOR_DATE": f"{self.clock} +0000", "GIT_COMMITTER_DATE": f"{self.clock} +0000"}
        done = subprocess.run(
            ["git", "-C", str(self.path), *arguments], check=check, capture_output=True, text=True, env={**os.environ, **IDENTITY, **stamp}
        )
        return done.stdout.strip()

    def commit(self, message: str, files: dict[str, str]) -> str:
        self.clock += 10
        for name, text in files.items():
            (self.path / name).parent.mkdir(parents=True, exist_ok=True)
            (self.path / name).write_text(text)
        self.git("add", "-A")
        self.git("commit", "-q", "-m", message)
        return self.git("rev-parse", "HEAD")

    def change(self, number: int, files: dict[str, str], base: str = "main") -> str:
        """A change as a server keeps it: a ref, on no branch."""
        self.git("checkout", "-q", "--detach", base)
        commit = self.commit(f"change {number}", files)
        self.git("update-ref", f"refs/changes/{number}/1", commit)
        self.git("checkout", "-q", "main")
        return commit
