"""A real Gerrit on this machine, for the demo and the tests: downloaded, set up once, started from a copy in seconds.

It listens on loopback only and is made for playing: its administrator's password is `secret`, as Gerrit's own
development mode sets it. It has no web pages (they are not on Maven Central): git, git-review, SSH and REST work.
"""

from __future__ import annotations

import fcntl
import json
import os
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any
from urllib.parse import quote

import asyncssh
import httpx

from deployments.gerrit_jars import GERRIT, fetch_jars
from headgate.problems import Problem
from tasks.connection_settings import GerritSettings

PASSWORD = "secret"  # noqa: S105 - Gerrit's development mode sets it, and it is reachable from this machine only
CI, PERSON = "headgate", "alice"
"""Accounts besides `admin`, all with `PASSWORD` and the SSH key `Gerrit.key`: one votes Verified and submits, one is a core reviewer."""
LABELS: Mapping[str, Mapping[str, Any]] = {
    "Verified": {
        "values": {"-2": "Fails gate", "-1": "Fails", " 0": "No score", "+1": "Passes", "+2": "Passes gate"},
        "function": "MaxWithBlock",
    },
    "Workflow": {"values": {"-1": "Work in progress", " 0": "Ready for reviews", "+1": "Approved"}, "function": "NoBlock"},
}
TEMPLATE_VERSION = 1
"""To be raised when what `_set_up` does changes."""
READY_TIMEOUT = 120.0


def cache_directory() -> Path:
    """Where the jars and the site's template are kept between runs."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "headgate" / f"gerrit-{GERRIT}"


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


class Gerrit:
    """One Gerrit site in `site`, made from the template if it is not there. Methods block."""

    def __init__(self, site: Path, http_port: int = 0, ssh_port: int = 0, say: Callable[[str], None] = print) -> None:
        """Ports are free ones if 0, and those it has if it runs. Raises `Problem` when there is no Java, or no download."""
        self.site = site.absolute()
        if not self.site.exists():
            shutil.copytree(template(say), self.site, symlinks=True)
        running = self._running()
        self.http_port, self.ssh_port = running[1:] if running else (http_port or free_port(), ssh_port or free_port())

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.http_port}"

    @property
    def key(self) -> Path:
        """The private SSH key of all accounts."""
        return self.site / "etc" / "headgate_key"

    def start(self) -> None:
        """Raises `Problem` with the log's last words when it does not come up. Nothing to do if it runs."""
        if self._running():
            return
        for key, value in {
            "gerrit.canonicalWebUrl": f"{self.url}/", "httpd.listenUrl": f"{self.url}/", "sshd.listenAddress": f"127.0.0.1:{self.ssh_port}",
            "sshd.advertisedAddress": f"127.0.0.1:{self.ssh_port}", "index.type": "lucene", "sendemail.enable": "false",
            "change.maxPatchSets": "5000", "sshd.threads": "16", "sshd.batchThreads": "2", "container.javaHome": "",
        }.items():  # fmt: skip
            subprocess.run(["git", "config", "-f", str(self.site / "etc" / "gerrit.config"), key, value], check=True)
        log = self.site / "logs" / "daemon.log"
        with log.open("ab") as output:
            # One collector thread and no second compiler: it starts in half the time on a small machine.
            command = _java("-Xmx768m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1", program="Daemon")
            process = subprocess.Popen([*command, "-d", str(self.site), "--console-log", "--headless"],
                                       stdin=subprocess.DEVNULL, stdout=output, stderr=output, start_new_session=True)  # fmt: skip
        (self.site / "headgate.pid").write_text(f"{process.pid} {self.http_port} {self.ssh_port}\n")
        deadline = time.monotonic() + READY_TIMEOUT
        while not self._answers():
            if process.poll() is not None or time.monotonic() > deadline:
                self.stop()
                raise Problem(f"Gerrit did not start; the end of {log}: {' | '.join(log.read_text().splitlines()[-5:])}")
            time.sleep(0.1)

    def stop(self) -> None:
        """Ends it, at once if it will not; nothing to do if it does not run."""
        deadline = time.monotonic() + 10
        while running := self._running():
            with suppress(ProcessLookupError):
                os.kill(running[0], signal.SIGTERM if time.monotonic() < deadline else signal.SIGKILL)
            time.sleep(0.1)
            with suppress(ChildProcessError):
                os.waitpid(running[0], os.WNOHANG)  # if it is our child, else it stays as a zombie
        (self.site / "headgate.pid").unlink(missing_ok=True)

    def _running(self) -> tuple[int, int, int] | None:
        """Process id, HTTP and SSH port of the daemon, if this process or another one started it and it still runs."""
        with suppress(OSError, ValueError):
            pid, http_port, ssh_port = map(int, (self.site / "headgate.pid").read_text().split())
            if str(self.site).encode() in Path(f"/proc/{pid}/cmdline").read_bytes():
                return pid, http_port, ssh_port
        return None

    def _answers(self) -> bool:
        with suppress(httpx.TransportError):
            return httpx.get(f"{self.url}/config/server/version", timeout=10).is_success
        return False

    def api(self, method: str, path: str, body: Any = None, user: str = "admin", content: str = "") -> Any:
        """One REST call (`path` is below /a/); its answer. Raises `Problem` with Gerrit's words."""
        kind = {"content": content, "headers": {"Content-Type": "text/plain"}} if content else {"json": body} if body is not None else {}
        answer = httpx.request(method, f"{self.url}/a/{path}", auth=(user, PASSWORD), timeout=60, **kind)
        if answer.is_error:
            raise Problem(f"Gerrit: {method} {path}: {answer.status_code} {answer.text.strip()}")
        text = answer.text.removeprefix(")]}'").strip()
        return json.loads(text) if text.startswith(("{", "[", '"')) else text

    def create_project(self, name: str, branch: str = "main") -> None:
        """With an empty first commit. Nothing to do if it is there."""
        try:
            self.api("PUT", f"projects/{quote(name, safe='')}", {"create_empty_commit": True, "branches": [branch]})
        except Problem as problem:
            if " 409 " not in str(problem):
                raise

    def clone_url(self, project: str, user: str = PERSON) -> str:
        return f"http://{user}:{PASSWORD}@127.0.0.1:{self.http_port}/a/{project}"

    def ssh_url(self, project: str, user: str = PERSON) -> str:
        return f"ssh://{user}@127.0.0.1:{self.ssh_port}/{project}"

    def host_key(self) -> str:
        """The server's key, as `known-hosts` takes it."""
        kind, key = (self.site / "etc" / "ssh_host_ed25519_key.pub").read_text().split()[:2]
        return f"{kind} {key}"

    def settings(self, name: str = "gerrit") -> GerritSettings:
        """A connection to it as the CI account."""
        return GerritSettings.model_validate({
            "name": name, "server": "127.0.0.1", "canonical-hostname": "localhost", "baseurl": self.url, "user": CI, "port": self.ssh_port,
            "sshkey": self.key, "password": PASSWORD, "known-hosts": self.host_key()})  # fmt: skip


