"""What a sandbox reaches of the network when the operator limits it: its nodes, and the networks that are allowed.

It has a network of its own then, with no way out but a route to each of these, carried by pasta (of passt) without any right on this
machine's network. What runs inside has no capability, so that it cannot add a route. This machine's loopback is not reached, but for the
ports of nodes that listen there.
"""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import ipaddress
import os
import shutil
import signal
import socket
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Self

from providers.base import Node
from tasks.account import Account
from tasks.ansible.zygote import NS_GET_USERNS
from tasks.processes import communicate, ended_process, start_process

Network = ipaddress.IPv4Network | ipaddress.IPv6Network
Address = ipaddress.IPv4Address | ipaddress.IPv6Address
INTERFACE = "outside"
OWN = {4: "198.18.0.2", 6: "fd00:6865:6164::2"}
"""The sandbox's own addresses (RFC 2544 and RFC 4193), which nobody outside ever sees."""


class OutsideProblem(Exception):
    """The network of a sandbox cannot be limited here; one sentence with what to do."""


@dataclass(frozen=True, slots=True)
class Reach:
    """`networks` are reached as they are, `ports` are those of this machine's loopback. `names` are hosts that the sandbox needs an address
    of, whether or not it reaches whoever knows that."""

    networks: tuple[Network, ...] = ()
    ports: tuple[int, ...] = ()
    names: Mapping[str, str] = field(default_factory=dict)


def resolved(node: Node) -> tuple[Address, ...]:
    """The addresses of a node; none if its name is not known."""
    try:
        return (ipaddress.ip_address(node.host),)
    except ValueError:
        with contextlib.suppress(OSError):
            found = socket.getaddrinfo(node.host, node.port, type=socket.SOCK_STREAM)
            return tuple(dict.fromkeys(ipaddress.ip_address(entry[4][0]) for entry in found))
    return ()


def reach_of(nodes: Iterable[Node], allowed: Iterable[str]) -> Reach:
    """What a build with these nodes reaches, `allowed` (networks or addresses) included."""
    networks: dict[Network, None] = dict.fromkeys(ipaddress.ip_network(one, strict=False) for one in allowed)
    ports, names = set(), {}
    for node in nodes:
        addresses = resolved(node) if node.connection == "ssh" else ()
        ports |= {node.port for address in addresses if address.is_loopback}
        networks |= {ipaddress.ip_network(address): None for address in addresses if not address.is_loopback}
        if addresses and node.host != str(addresses[0]):
            names[node.host] = str(addresses[0])
    return Reach(tuple(networks), tuple(sorted(ports)), names)


def hosts_file(reach: Reach) -> str:
    """/etc/hosts of the sandbox."""
    with contextlib.suppress(OSError):
        return Path("/etc/hosts").read_text() + "".join(f"{address} {name}\n" for name, address in reach.names.items())
    return "127.0.0.1 localhost\n"


def setting_up(reach: Reach) -> str:
    """For `ip -batch`, in the sandbox's network. No gateway is needed: pasta answers for every address."""
    own = {4: f"{OWN[4]}/32", 6: f"{OWN[6]}/128 nodad"}
    versions = sorted({network.version for network in reach.networks})
    lines = [
        f"tuntap add {INTERFACE} mode tap",
        f"link set {INTERFACE} up",
        *(f"addr add {own[version]} dev {INTERFACE}" for version in versions),
        *(f"route add {network} dev {INTERFACE}" for network in reach.networks),
    ]
    return "\n".join([*lines, ""])


def carrying(reach: Reach) -> list[str]:
    """The arguments of pasta."""
    versions = {network.version for network in reach.networks} or {4}
    addresses = [word for version in sorted(versions) for word in ("-a", OWN[version])]
    one = [f"-{next(iter(versions))}"] if len(versions) == 1 else []
    netmask = ["-n", "32"] if 4 in versions else []
    ports = ",".join(map(str, reach.ports)) or "none"
    quiet = ("--quiet", "--foreground", "--no-dhcp", "--no-dhcpv6", "--no-ndp", "--no-ra", "--no-map-gw")
    return [*quiet, *one, *addresses, *netmask, "-I", INTERFACE, "-T", ports, "-U", "none", "-t", "none", "-u", "none"]


@dataclass(slots=True)
class Outside:
    """The way out of one sandbox, while it stands."""

    process: asyncio.subprocess.Process

    @classmethod
    async def open(cls, sandbox: int, reach: Reach, account: Account | None) -> Self:
        """Give the sandbox that process `sandbox` is in its way out. Raises `OutsideProblem`."""
        for program, package in (("pasta", "passt"), ("ip", "iproute2"), ("nsenter", "util-linux")):
            if shutil.which(program) is None:
                raise OutsideProblem(f"worker.reach limits the network of jobs, and {program} is not installed: apt install {package}")
        network = os.open(f"/proc/{sandbox}/ns/net", os.O_RDONLY)
        user = fcntl.ioctl(network, NS_GET_USERNS)
        try:
            spaces = {"pass_fds": (user, network), **(account.process if account is not None else {})}
            own = (f"--user=/proc/self/fd/{user}", f"--net=/proc/self/fd/{network}", "--preserve-credentials")
            pipe = asyncio.subprocess.PIPE
            configure = await start_process("nsenter", *own, "ip", "-batch", "-", stdin=pipe, stderr=pipe, **spaces)
            _, said = await communicate(configure, setting_up(reach).encode())
            if configure.returncode:
                raise OutsideProblem(f"the network of a sandbox cannot be set up: {said.decode(errors='replace').strip()}")
            where = ("--userns", f"/proc/self/fd/{user}", "--netns", f"/proc/self/fd/{network}")
            nowhere = asyncio.subprocess.DEVNULL
            ends = ("setpriv", "--pdeathsig=KILL")  # with whoever started it
            options = {"stdin": nowhere, "stdout": nowhere, "stderr": nowhere, **spaces}
            return cls(await start_process(*ends, "pasta", *carrying(reach), *where, **options))
        finally:
            os.close(user)
            os.close(network)

    def close_now(self) -> None:
        """Shut it, without waiting. Repeatable."""
        if self.process.returncode is None:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self.process.pid, signal.SIGKILL)

    async def close(self) -> None:
        """Shut it. Repeatable."""
        self.close_now()
        await ended_process(self.process)
