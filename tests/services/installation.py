"""A whole Headgate for stories: `headgate up` as a real process, beside a real Gerrit and a node with a real sshd.

change = ci.propose("passes", "waits")       # a change whose jobs are these
ring = await ci.bell.ring(change.number)     # `waits` runs, and waits
ring.end(1)                                  # it fails
report = await ci.report(change)             # what Headgate said on the change
assert ci.verified(change) == -1
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any
from urllib.parse import quote

import asyncpg
import httpx
import yaml

from deployments.reviews import EXAMPLES
from tasks.database import SCHEMA
from tests.services.author import Author
from tests.services.bell import RING, Bell
from tests.services.gerrit import CI, PERSON, GerritServer
from tests.services.sshd import USERNAME, SshNode, free_port
from tests.services.until import until

HEADGATE = str(Path(sys.executable).with_name("headgate"))
START_SECONDS = 180.0
FINAL = ("COMPLETED", "FAILED", "CRASHED", "CANCELLED")

JOBS = """\
- job: {name: passes, run: playbooks/passes.yaml}
- job: {name: fails, run: playbooks/fails.yaml}
- job: {name: waits, run: playbooks/waits.yaml}
- job: {name: passes-afar, parent: passes, nodeset: {nodes: [{name: far, label: sshd}]}}
- job: {name: waits-afar, parent: waits, nodeset: {nodes: [{name: far, label: sshd}]}}
"""
"""What the jobs of changes are made of. `afar` is the node with the sshd, else they run in a local sandbox."""


def playbook(command: str) -> str:
    task = {"name": "Do it", "ansible.builtin.command": {"cmd": command, "chdir": "{{ zuul.project.src_dir }}"}}
    return yaml.safe_dump([{"hosts": "all", "gather_facts": False, "tasks": [task]}])


def files_of_demo(bell: int) -> dict[str, str]:
    """What the tested project consists of."""
    ring = f"python3 tools/ring.py {bell} {{{{ zuul.change }}}} {{{{ zuul.patchset }}}} {{{{ zuul.job }}}} {{{{ zuul.build }}}}"
    return {
        "README": "one\ntwo\nthree\n",
        "zuul.d/jobs.yaml": JOBS,
        "zuul.d/project.yaml": project_stanza(["noop"]),
        "playbooks/passes.yaml": playbook("git log -1 --format=%s"),
        "playbooks/fails.yaml": playbook("/bin/false"),
        "playbooks/waits.yaml": playbook(ring),
        "tools/ring.py": RING,
    }


def project_stanza(jobs: Iterable[Any], gate: Iterable[Any] = ()) -> str:
    pipelines = {"check": {"jobs": list(jobs)}, **({"gate": {"jobs": list(gate)}} if gate else {})}
    return yaml.safe_dump([{"project": pipelines}])


def processes_of(directory: Path) -> dict[int, str]:
    """Every process of this machine that has to do with the directory: id to command line."""
    marker = str(directory).encode()
    found = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit() and int(entry.name) != os.getpid():
            with contextlib.suppress(OSError):  # it ended meanwhile
                command = (entry / "cmdline").read_bytes()
                mounted = b" ".join(line.split()[3] for line in (entry / "mountinfo").read_bytes().splitlines())  # not where, but what
                if command and any(marker in part for part in (command, (entry / "environ").read_bytes(), mounted)):
                    found[int(entry.name)] = command.replace(b"\0", b" ").decode(errors="replace").strip()
    return found


@dataclass(frozen=True)
class Proposed:
    """A change as its author has it."""

    number: int
    patchset: int
    commit: str

    @property
    def name(self) -> str:
        return f"{self.number},{self.patchset}"


class Installation:
    """`directory` holds nothing but what Headgate and its configuration put there."""

    def __init__(
        self,
        directory: Path,
        server: GerritServer,
        node: SshNode,
        bell: Bell,
        *,
        host: str = "127.0.0.1",
        providers: Iterable[Mapping[str, Any]] = (),
        files: Mapping[str, str] = MappingProxyType({}),
        **settings: dict[str, Any] | str,
    ) -> None:
        """Its pages and Prefect are at `host`; `providers` besides the usual ones; `files` of the tested project besides the usual ones;
        `settings` come on top of those that it would have, a key at a time."""
        self.directory, self.node, self.bell = directory, node, bell
        self._providers = [dict(provider) for provider in providers]
        directory.mkdir()
        self.web_port, self.prefect_port = free_port(), free_port()
        self.web = f"http://{host}:{self.web_port}"
        self.prefect_url = f"http://{host}:{self.prefect_port}/api"
        self.prefect_auth: tuple[str, str] | None = None
        self._host, self._more = host, settings
        self.config = directory / "headgate.yaml"
        self.output = directory / "output"
        self._said_before = 0
        self.last_change = 0
        self.process: subprocess.Popen[bytes] | None = None
        self.program = [HEADGATE]
        self._configuration = server.with_new_project()
        self.server = server.with_new_project()
        authors = directory.parent / f"{directory.name}-authors"
        configuration = Author(server.gerrit.clone_url(self._configuration.project, "admin"), authors / "config")
        shutil.copytree(EXAMPLES / "config", configuration.clone, dirs_exist_ok=True)
        configuration.git("add", "--all")
        configuration.git("commit", "-q", "-m", "The example")
        configuration.git("push", "-q", "origin", "HEAD:refs/heads/main")
        self._pipelines = configuration
        self.author = self.server.author(authors / "demo")
        self.land(files_of_demo(bell.port) | files)
        self._write_configuration()

    def _write_configuration(self) -> None:
        tested = {self.server.project: {"allow-reporter-jobs": True}}
        source = {"config-projects": [{self._configuration.project: {"load-branch": "main"}}], "untrusted-projects": [tested]}
        (self.directory / "main.yaml").write_text(yaml.safe_dump([{"tenant": {"name": "stories", "source": {"review": source}}}]))
        connection = self.server.settings().model_dump(mode="json")
        connection["password"] = self.server.settings().password.get_secret_value()
        far = self.node.node
        host = {
            "name": far.host, "connection-port": far.port, "host-key": far.host_keys[0], "username": USERNAME, "labels": ["sshd"],
            "authorized-keys-file": str(self.node.home.parent / "authorized"), "max-parallel-jobs": 8,
        }  # fmt: skip
        settings: dict[str, Any] = {
            "state-dir": "state",
            "tenants": "main.yaml",
            "web": {"port": self.web_port, "host": self._host},
            "prefect": {"port": self.prefect_port, "host": self._host},
            "connections": [connection],
            "providers": [
                {"name": "here", "driver": "local", "labels": ["local"]},
                {"name": "hosts", "driver": "static", "private-key": str(self.node.private_key), "nodes": [host]},
                *self._providers,
            ],
        }
        for key, value in self._more.items():
            settings[key] = {**settings.get(key, {}), **value} if isinstance(value, dict) else value
        if auth := settings["prefect"].get("auth"):
            self.prefect_auth = tuple(auth.split(":"))
        self.config.write_text(yaml.safe_dump(settings, sort_keys=False))

    # --- the process ------------------------------------------------------------------------------------------------------------------

    def start(self) -> None:
        """Start it, unless it runs, and wait until it says that it is ready."""
        if self.process is not None and self.process.poll() is None:
            return
        with self.output.open("ab") as output:
            self._said_before = output.tell()
            self.process = subprocess.Popen(
                [*self.program, "up", "--config", str(self.config)],
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                cwd=self.directory,
            )
        deadline = time.monotonic() + START_SECONDS
        while "ready;" not in self.said():
            assert self.process.poll() is None, f"headgate up ended: {self.said()}"
            assert time.monotonic() < deadline, f"headgate up is not ready: {self.said()}"
            time.sleep(0.05)

    def said(self) -> str:
        """What the process wrote since it was started last."""
        return self.output.read_text()[self._said_before :]

    def stop(self) -> None:
        """As Ctrl-C or systemd do; it must end well."""
        assert self.process is not None
        self.process.send_signal(signal.SIGTERM)
        code = self.process.wait(60)
        assert code == 0, f"headgate up ended with {code}: {self.said()}"
        assert "Traceback" not in self.said(), self.said()

    def configure(self, **sections: Any) -> None:
        """Stop it, and let it have these sections in its settings the next time; None takes one away."""
        self.stop()
        settings = {**yaml.safe_load(self.config.read_text()), **sections}
        self.config.write_text(yaml.safe_dump({name: value for name, value in settings.items() if value is not None}, sort_keys=False))

    def kill(self) -> None:
        """The whole of it, but for PostgreSQL, as the kernel does when memory is short."""
        assert self.process is not None
        self.process.kill()
        self.process.wait()

    def clean(self) -> None:
        """Nothing of it is left, whatever state it was in."""
        if self.process is not None and self.process.poll() is None:
            with contextlib.suppress(subprocess.TimeoutExpired, AssertionError):
                self.stop()
        for pid in self.processes():
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)

    def processes(self) -> dict[int, str]:
        return processes_of(self.directory)

    def headgate(self, *arguments: str) -> str:
        """What a `headgate` command answers; it must succeed."""
        done = subprocess.run([HEADGATE, *arguments, "--config", str(self.config)], capture_output=True, text=True, timeout=120)
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    # --- a person at Gerrit -----------------------------------------------------------------------------------------------------------

    def land(self, files: Mapping[str, str]) -> None:
        """Put files on the branch, past every review."""
        self.author.start()
        self.author.commit(files, "On the branch at once")
        self.author.git("push", "-q", self.server.gerrit.clone_url(self.server.project, "admin"), "HEAD:refs/heads/main")

    def configure_pipelines(self, files: Mapping[str, str]) -> None:
        """Put files on the branch of the config-project."""
        self._pipelines.start()
        self._pipelines.commit(files, "Other pipelines")
        self._pipelines.git("push", "-q", "origin", "HEAD:refs/heads/main")

    def branch(self, name: str) -> None:
        """Make a branch of the tested project where `main` is."""
        self.server.gerrit.api("PUT", f"{self._branches}/{name}", {"revision": "main"})

    def delete_branch(self, name: str) -> None:
        self.server.gerrit.api("DELETE", f"{self._branches}/{name}")

    @property
    def _branches(self) -> str:
        return f"projects/{quote(self.server.project, safe='')}/branches"

    def commit(self, *jobs: Any, files: Mapping[str, str] | None = None, message: str = "A change") -> None:
        """Commit, in the author's clone, that the project has those jobs."""
        self.author.start()
        self.author.commit({**({"zuul.d/project.yaml": project_stanza(jobs)} if jobs else {}), **(files or {})}, message)

    def propose(self, *jobs: Any, files: Mapping[str, str] | None = None, message: str = "A change") -> Proposed:
        """Push a change for review whose jobs are those."""
        self.commit(*jobs, files=files, message=message)
        self.last_change = self.server.push(self.author)
        return Proposed(self.last_change, 1, self.author.git("rev-parse", "HEAD"))

    def propose_many(self, count: int, *jobs: Any) -> list[Proposed]:
        """So many changes, none on top of another, by one push each, as fast as they go."""
        return [self.propose(*jobs, files={f"file-{number}": "x"}, message=f"Change number {number}") for number in range(count)]

    def amend(self, change: Proposed, *jobs: Any, files: Mapping[str, str] | None = None, message: str = "") -> Proposed:
        """Push the change's next patchset, perhaps with another message."""
        self.author.git("checkout", "-q", "--detach", change.commit)
        self.author.amend({**({"zuul.d/project.yaml": project_stanza(jobs)} if jobs else {}), **(files or {})}, message)
        self.author.push()
        return Proposed(change.number, change.patchset + 1, self.author.git("rev-parse", "HEAD"))

    def comment(self, change: Proposed, text: str) -> None:
        self.server.comment(self.author, change.number, text)

    def approve(self, change: Proposed) -> None:
        """As a core reviewer does who wants it merged."""
        self.server.vote(self.author, change.number, "Code-Review", 2)
        self.server.vote(self.author, change.number, "Workflow", 1)

    def merged(self, change: Proposed) -> bool:
        return bool(self.server.gerrit.api("GET", f"changes/{change.number}")["status"] == "MERGED")

    def abandon(self, change: Proposed) -> None:
        self.server.abandon(self.author, change.number)

    # --- what Headgate says -----------------------------------------------------------------------------------------------------------

    def reports(self, change: Proposed) -> list[str]:
        """What Headgate said on the patchset, oldest first."""
        messages = self.server.gerrit.api("GET", f"changes/{change.number}/messages", user=PERSON)
        return [
            message["message"]
            for message in messages
            if message.get("tag", "").startswith("autogenerated:headgate:") and message["_revision_number"] == change.patchset
        ]

    async def report(self, change: Proposed, number: int = 1, seconds: float = 120) -> str:
        """Wait for the `number`th report on the patchset."""
        found = await until(
            lambda: (said := self.reports(change))[number - 1 :] and said, f"report {number} is on change {change.name}", seconds
        )
        return found[number - 1]

    def verified(self, change: Proposed) -> int:
        """Headgate's vote on the current patchset, 0 for none."""
        return self.server.votes(change.number).get(CI, 0)

    async def ask(self, query: str, *values: Any) -> list[asyncpg.Record]:
        """Rows of Headgate's own database."""
        url = json.loads((self.directory / "state" / "addresses.json").read_text())["database"]
        connection = await asyncpg.connect(url, server_settings={"search_path": SCHEMA})
        try:
            return list(await connection.fetch(query, *values))
        finally:
            await connection.close()

    async def workers(self) -> list[int]:
        """Process ids of the workers that have not been found dead."""
        return [row["process"] for row in await self.ask("select process from workers where gone is null order by started")]

    # --- Prefect, as its UI uses it ---------------------------------------------------------------------------------------------------

    def prefect(self, method: str, path: str, body: Any = None) -> Any:
        answer = httpx.request(method, f"{self.prefect_url}/{path}", json=body, timeout=30, auth=self.prefect_auth)
        assert answer.is_success, f"{method} {path}: {answer.status_code} {answer.text}"
        return answer.json() if answer.content else None

    def runs(self, change: Proposed) -> dict[str, Any]:
        """Every run about the patchset: name to what Prefect knows of it."""
        found = self.prefect(
            "POST", "flow_runs/filter", {"flow_runs": {"tags": {"all_": [f"change:{change.number}"]}}, "sort": "EXPECTED_START_TIME_ASC"}
        )
        return {run["name"]: run for run in found if re.search(rf"\b{change.name}$", run["name"])}

    def parent(self, change: Proposed, pipeline: str = "check") -> dict[str, Any]:
        return next(run for name, run in self.runs(change).items() if name.startswith(f"{pipeline} "))

    def run_of(self, change: Proposed, job: str) -> dict[str, Any]:
        return dict(self.runs(change)[f"{job} on {change.name}"])

    def state(self, run: Mapping[str, Any]) -> str:
        """The name of the run's state now, as its page shows it."""
        return str(self.prefect("GET", f"flow_runs/{run['id']}")["state"]["name"])

    def states(self, run: Mapping[str, Any]) -> list[str]:
        """All the states a run went through."""
        history = self.prefect("GET", f"flow_run_states/?flow_run_id={run['id']}")
        return [state["name"] for state in sorted(history, key=lambda state: state["timestamp"])]

    def retry(self, run: Mapping[str, Any], force: bool = False) -> None:
        """The button Retry: Prefect's first UI does not force it, its second one does."""
        state = {"type": "SCHEDULED", "name": "AwaitingRetry", "message": "Retry from the UI"}
        self._set_state(run, state, force)

    def cancel(self, run: Mapping[str, Any]) -> None:
        """The button Cancel."""
        self._set_state(run, {"type": "CANCELLING", "name": "Cancelling"}, True)

    def _set_state(self, run: Mapping[str, Any], state: Mapping[str, Any], force: bool) -> None:
        answer = self.prefect("POST", f"flow_runs/{run['id']}/set_state", {"state": state, "force": force})
        assert answer["status"] == "ACCEPT", answer

    def housekeeping(self) -> None:
        """The button Quick run of its deployment."""
        deployment = self.prefect("GET", "deployments/name/housekeeping/housekeeping")
        self.prefect("POST", f"deployments/{deployment['id']}/create_flow_run", {"state": {"type": "SCHEDULED"}})

    async def over(self, change: Proposed) -> None:
        """Until every run about the patchset has ended: nothing more will be said."""

        def all_final() -> bool:
            runs = self.runs(change)
            return bool(runs) and all(run["state"]["type"] in FINAL for run in runs.values())

        await until(all_final, f"every run of {change.name} has ended")

    async def nodes(self, change: Proposed) -> list[str]:
        """Nodes that builds of the patchset have."""
        rows = await self.ask(
            "select nodes.id from nodes join builds on builds.id = nodes.request join buildsets on buildsets.id = builds.buildset "
            "join items on items.id = buildsets.item where items.change_key = $1",
            f"review/{change.number}/{change.patchset}",
        )
        return [row["id"] for row in rows]
