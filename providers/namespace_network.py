"""Where the nodes of driver `namespace` are on this machine: an index each, a bridge with 32 addresses for each request, a firewall.

Indexes and networks are shared by every installation on the machine, so they are files in /run, which a restart empties as it ends the
nodes. A file whose node has no facts any more is free.
"""

from __future__ import annotations

import asyncio
import json
import shutil
import subprocess
from dataclasses import dataclass
from ipaddress import IPv4Network, ip_address
from itertools import count
from pathlib import Path
from typing import Any

from providers.base import LaunchFailed
from providers.local import locked, write_atomically

MACHINE = Path("/run/headgate/namespace")
PREFIX = 27
"""Of the network of one request: a gateway and 29 nodes."""
IDS = 65536
FORWARDING = Path("/proc/sys/net/ipv4/ip_forward")


@dataclass(frozen=True, slots=True)
class Place:
    index: int
    first_id: int
    link: str
    bridge: str
    gateway: str
    address: str


class Machine:
    """What is taken on this machine."""

    def __init__(self, network: IPv4Network) -> None:
        self._network = network

    def take(self, facts: Path, request: str, first_id: int) -> Place:
        """The node's place, the same one again for the same `facts`; nodes of one request get one bridge. Raises `LaunchFailed`."""
        with locked(MACHINE):
            entries = _entries()
            mine = next((index for index, entry in entries.items() if entry["facts"] == str(facts)), None)
            if mine is None:
                mine = next(index for index in count() if index not in entries)
                entries[mine] = {**self._address(entries, request), "facts": str(facts), "request": request}
                write_atomically(MACHINE / f"{mine}.json", entries[mine])
        entry = entries[mine]
        subnet = int(self._network.network_address) + (entry["network"] << (32 - PREFIX))
        return Place(
            mine,
            first_id + mine * IDS,
            f"hgn{mine}",
            f"hgb{entry['network']}",
            str(ip_address(subnet + 1)),
            str(ip_address(subnet + entry["host"])),
        )

    def _address(self, entries: dict[int, dict[str, Any]], request: str) -> dict[str, int]:
        together = [entry for entry in entries.values() if entry["request"] == request]
        if together:
            hosts = {entry["host"] for entry in together}
            last = (1 << (32 - PREFIX)) - 2
            host = next((number for number in range(2, last + 1) if number not in hosts), None)
            if host is None:
                raise LaunchFailed(f"one request can have {last - 1} nodes of driver namespace")
            return {"network": together[0]["network"], "host": host}
        used = {entry["network"] for entry in entries.values()}
        free = next((number for number in range(1 << (PREFIX - self._network.prefixlen)) if number not in used), None)
        if free is None:
            raise LaunchFailed(f"every part of network {self._network} is taken")
        return {"network": free, "host": 2}

    def give_back(self, facts: Path) -> None:
        """Remove the node's link, and the bridge after its request's last node. Raises `subprocess.SubprocessError`."""
        with locked(MACHINE):
            entries = _entries(also=facts)
            mine = next((index for index, entry in entries.items() if entry["facts"] == str(facts)), None)
            if mine is None:
                return
            entry = entries.pop(mine)
            lines = [f"link del hgn{mine}"]
            if all(other["network"] != entry["network"] for other in entries.values()):
                lines.append(f"link del hgb{entry['network']}")
            # what is gone by itself is an error to ip
            subprocess.run(["ip", "-force", "-batch", "-"], input="\n".join(lines).encode(), capture_output=True, timeout=20, check=False)
            (MACHINE / f"{mine}.json").unlink(missing_ok=True)


def _entries(also: Path | None = None) -> dict[int, dict[str, Any]]:
    found: dict[int, dict[str, Any]] = {}
    for file in MACHINE.glob("*.json"):
        entry = json.loads(file.read_text())
        if Path(entry["facts"]).exists() or entry["facts"] == str(also):
            found[int(file.stem)] = entry
        else:
            file.unlink()
    return found


def resolvers() -> str:
    """A resolv.conf for nodes: the machine's name servers but those on its loopback, which nodes cannot reach."""
    try:
        lines = Path("/etc/resolv.conf").read_text().splitlines()
    except FileNotFoundError:
        return ""
    return "".join(f"{line}\n" for line in lines if not line.startswith("nameserver 127.") and not line.startswith("nameserver ::1"))


async def protect(network: IPv4Network, bridge: str, firewall: bool, internet: bool) -> None:
    """Nodes start no connection to this machine and none to nodes of other requests; outwards they are seen as this machine, with
    `internet`, or nothing. Repeatable: it replaces what is there. Raises `LaunchFailed`."""
    if not firewall:
        return
    if shutil.which("nft") is None:
        raise LaunchFailed(
            "nft is not installed (package nftables), which keeps nodes from the services of this machine; "
            "install it, or set firewall: false if something else does that"
        )
    table = f"headgate_{str(network.network_address).replace('.', '_')}"
    rules = _RULES.format(table=table, network=network, bridge=bridge, outwards="accept" if internet else "drop")
    if internet and FORWARDING.read_text().strip() != "1":
        FORWARDING.write_text("1\n")
    process = await asyncio.create_subprocess_exec(
        "nft", "-f", "-", stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.DEVNULL, stderr=asyncio.subprocess.PIPE
    )
    _, said = await process.communicate(rules.encode())
    if process.returncode != 0:
        raise LaunchFailed(
            f"nft refuses the rules that keep nodes from this machine: {said.decode(errors='replace').strip().splitlines()[0]}"
        )


# bridges pass what stays within them through here too where the kernel is told so (bridge-nf-call-iptables)
_RULES = """
add table inet {table}
flush table inet {table}
table inet {table} {{
    set within {{
        type ifname . ifname
        elements = {{ "{bridge}" . "{bridge}" }}
    }}
    chain input {{
        type filter hook input priority -10; policy accept;
        iifname "hgb*" ct state established,related accept
        iifname "hgb*" icmp type echo-request accept
        iifname "hgb*" drop
    }}
    chain forward {{
        type filter hook forward priority -10; policy accept;
        iifname . oifname @within accept
        iifname "hgb*" oifname "hgb*" drop
        iifname "hgb*" ip saddr != {network} drop
        iifname "hgb*" meta nfproto ipv6 drop
        iifname "hgb*" {outwards}
        oifname "hgb*" ct state established,related accept
        oifname "hgb*" drop
    }}
    chain postrouting {{
        type nat hook postrouting priority 100; policy accept;
        ip saddr {network} oifname != "hgb*" masquerade
    }}
}}
"""
