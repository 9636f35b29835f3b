"""A whole Headgate that builds images, beside a directory of git repositories: `headgate up` as a real process, no Gerrit.

builder = ImageBuilder(directory, providers)
builder.start()
run = builder.build()                        # a run of build-image
await builder.over(run)
builder.propose("debian-12")                 # a change whose one job runs on this label
"""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import yaml

from deployments.reviews import LocalReviews, git
from tests.services.installation import FINAL, HEADGATE, Installation
from tests.services.sshd import free_port
from tests.services.until import until

IMAGE = "debian"
ELEMENTS = ("ci-debian", "vm", "block-device-mbr", "growroot", "ci-node", "ci-network", "ci-identity", "ci-mirror-ca", "cache-bindep")
CACHE = os.environ.get("HEADGATE_TEST_IMAGE_CACHE", "")
"""A directory for packages that an earlier run has fetched; without it all of them are fetched."""
PLAYBOOK = """\
- hosts: all
  gather_facts: false
  tasks: [{name: Look at the machine, ansible.builtin.shell: "cat /etc/ci-image-built && bindep --version && sudo -n id -u && hostname"}]
"""


class ImageBuilder(Installation):
    def __init__(self, directory: Path, providers: Sequence[dict[str, Any]], label: str) -> None:
        self.directory, self.process, self._said_before, self.prefect_auth = directory, None, 0, None
        self.program = [HEADGATE]
        directory.mkdir(parents=True)
        port = free_port()
        self.output = directory / "output"
        self.config = LocalReviews(directory).prepare(port)
        settings = yaml.safe_load(self.config.read_text())
        self.web_port, self.prefect_port = port, free_port()
        self.web, self.prefect_url = f"http://127.0.0.1:{port}", f"http://127.0.0.1:{self.prefect_port}/api"
        settings["prefect"]["port"] = self.prefect_port
        settings["providers"] += providers
        settings["images"] = {"elements": ["elements"]}
        settings["diskimages"] = [
            {"name": "base", "abstract": True, "elements": [*ELEMENTS, "mine"], "env-vars": {"DIB_JOURNAL_SIZE": "16"}},
            {"name": IMAGE, "parent": "base", "release": "bookworm", "smoke-playbook": "smoke.yaml", "metadata": {"os_distro": "debian"}},
        ]
        self.config.write_text(yaml.safe_dump(settings, sort_keys=False))
        (directory / "smoke.yaml").write_text("- {hosts: all, gather_facts: false, tasks: [{ansible.builtin.command: id -un}]}\n")
        self.images = directory / "state" / "images"
        if CACHE:
            self.images.mkdir(parents=True)
            (self.images / "cache").symlink_to(CACHE)
        self.element("true")
        self._sample = directory / "sample"
        self._propose_files(label)

    def element(self, command: str) -> None:
        """What the image's own element does from now on."""
        script = self.directory / "elements" / "mine" / "pre-install.d" / "99-mine"
        script.parent.mkdir(parents=True, exist_ok=True)
        script.write_text(f"#!/bin/bash\nset -eu -o pipefail\n{command}\n")
        script.chmod(0o755)

    def _propose_files(self, label: str) -> None:
        nodeset = {"nodes": [{"name": "node", "label": label}]}
        job = {"name": "on-the-image", "run": "playbooks/look.yaml", "nodeset": nodeset}
        layout = [{"job": job}, {"project": {"check": {"jobs": ["on-the-image"]}}}]
        (self._sample / ".zuul.yaml").write_text(yaml.safe_dump(layout))
        (self._sample / "playbooks" / "look.yaml").write_text(PLAYBOOK)
        (self._sample / "bindep.txt").write_text("figlet [platform:dpkg test]\n")

    def land_bindep(self) -> None:
        """The sample project has a bindep.txt from now on, past every review."""
        git(self._sample, "checkout", "-q", "-B", "main", "origin/main")
        (self._sample / "bindep.txt").write_text("figlet [platform:dpkg test]\n")
        git(self._sample, "add", "bindep.txt")
        git(self._sample, "commit", "-q", "-m", "What the tests need of packages")
        git(self._sample, "push", "-q", "origin", "HEAD:refs/heads/main")

    def change(self, number: int) -> None:
        """Push a change for review whose one job looks at a node of the image."""
        (self._sample / "number").write_text(f"{number}\n")
        git(self._sample, "add", "--all")
        git(self._sample, "commit", "-q", "-m", f"Change {number}\n\nChange-Id: I{number:040x}")
        git(self._sample, "push", "-q", "origin", "HEAD:refs/for/main")

    async def result(self) -> tuple[str, str]:
        """The newest build's result, once there is one, and its console."""
        query = "select id, result from builds where result is not null order by created desc limit 1"
        [row] = await until(lambda: self.ask(query), "the job has a result", 600)
        found = next((self.directory / "state").rglob(f"{row['id']}/console.log"))
        return row["result"], found.read_text()

    # --- images -----------------------------------------------------------------------------------------------------------------------

    def build(self) -> dict[str, Any]:
        """Ask for a build, as a person does; its run."""
        said = self.headgate("images", "build", IMAGE).strip()
        return {"id": said.rpartition("/")[2]}

    async def over(self, run: dict[str, Any], seconds: float = 600) -> dict[str, Any]:
        """The run's last state."""

        def ended() -> Any:
            state = self.prefect("GET", f"flow_runs/{run['id']}")["state"]
            return state if state["type"] in FINAL else None

        return dict(await until(ended, "the run has ended", seconds))

    def artifacts(self, run: dict[str, Any]) -> dict[str, Any]:
        """What the run shows in Prefect's UI, by key."""
        found = self.prefect("POST", "artifacts/filter", {"artifacts": {"flow_run_id": {"any_": [run["id"]]}}})
        return {each["key"]: each for each in found}

    async def uploads(self, build: str) -> dict[str, tuple[str, str]]:
        """State and message of each upload of a build, by provider."""
        rows = await self.ask("select provider, state, message from image_uploads where build = $1", build)
        return {row["provider"]: (row["state"], row["message"]) for row in rows}

    async def newest(self) -> dict[str, Any]:
        [row] = await self.ask("select * from image_builds order by created desc limit 1")
        return dict(row) | {"files": json.loads(row["files"])}

    async def begun(self, run: dict[str, Any], text: str) -> Path:
        """The log of the run's build, once it says this."""

        async def log() -> Path | None:
            rows = await self.ask("select id from image_builds where flow_run = $1 and state = 'building'", run["id"])
            path = self.images / "logs" / f"{IMAGE}-{rows[0]['id'][:12]}.log" if rows else None
            return path if path is not None and path.exists() and text in path.read_text() else None

        found = await until(log, f"the log says {text}", 300)
        assert isinstance(found, Path)
        return found

    def left(self) -> list[str]:
        """Whatever builds that have ended left on this machine."""
        root = str(self.images / "tmp")
        mounts = [line.split()[4] for line in Path("/proc/self/mountinfo").read_text().splitlines() if line.split()[4].startswith(root)]
        loops = subprocess.run(["losetup", "--list", "--noheadings", "--output", "BACK-FILE"], capture_output=True, text=True).stdout
        files = [str(path) for path in (self.images / "tmp").iterdir()]
        return [*mounts, *(line for line in loops.splitlines() if root in line), *files]
