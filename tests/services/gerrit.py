"""A real Gerrit under test: one for a test session, and the verbs of stories on it."""

from __future__ import annotations

import os
import re
import sys
import uuid
from datetime import UTC, datetime
from pathlib import Path

from deployments.gerrit import CI, PERSON, Gerrit
from tasks.connection_settings import GerritSettings
from tests.services.author import Author


class GerritServer:
    """See `tests.services.review.ReviewServer`; and what only a server of its own kind can do."""

    def __init__(self, gerrit: Gerrit, project: str = "") -> None:
        self.gerrit, self.project = gerrit, project

    def with_new_project(self, name: str = "") -> GerritServer:
        name = name or f"org/p{uuid.uuid4().hex[:8]}"
        self.gerrit.create_project(name)
        return GerritServer(self.gerrit, name)

    def settings(self) -> GerritSettings:
        return self.gerrit.settings("review")

    def now(self) -> datetime:
        return datetime.now(UTC)

    def author(self, clone: Path) -> Author:
        return Author(self.gerrit.clone_url(self.project), clone, {"GIT_SSH_COMMAND": self.ssh_command()}, PERSON)

    def ssh_command(self) -> str:
        return f"ssh -F none -i {self.gerrit.key} -oIdentitiesOnly=yes -oStrictHostKeyChecking=no -oUserKnownHostsFile=/dev/null"

    def push(self, author: Author, target: str = "main") -> int:
        return int(re.findall(r"/\+/(\d+)", author.push(target))[-1])

    def git_review(self, author: Author, *arguments: str) -> str:
        """Runs git-review over SSH, as developers do, in the author's clone."""
        if "gerrit" not in author.git("remote").split():
            author.git("remote", "add", "gerrit", self.gerrit.ssh_url(self.project))
        tools = str(Path(sys.executable).parent)
        author.environment["PATH"] = f"{tools}:{os.environ['PATH']}"
        return author.git("review", "-y", *arguments)

    def review(self, number: int, body: dict[str, object], user: str = PERSON) -> None:
        self.gerrit.api("POST", f"changes/{number}/revisions/current/review", body, user)

    def comment(self, author: Author, number: int, text: str) -> None:
        """As Gerrit's own pages do: the text is a comment on the patchset."""
        self.review(number, {"comments": {"/PATCHSET_LEVEL": [{"message": text, "unresolved": False}]}})

    def vote(self, author: Author, number: int, label: str, value: int) -> None:
        self.review(number, {"labels": {label: value}})

    def abandon(self, author: Author, number: int) -> None:
        self.gerrit.api("POST", f"changes/{number}/abandon", {}, PERSON)

    def restore(self, author: Author, number: int) -> None:
        self.gerrit.api("POST", f"changes/{number}/restore", {}, PERSON)

    def messages(self, number: int) -> list[str]:
        return [message["message"] for message in self.gerrit.api("GET", f"changes/{number}/messages")]

    def votes(self, number: int, label: str = "Verified") -> dict[str, int]:
        """Votes on the current patchset by account name, without zeros."""
        labels = self.gerrit.api("GET", f"changes/{number}/detail")["labels"]
        return {vote["username"]: vote["value"] for vote in labels[label].get("all", ()) if vote.get("value")}

    def patchsets(self, number: int) -> int:
        return max(revision["_number"] for revision in self.gerrit.api("GET", f"changes/{number}?o=ALL_REVISIONS")["revisions"].values())

    def restart(self) -> None:
        self.gerrit.stop()
        self.gerrit.start()


__all__ = ["CI", "PERSON", "GerritServer"]
