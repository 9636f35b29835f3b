"""A workspace of 20 repositories to a node that has most of them in its image's cache, over ssh on this machine.

    python -m benchmarks.workspace [repositories]

Bare is one `git push` after the other and one checkout of each, over one kept connection, into repositories that borrow from the same
cache.
"""

from __future__ import annotations

import asyncio
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from benchmarks.measuring import Meter
from tasks.git import Caches
from tasks.workspace import Checkout, node_shell, push_workspace
from tests.services.sshd import SshNode, sshd_node
from tests.services.upstream import Upstream

FILES = 1000


async def repositories(root: Path, caches: Caches, count: int) -> list[Checkout]:
    """Each with 1000 files in the node's cache and one commit more than that."""
    found = []
    for number in range(count):
        name = f"review.example.org/org/project-{number}"
        upstream = Upstream(root / "upstream" / str(number))
        upstream.commit("many", {f"d{file % 30}/{file}.txt": f"{number} {file}\n" * 20 for file in range(FILES)})
        subprocess.run(["git", "clone", "-q", "--bare", str(upstream.path), str(root / "opt" / f"{name}.git")], check=True)
        commit = upstream.commit("small", {"d1/new.txt": "new\n"})
        await caches.fetch(name, str(upstream.path))
        found.append(Checkout(name, "main", commit, f"src/{name}"))
    return found


def bare(caches: Caches, checkouts: list[Checkout], server: SshNode, hosts: Path) -> None:
    node = server.node
    control = f"-o ControlMaster=auto -o ControlPath={hosts.parent}/c"
    flags = f"-F none -i {server.private_key} -o UserKnownHostsFile={hosts} {control} -p {node.port}"
    ssh = ["ssh", *flags.split(), "-o", "ControlPersist=20", f"{node.username}@{node.host}"]
    for one in checkouts:
        make = f"git init -q bare/{one.path} && echo /opt/git/{one.project}.git/objects > bare/{one.path}/.git/objects/info/alternates"
        subprocess.run([*ssh, make], check=True)
        url = f"ssh://{node.username}@{node.host}:{node.port}/~/bare/{one.path}"
        push = ["git", f"--git-dir={caches.path(one.project)}", "-c", f"core.sshCommand=ssh {flags}", "push", "-q", url]
        subprocess.run([*push, f"{one.commit}:refs/heads/pushed"], check=True)
        subprocess.run([*ssh, f"git -C bare/{one.path} checkout -q {one.commit}"], check=True)


async def main(count: int) -> None:
    with tempfile.TemporaryDirectory(prefix="hg-") as name:
        root, meter = Path(name), Meter()
        caches = Caches(root / "caches")
        checkouts = await repositories(root, caches, count)
        try:
            with sshd_node(root, caches=root / "opt") as server:
                hosts = root / "known_hosts"
                hosts.write_text(f"[{server.node.host}]:{server.node.port} {server.node.host_keys[0]}\n")
                began, spent = time.monotonic(), meter.seconds()
                await asyncio.to_thread(bare, caches, checkouts, server, hosts)
                print(f"bare: wall {time.monotonic() - began:.2f} s, cpu {meter.seconds() - spent:.2f} s with the node's")
                began, spent = time.monotonic(), meter.seconds()
                async with node_shell(server.node, hosts, [server.private_key], root) as shell:
                    await push_workspace(caches, checkouts, shell)
                print(f"ours: wall {time.monotonic() - began:.2f} s, cpu {meter.seconds() - spent:.2f} s with the node's")
        finally:
            meter.close()


if __name__ == "__main__":
    asyncio.run(main(int(sys.argv[1]) if len(sys.argv) > 1 else 20))
