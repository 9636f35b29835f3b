"""A person with a clone: the git verbs of stories about changes."""

from __future__ import annotations

import os
import subprocess
import uuid
from collections.abc import Mapping
from pathlib import Path


class Author:
    """Works in `clone`, which is made from `url`. Commits get a Change-Id footer unless the message has one."""

    def __init__(self, url: str, clone: Path, environment: Mapping[str, str] | None = None, name: str = "alice") -> None:
        self.clone = clone
        self.environment = {**os.environ, "GIT_TERMINAL_PROMPT": "0", **(environment or {})}
        self.environment |= {f"GIT_{who}_{what}": value for who in ("AUTHOR", "COMMITTER")
                             for what, value in (("NAME", name), ("EMAIL", f"{name}@example.org"))}  # fmt: skip
        clone.parent.mkdir(parents=True, exist_ok=True)
        subprocess.run(["git", "clone", "-q", url, str(clone)], check=True, env=self.environment)

    def git(self, *arguments: str, check: bool = True) -> str:
        """Both outputs of one git command, as a person sees them."""
        done = subprocess.run(["git", *arguments], cwd=self.clone, env=self.environment, capture_output=True, text=True)
        said = done.stdout + done.stderr
        assert not check or not done.returncode, f"git {arguments}: {said}"
        return said.strip()

    def start(self, branch: str = "main") -> None:
        """Goes to the newest state of `branch`."""
        self.git("fetch", "-q", "origin")
        self.git("checkout", "-q", "-B", "work", f"origin/{branch}")

    def commit(self, files: Mapping[str, str], message: str = "A change") -> str:
        """Commits those files; answers the commit."""
        self._write(files)
        footer = "" if "\nChange-Id: " in message else f"\n\nChange-Id: I{uuid.uuid4().hex}{uuid.uuid4().hex[:8]}"
        self.git("commit", "-q", "--allow-empty", "-m", message + footer)
        return self.git("rev-parse", "HEAD")

    def amend(self, files: Mapping[str, str], message: str = "") -> str:
        """Another commit in place of the last; with another `message` it keeps its Change-Id."""
        self._write(files)
        identity = self.git("log", "-1", "--format=%(trailers:key=Change-Id)")
        said = ["-m", f"{message}\n\n{identity}"] if message else ["--no-edit"]
        self.git("commit", "-q", "--amend", "--allow-empty", *said)
        return self.git("rev-parse", "HEAD")

    def push(self, branch: str = "main", *options: str, check: bool = True) -> str:
        """Pushes to refs/for/`branch`, with git's push options; answers what the server said."""
        return self.git("push", *[word for option in options for word in ("-o", option)], "origin", f"HEAD:refs/for/{branch}", check=check)

    def _write(self, files: Mapping[str, str]) -> None:
        for path, text in files.items():
            (self.clone / path).parent.mkdir(parents=True, exist_ok=True)
            (self.clone / path).write_text(text)
            self.git("add", path)
