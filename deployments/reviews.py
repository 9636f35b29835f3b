"""The demo's review server: repositories with the sample tenant of `examples/`, and two changes to push."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import httpx
import yaml

from tasks.local_reviews import Reviews

EXAMPLES = Path(__file__).parent.parent / "examples"
Say = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class Proposal:
    """A change to push: `edit` is a text in a file of the sample project and what takes its place."""

    subject: str
    file: str
    old: str
    new: str


GOOD = Proposal("Greet more warmly", "sample/__init__.py", '"""What to say to somebody."""', '"""What to say to somebody, warmly."""')
BAD = Proposal("Greet less", "sample/__init__.py", "Hello, {name}!", "Hi.")


def git(directory: Path, *arguments: str, environment: dict[str, str] | None = None) -> str:
    """Git as the demo's author. Raises `CalledProcessError`."""
    who = ["-c", "user.name=Alice", "-c", "user.email=alice@example.org", "-c", "init.defaultBranch=main", "-c", "commit.gpgSign=false"]
    done = subprocess.run(["git", *who, *arguments], cwd=directory, check=True, capture_output=True, text=True, env=environment)
    return done.stdout + done.stderr


class ReviewServer(Protocol):
    """Where the demo's repositories and changes are. `stays`: they are there without a server of their own. `url`: where people read
    them, if they do."""

    stays: bool

    @property
    def url(self) -> str: ...

    def prepare(self, port: int) -> Path:
        """Repositories with the examples in them and a configuration file; its path."""
        ...

    def push(self, proposal: Proposal) -> str:
        """Push it for review; what the server said."""
        ...

    def hint(self) -> list[str]:
        """What a person may type to push another change."""
        ...

    def close(self) -> None: ...


def write_settings(directory: Path, port: int, connection: dict[str, object]) -> Path:
    """The demo's configuration file."""
    settings = {
        "state-dir": "state",
        "tenants": str(EXAMPLES / "main.yaml"),
        "web": {"port": port},
        "prefect": {"port": port + 1},
        "connections": [connection],
        "providers": [{"name": "here", "driver": "local", "labels": [{"name": "local"}], "max-servers": 6}],
    }
    path = directory / "headgate.yaml"
    path.write_text(yaml.safe_dump(settings, sort_keys=False))
    return path


class LocalReviews:
    """A directory of bare repositories: no server, no Java."""

    stays = True
    url = ""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._root = directory / "repositories"
        self._clone = directory / "sample"

    def prepare(self, port: int) -> Path:
        for path in (self._root, self._clone):
            shutil.rmtree(path, ignore_errors=True)
        reviews = Reviews(self._root)
        for project in ("config", "sample"):
            bare = reviews.create_project(project)
            work = self._directory / f".{project}"
            shutil.rmtree(work, ignore_errors=True)
            git(self._directory, "clone", "--quiet", str(bare), str(work))
            shutil.copytree(EXAMPLES / project, work, dirs_exist_ok=True)
            git(work, "add", "--all")
            git(work, "commit", "--quiet", "--message", "The example")
            git(work, "push", "--quiet", "origin", "HEAD:refs/heads/main")
            shutil.rmtree(work)
        git(self._directory, "clone", "--quiet", str(reviews.repository("sample")), str(self._clone))
        return write_settings(self._directory, port, {"name": "review", "driver": "git", "path": str(self._root)})

    def push(self, proposal: Proposal) -> str:
        return push_proposal(self._clone, proposal, {})

    def hint(self) -> list[str]:
        return [
            f"cd {self._clone}",
            "# edit, git commit, then:",
            "git push origin HEAD:refs/for/main",
            "git push -o comment=recheck origin HEAD:refs/for/main",
        ]

    def close(self) -> None:
        """Nothing runs."""


def push_proposal(clone: Path, proposal: Proposal, environment: dict[str, str]) -> str:
    """One commit on the branch's tip, with a Change-Id, pushed for review."""
    env = {**os.environ, **environment}
    git(clone, "fetch", "--quiet", "origin", environment=env)
    git(clone, "checkout", "--quiet", "--detach", "origin/main", environment=env)
    path = clone / proposal.file
    path.write_text(path.read_text().replace(proposal.old, proposal.new))
    tree = git(clone, "hash-object", proposal.file, environment=env).strip()
    git(clone, "commit", "--quiet", "--all", "--message", f"{proposal.subject}\n\nChange-Id: I{tree}", environment=env)
    return git(clone, "push", "origin", "HEAD:refs/for/main", environment=env)


class GerritReviews:
    """A real Gerrit, started here."""

    stays = False

    def __init__(self, directory: Path, say: Say) -> None:
        from deployments.gerrit import Gerrit

        self._directory = directory
        self._clone = directory / "sample"
        site = directory / "gerrit"
        shutil.rmtree(site, ignore_errors=True)
        self._gerrit = Gerrit(site, say=lambda line: say(f"  {line}"))

    @property
    def url(self) -> str:
        return self._gerrit.url

    def _environment(self) -> dict[str, str]:
        options = "-o IdentitiesOnly=yes -o StrictHostKeyChecking=no -o UserKnownHostsFile=/dev/null"
        return {"GIT_SSH_COMMAND": f"ssh -i {self._gerrit.key} {options}"}

    def prepare(self, port: int) -> Path:
        shutil.rmtree(self._clone, ignore_errors=True)
        self._gerrit.start()
        for project in ("config", "sample"):
            self._gerrit.create_project(project)
            work = self._directory / f".{project}"
            shutil.rmtree(work, ignore_errors=True)
            git(self._directory, "clone", "--quiet", self._gerrit.clone_url(project, "admin"), str(work))
            shutil.copytree(EXAMPLES / project, work, dirs_exist_ok=True)
            git(work, "add", "--all")
            git(work, "commit", "--quiet", "--message", "The example")
            git(work, "push", "--quiet", "origin", "HEAD:refs/heads/main")
            shutil.rmtree(work)
        git(self._directory, "clone", "--quiet", self._gerrit.clone_url("sample"), str(self._clone))
        hook = self._clone / ".git" / "hooks" / "commit-msg"  # gives every commit its Change-Id
        hook.parent.mkdir(exist_ok=True)
        hook.write_text(httpx.get(f"{self.url}/tools/hooks/commit-msg", timeout=30).raise_for_status().text)
        hook.chmod(0o755)
        settings = self._gerrit.settings("review").model_dump(mode="json")
        settings["password"] = self._gerrit.settings("review").password.get_secret_value()
        return write_settings(self._directory, port, settings)

    def push(self, proposal: Proposal) -> str:
        return push_proposal(self._clone, proposal, self._environment())

    def hint(self) -> list[str]:
        return [f"cd {self._clone}", "# edit, git commit, then:", "git push origin HEAD:refs/for/main"]

    def close(self) -> None:
        self._gerrit.stop()
