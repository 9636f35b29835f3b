"""An image made the older way: a node of some label, scripts run on it over SSH as root, and what it is then kept as an image.

A provider that can make an image of a running node (`Snapshots`) does; from the node of one that boots file trees (`tar`) the tree is
fetched over SSH.
"""

from __future__ import annotations

import asyncio
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TextIO

import asyncssh

from providers.base import AtCapacity, DestroyFailed, ImageFile, ImageStore, LaunchFailed, NodeSpec, Provider, Snapshots, UploadFailed
from providers.ssh import LoginFailed, logged_in

TREE = "tar"
SNAPSHOT = "snapshot"
"""The format of an image whose provider makes it itself."""
FORGET = """\
if command -v cloud-init >/dev/null; then cloud-init clean --logs; fi
for home in $(getent passwd | cut -d: -f6 | sort -u); do rm -f "$home/.ssh/authorized_keys"; done
rm -f /etc/ssh/ssh_host_*_key /etc/ssh/ssh_host_*_key.pub /var/lib/systemd/random-seed /var/lib/dbus/machine-id
if [ -e /etc/machine-id ]; then : >/etc/machine-id; fi
sync
"""
"""Last of all: nodes of the image are first boots, to cloud-init too; whoever prepared it logs in nowhere, and no two nodes share host keys
or a machine id: both are made at a boot that finds none."""
_OBEY = 'if head -c2 "$1" | grep -q "#!"; then exec "$1"; else exec sh -e "$1"; fi'
PACK = "tar --create --one-file-system --numeric-owner --xattrs --exclude=./tmp/* --exclude=./var/tmp/* --exclude=./run/* --directory=/ ."


class SnapshotFailed(Exception):
    """There is no image; one sentence why. What was made of it at the provider is listed by `owned_images`."""


@dataclass(frozen=True, slots=True)
class Recipe:
    """`scripts` are texts by name, run in order with `environment`; `seconds` is for all of them together."""

    label: str
    scripts: Sequence[tuple[str, str]]
    environment: Mapping[str, str]
    seconds: float


def snapshot_format(provider: Provider) -> str:
    """What a snapshot of this provider's nodes is; `""` if there can be none."""
    if isinstance(provider, Snapshots):
        return SNAPSHOT
    return TREE if isinstance(provider, ImageStore) and TREE in provider.image_formats else ""


async def take_snapshot(provider: Provider, spec: NodeSpec, recipe: Recipe, image: ImageFile, log: TextIO) -> str:
    """Start the node of `spec` (with a key of its own), prepare it, and make the image; what boots it. The caller destroys the node,
    whatever happened. `image.path` is where a tree is put meanwhile. Raises `SnapshotFailed`, or `AtCapacity`.

    What an earlier attempt made under `image.id` goes first: it came of another node, perhaps of other scripts, or was refused."""
    key = asyncssh.generate_private_key("ssh-ed25519", comment="headgate snapshot")
    try:
        await _forget_earlier(provider, image)
        node = await provider.launch(replace(spec, public_key=key.export_public_key().decode().strip()))
        async with logged_in(node.host, node.port, node.username, key, node.host_keys) as connection:
            async with asyncio.timeout(recipe.seconds):
                for name, script in recipe.scripts:
                    await _run(connection, name, script, recipe.environment, log)
            await _run(connection, "the last clean-up", FORGET, {}, log)
            if not isinstance(provider, Snapshots):
                await _fetch_tree(connection, Path(image.path))
        if isinstance(provider, Snapshots):
            return await provider.snapshot(node.id, image)
        assert isinstance(provider, ImageStore)
        return await provider.upload_image(image)
    except AtCapacity:
        raise
    except LaunchFailed as problem:
        raise SnapshotFailed(f"its node did not come up: {problem}") from problem
    except TimeoutError:
        raise SnapshotFailed(f"its scripts took longer than {recipe.seconds:g} s") from None
    except (LoginFailed, asyncssh.Error, OSError) as problem:
        raise SnapshotFailed(f"its node was lost: {problem}") from problem
    except (UploadFailed, DestroyFailed) as problem:
        raise SnapshotFailed(str(problem)) from problem


async def _forget_earlier(provider: Provider, image: ImageFile) -> None:
    if isinstance(provider, ImageStore):
        for external_id, made_for in (await provider.owned_images(image.owner)).items():
            if made_for == image.id:
                await provider.delete_image(external_id)


async def _run(connection: asyncssh.SSHClientConnection, name: str, script: str, environment: Mapping[str, str], log: TextIO) -> None:
    """One script as root; what it says goes to the log. An interpreter line is obeyed, else it is the shell's."""
    log.write(f"--- {name}\n")
    words = "".join(f"{key}={shlex.quote(value)} " for key, value in environment.items())
    command = f"exec 2>&1; f=$(mktemp) && cat >$f && chmod 700 $f && sudo -n env {words}sh -c {shlex.quote(_OBEY)} - $f </dev/null"
    async with connection.create_process(f"{command}; code=$?; rm -f $f; exit $code") as process:
        process.stdin.write(script)
        process.stdin.write_eof()
        last = ""
        async for line in process.stdout:
            log.write(line)
            log.flush()
            last = line.strip() or last
        await process.wait()
    if process.exit_status != 0:
        raise SnapshotFailed(f"{name} failed with exit code {process.exit_status}: {last or 'it said nothing'}")


async def _fetch_tree(connection: asyncssh.SSHClientConnection, path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    done = await connection.run(f"sudo -n {PACK}", encoding=None, stdout=str(path), stderr=asyncssh.PIPE)
    if done.exit_status not in (0, 1):  # 1: a file changed while it was read, as logs do
        text = done.stderr if isinstance(done.stderr, str) else (done.stderr or b"").decode(errors="replace")
        said = text.strip().splitlines()[-1:] or ["it said nothing"]
        raise SnapshotFailed(f"the node's files cannot be fetched: {said[0]}")
