"""The nodes of `headgate try`: launched for one job, reached by a person, given back or held."""

from __future__ import annotations

import json
import os
import shlex
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from headgate.build_facts import BUILD
from headgate.inventory import known_hosts
from headgate.jobs import FrozenJob
from headgate.problems import Problem
from providers.base import DestroyFailed, LaunchFailed, Node, NodeSpec, Provider
from providers.registry import DRIVERS, create
from tasks.installation import read_settings
from tasks.trial import Nodes

if TYPE_CHECKING:
    from tasks.playbooks import Build

OWNER = "headgate-try"
HELD = "held.json"


def open_provider(name: str, labels: list[str], state: Path, config: Path | None) -> Provider:
    """The provider of that name in `config`, or a driver of that name that needs no settings but the job's `labels`. Raises `Problem`."""
    settings = read_settings(config) if config is not None else None
    if settings is not None:
        from tasks.runtime import open_providers

        providers = open_providers(settings)
        if name in providers:
            return providers[name]
    if name not in DRIVERS:
        configured = [str(section.get("name")) for section in settings.providers] if settings is not None else []
        known = ", ".join([*configured, *sorted(DRIVERS)])
        raise Problem(f"--node-from {name}: there is no such provider or driver; there are {known}.")
    return create({"name": name, "driver": name, "labels": labels or ["none"]}, state / "nodes")


@asynccontextmanager
async def nodes_for(
    job: FrozenJob, provider_name: str, state: Path, config: Path | None, build: str, public_key: str, hold: bool
) -> AsyncIterator[Nodes]:
    """The nodes of the job's first nodeset while this lasts, and longer with `hold`. Raises `Problem`."""
    nodeset = job.nodesets[0]
    if not nodeset.nodes:
        yield Nodes(nodeset, {})
        return
    labels = list(dict.fromkeys(use.label for use in nodeset.nodes))
    provider = open_provider(provider_name, labels, state, config)
    if missing := [label for label in labels if label not in provider.labels]:
        known = ", ".join(sorted(provider.labels))
        raise Problem(f"{provider_name} has no nodes with the label {missing[0]}, which {job.name} asks for; it has {known}.")
    ids = [f"{build}-{number}" for number in range(len(nodeset.nodes))]
    held = state / "builds" / build / HELD
    held.write_text(json.dumps({"provider": provider_name, "nodes": ids, "labels": labels}))  # before there is anything to lose
    try:
        found: dict[str, Node] = {}
        for number, (use, identity) in enumerate(zip(nodeset.nodes, ids, strict=True)):
            node = await provider.launch(NodeSpec(identity, use.label, OWNER, public_key, f"headgate-{build[:8]}-{number}", build))
            found |= dict.fromkeys(use.names, node)
        yield Nodes(nodeset, found)
    except LaunchFailed as failed:
        hold = False
        raise Problem(f"{provider_name} gives no node: {str(failed).rstrip('.')}.") from failed
    finally:
        if not hold:
            await _give_back(provider, ids)
            held.unlink(missing_ok=True)
        await provider.close()


async def _give_back(provider: Provider, ids: list[str]) -> None:
    for identity in ids:
        try:
            await provider.destroy(identity)
        except DestroyFailed as failed:
            raise Problem(f"Something of the node {identity} is left: {failed}; headgate try --release tries again.") from failed


async def release_held(state: Path, config: Path | None) -> list[str]:
    """Give back every node that a try kept or left; their names. Raises `Problem`."""
    gone = []
    for held in sorted(state.glob(f"builds/*/{HELD}")):
        facts = json.loads(held.read_text())
        provider = open_provider(facts["provider"], facts["labels"], state, config)
        await _give_back(provider, facts["nodes"])
        await provider.close()
        held.unlink()
        gone += facts["nodes"]
    return gone


def way_to(node: Node, directory: Path) -> str:
    """How a person gets to a node: a command line, or where its files are."""
    return shlex.join(_ssh(node, directory)) if node.connection == "ssh" else node.home


def _ssh(node: Node, directory: Path) -> list[str]:
    hosts = directory / "known_hosts"
    hosts.write_text(known_hosts([node]) + (hosts.read_text() if hosts.exists() else ""))
    key = node.private_key_path or str(directory / "key")
    return ["ssh", "-i", key, "-o", f"UserKnownHostsFile={hosts}", "-p", str(node.port), f"{node.username}@{node.host}"]


async def shell_command(build: Build) -> tuple[list[str], Mapping[str, str], str]:
    """A shell's command line, its environment, and in words where it is: on the first node, or on the build's own sandbox."""
    from tasks.build_sandboxes import USER, home_inside
    from tasks.sandbox import environment
    from tasks.terminal import sandbox_shell

    name, node = next(iter(build.plan.nodes.items()), ("localhost", None))
    if node is not None and node.connection == "ssh":
        return _ssh(node, build.plan.directory), os.environ, name
    terminal: dict[str, Any] = {"TERM": os.environ.get("TERM", "dumb"), "PS1": f"{name}:\\w\\$ "}
    sandbox = await build.player.sandbox()
    directory = node.home if node is not None else f"{BUILD}/work"
    return sandbox_shell(sandbox.pid, directory), {**environment(USER, home_inside(build.plan)), **terminal}, name
