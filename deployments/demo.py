"""The demo: a sample tenant from `examples/`, a review server, two changes, and the telling of what becomes of them."""

from __future__ import annotations

import asyncio
import shutil
import subprocess
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import yaml

from headgate.builds import current
from headgate.records import Build, Item
from tasks.building import build_directory
from tasks.local_reviews import Reviews
from tasks.runtime import Runtime

EXAMPLES = Path(__file__).parent.parent / "examples"
Say = Callable[[str], None]
GIVE_UP_SECONDS = 300.0


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
    """Where the demo's repositories and changes are."""

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
    import os

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

    def __init__(self, directory: Path, say: Say) -> None:
        from deployments.gerrit import Gerrit

        self._directory = directory
        self._clone = directory / "sample"
        site = directory / "gerrit"
        shutil.rmtree(site, ignore_errors=True)
        self._gerrit = Gerrit(site, say=lambda line: say(f"  {line}"))

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
        settings = self._gerrit.settings("review").model_dump(mode="json")
        settings["password"] = self._gerrit.settings("review").password.get_secret_value()
        return write_settings(self._directory, port, settings)

    def push(self, proposal: Proposal) -> str:
        return push_proposal(self._clone, proposal, self._environment())

    def hint(self) -> list[str]:
        return [f"cd {self._clone}", "# edit, git commit with a Change-Id, then:", "git push origin HEAD:refs/for/main"]

    def close(self) -> None:
        self._gerrit.stop()


class Story:
    """Pushes the changes and tells what happens, until both have their votes."""

    def __init__(self, runtime: Runtime, reviews: ReviewServer, say: Say) -> None:
        self._runtime = runtime
        self._reviews = reviews
        self._say = say
        self._consoles: set[asyncio.Task[None]] = set()
        self._shown: set[str] = set()

    async def tell(self, config: Path) -> None:
        for number, proposal in enumerate((GOOD, BAD), 1):
            self._say(f"\npush {number}: “{proposal.subject}”")
            await asyncio.to_thread(self._reviews.push, proposal)
        async with asyncio.timeout(GIVE_UP_SECONDS):
            reported = await self._follow(2)
        self._say("")
        for item in reported:
            await self._verdict(item)
        self._end(config)

    async def _follow(self, count: int) -> list[Item]:
        """Show consoles as they grow, until `count` items were reported."""
        store = self._runtime.store
        async with store.watch("items") as changed:
            while True:
                changed.clear()
                items = await store.items()
                for item in items:
                    buildset = await store.buildset_of(item.id)
                    for build in await store.builds(buildset.id) if buildset is not None else []:
                        self._show(item, build)
                reported = [item for item in items if item.reason == "reported"]
                if len(reported) >= count:
                    await asyncio.gather(*self._consoles)
                    return reported
                await changed.wait()

    def _show(self, item: Item, build: Build) -> None:
        if build.started is not None and build.id not in self._shown:
            self._shown.add(build.id)
            self._consoles.add(asyncio.create_task(self._console(item, build)))

    async def _console(self, item: Item, build: Build) -> None:
        """The lines of one build's console, as they are written."""
        path = build_directory(self._runtime, build.id) / "console.log"
        position = 0
        while True:
            latest = await self._runtime.store.build(build.id)
            if path.exists():
                with path.open("rb") as file:
                    file.seek(position)
                    text = file.read()
                whole = text[: text.rfind(b"\n") + 1]
                position += len(whole)
                for line in whole.decode(errors="replace").splitlines():
                    self._say(f"  {item.change} {build.job:12} {line.partition(' | ')[2] or line}")
            if latest is None or latest.ended is not None:
                return
            await asyncio.sleep(0.1)

    async def _verdict(self, item: Item) -> None:
        store = self._runtime.store
        buildset = await store.buildset_of(item.id)
        builds = current(await store.builds(buildset.id)) if buildset is not None else {}
        for report in await store.reports(item.id):
            votes = ", ".join(f"{label} {value:+d}" for label, value in report.labels.items())
            self._say(f"change {item.change} “{item.change.subject}”: {report.kind}, voted {votes}")
            self._say("\n".join(f"    {line}" for line in report.message.splitlines()))
        self._say(f"    Prefect: {self._runtime.settings.prefect_ui}/runs/flow-run/{item.flow_run}   ({len(builds)} job runs below it)\n")

    def _end(self, config: Path) -> None:
        self._say(f"Everything above is kept. Look at it with `headgate up --config {config}` and push more:")
        for line in self._reviews.hint():
            self._say(f"    {line}")
        self._say(f"Status and consoles: {self._runtime.settings.web_url}    Runs, Retry and Cancel: {self._runtime.settings.prefect_ui}")