def _java(*options: str, program: str) -> list[str]:
    cache = cache_directory()
    path = ":".join([str(cache / "classes"), *(str(jar) for jar in sorted((cache / "jars").glob("*.jar")))])
    return ["java", *options, "-cp", path, "GerritProgram", program]


def template(say: Callable[[str], None]) -> Path:
    """A site that is set up and stopped; made the first time, by one process. Raises `Problem`."""
    if not shutil.which("java") or not shutil.which("javac"):
        raise Problem("A Gerrit of its own needs a JDK, version 17 or newer: apt install openjdk-17-jdk-headless (or leave out --gerrit).")
    cache = cache_directory()
    made = cache / f"site-{TEMPLATE_VERSION}"
    with _lock(cache):
        fetch_jars(cache / "jars", say)
        classes = cache / "classes"
        if not (classes / "GerritProgram.class").is_file():
            source = Path(__file__).with_name("GerritProgram.java")
            subprocess.run(["javac", "-d", str(classes), str(source)], check=True, capture_output=True)
            version = classes / "com" / "google" / "gerrit" / "common" / "Version"  # else it calls itself "(dev)"
            version.parent.mkdir(parents=True, exist_ok=True)
            version.write_text(f"{GERRIT}\n")
        if not made.is_dir():
            say("setting up Gerrit (once)")
            draft = cache / f"{made.name}.new"
            shutil.rmtree(draft, ignore_errors=True)
            _set_up(draft)
            draft.rename(made)
    return made


@contextmanager
def _lock(cache: Path) -> Iterator[None]:
    cache.mkdir(parents=True, exist_ok=True)
    with (cache / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _set_up(site: Path) -> None:
    """Labels, accounts and rights in a new site, which is stopped afterwards."""
    # Init makes the account `admin` only in a directory that does not exist yet.
    done = subprocess.run([*_java(program="Init"), "--batch", "--dev", "--no-auto-start", "-d", str(site)], capture_output=True, text=True)
    if done.returncode:
        raise Problem(f"Gerrit's Init failed: {(done.stdout + done.stderr).strip().splitlines()[-1:]}")
    gerrit = Gerrit(site)
    key = asyncssh.generate_private_key("ssh-ed25519", comment="headgate")
    gerrit.key.touch(0o600)
    gerrit.key.write_bytes(key.export_private_key())
    public = key.export_public_key().decode()
    gerrit.start()
    try:
        for label, definition in LABELS.items():
            gerrit.api("PUT", f"projects/All-Projects/labels/{label}", {"commit_message": f"Add {label}", "default_value": 0, **definition})
        for group in ("CI", "Core"):
            gerrit.api("PUT", f"groups/{group}", {})
        gerrit.api("PUT", f"accounts/{CI}", {"name": "Headgate", "email": f"{CI}@example.org", "http_password": PASSWORD,
                                            "groups": ["CI", "Service Users"]})  # fmt: skip
        gerrit.api("PUT", f"accounts/{PERSON}", {"name": "Alice", "email": f"{PERSON}@example.org", "http_password": PASSWORD,
                                                "groups": ["Core"]})  # fmt: skip
        for account in ("admin", CI, PERSON):
            gerrit.api("POST", f"accounts/{account}/sshkeys", content=public)
        ci, core = (gerrit.api("GET", f"groups/{group}")["id"] for group in ("CI", "Core"))
        gerrit.api("POST", "projects/All-Projects/access", {"add": _rights(ci, core)})
    finally:
        gerrit.stop()


def _rights(ci: str, core: str) -> dict[str, Any]:
    def allow(*groups: str, **more: int) -> dict[str, Any]:
        return {"rules": {group: {"action": "ALLOW", **more} for group in groups}}

    return {
        "GLOBAL_CAPABILITIES": {"permissions": {"streamEvents": allow(ci)}},
        "refs/*": {"permissions": {"read": allow(ci)}},
        "refs/heads/*": {"permissions": {
            "label-Verified": {"label": "Verified", **allow(ci, min=-2, max=2)},
            "label-Code-Review": {"label": "Code-Review", **allow(core, min=-2, max=2)},
            "label-Workflow": {"label": "Workflow", **allow(core, min=-1, max=1)},
            "submit": allow(ci), "push": allow(ci, core), "create": allow(ci, core), "abandon": allow(core),
        }},
    }  # fmt: skip
