"""Whether a new image does what jobs rely on: a node of it is started by its provider, logged in to, and checked.

An image brings its checks along: every program in `CHECKS` must end with 0; elements put them there. A smoke playbook of the image's
configuration is played last.
"""

from __future__ import annotations

import asyncio
import json
import sys
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import asyncssh

from providers.base import AtCapacity, DestroyFailed, LaunchFailed, Node, NodeSpec, Provider
from providers.ssh import LoginFailed, logged_in
from tasks.processes import communicate, start_process

CHECKS = "/usr/local/lib/headgate/checks.d"
CHECK_SECONDS = 300
_RUN_CHECKS = f"""
count=0
for check in {CHECKS}/*; do
    [ -x "$check" ] || continue
    said=$("$check" 2>&1) || {{ echo "$(basename "$check"): $(echo "$said" | tail -1)"; exit 1; }}
    count=$((count + 1))
done
echo "$count"
"""
PLAYBOOK_SECONDS = 1800


class ProofFailed(Exception):
    """The image is not to be used; one sentence. `console` is what the node said, as far as it is known."""

    def __init__(self, message: str, console: str = "") -> None:
        super().__init__(message)
        self.console = console


@dataclass(frozen=True, slots=True)
class Proof:
    """What is proved: the upload's `external_id` on a node of `label`."""

    node_id: str
    owner: str
    label: str
    external_id: str
    smoke_playbook: Path | None = None


async def prove(provider: Provider, proof: Proof) -> str:
    """Start, log in, check, and take the node away again; what was found, in words. Raises `ProofFailed`, or `AtCapacity` when there is no
    room to try. `DestroyFailed` is left to housekeeping: the image is none the worse for it."""
    key = asyncssh.generate_private_key("ssh-ed25519", comment="headgate image proof")
    public = key.export_public_key().decode().strip()
    spec = NodeSpec(
        id=proof.node_id,
        label=proof.label,
        owner=proof.owner,
        public_key=public,
        hostname=f"proof-{proof.node_id[:12]}",
        image=proof.external_id,
        tags={"purpose": "proof of an image"},
    )
    try:
        node = await provider.launch(spec)
        checks = await _check(node, key)
        if proof.smoke_playbook is not None:
            await _play(node, key, proof.smoke_playbook)
    except AtCapacity:
        raise
    except LaunchFailed as problem:
        raise ProofFailed(f"its node did not come up: {problem}", problem.console) from problem
    return f"{checks} checks passed" + (f", {proof.smoke_playbook.name} played" if proof.smoke_playbook else "")


async def take_away(provider: Provider, node_id: str) -> bool:
    """Whether the node is gone."""
    try:
        await provider.destroy(node_id)
    except DestroyFailed:
        return False
    return True


async def _check(node: Node, key: asyncssh.SSHKey) -> str:
    try:
        async with logged_in(node.host, node.port, node.username, key, node.host_keys, CHECK_SECONDS) as connection:
            async with asyncio.timeout(CHECK_SECONDS):
                done = await connection.run("sh -s", input=_RUN_CHECKS)
    except (LoginFailed, asyncssh.Error, TimeoutError, OSError) as problem:
        raise ProofFailed(f"its node cannot be checked: {problem or 'the checks took too long'}") from problem
    said = str(done.stdout).strip().splitlines()[-1:] or ["no check said anything"]
    if done.exit_status != 0:
        raise ProofFailed(f"the check {said[0]}")
    return said[0]


async def _play(node: Node, key: asyncssh.SSHKey, playbook: Path) -> None:
    """The playbook is the operator's own, as is the image; it runs outside of any sandbox, with nothing of Headgate's environment."""
    with tempfile.TemporaryDirectory(prefix="headgate-smoke-") as name:
        place = Path(name)
        (place / "key").touch(0o600)
        (place / "key").write_bytes(key.export_private_key())
        address = f"[{node.host}]:{node.port}" if node.port != 22 else node.host
        (place / "known_hosts").write_text("".join(f"{address} {line}\n" for line in node.host_keys))
        (place / "inventory.json").write_text(json.dumps(_inventory(node, place)))
        process = await start_process(
            *(str(Path(sys.executable).with_name("ansible-playbook")), "-i", str(place / "inventory.json"), str(playbook)),
            env={"PATH": "/usr/bin:/bin", "HOME": name, "LC_ALL": "C.UTF-8", "ANSIBLE_NOCOLOR": "1", "ANSIBLE_RETRY_FILES_ENABLED": "0"},
            cwd=playbook.parent,
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
        )
        async with asyncio.timeout(PLAYBOOK_SECONDS):
            said, _ = await communicate(process)
    if process.returncode:
        lines = [line for line in said.decode(errors="replace").splitlines() if line.startswith(("fatal:", "ERROR", "[ERROR"))]
        raise ProofFailed(f"{playbook.name} failed: {(lines or ['it did not say why'])[-1][:300]}")


def _inventory(node: Node, place: Path) -> Mapping[str, object]:
    options = f"-o UserKnownHostsFile={place / 'known_hosts'} -o StrictHostKeyChecking=yes -o IdentitiesOnly=yes"
    host = {
        "ansible_host": node.host,
        "ansible_port": node.port,
        "ansible_user": node.username,
        "ansible_python_interpreter": node.python_path,
        "ansible_ssh_private_key_file": str(place / "key"),
        "ansible_ssh_common_args": options,
    }
    return {"all": {"hosts": {"node": host}}}
