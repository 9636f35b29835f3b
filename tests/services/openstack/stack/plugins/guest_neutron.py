"""Neutron's lower half: every port is bound at once, and a floating IP is a forwarder on loopback, as an agent would make a NAT rule."""

from __future__ import annotations

import asyncio
import contextlib
import threading
from typing import Any

from neutron_lib import constants
from neutron_lib.api.definitions import portbindings
from neutron_lib.callbacks import events, registry, resources
from neutron_lib.plugins.ml2 import api

SSH_PORT = 2222
"""Of guests: no root is needed for it, and the machine's own SSH server is elsewhere."""


class TapDriver(api.MechanismDriver):
    def initialize(self) -> None:
        forwarders = Forwarders()
        for event in (events.AFTER_CREATE, events.AFTER_UPDATE, events.AFTER_DELETE):
            registry.subscribe(forwarders.changed, resources.FLOATING_IP, event)

    def bind_port(self, context: Any) -> None:
        for segment in context.segments_to_bind:
            details = {portbindings.CAP_PORT_FILTER: False}
            context.set_binding(segment[api.ID], portbindings.VIF_TYPE_TAP, details, constants.PORT_STATUS_ACTIVE)
            return


class Forwarders:
    """One thread with an event loop forwards what connects to a floating IP to the server that has it."""

    def __init__(self) -> None:
        self._servers: dict[str, asyncio.Server] = {}
        self._loop: asyncio.AbstractEventLoop | None = None

    def changed(self, _resource: str, event: str, _trigger: object, payload: Any) -> None:
        floating = payload.latest_state
        target = None if event == events.AFTER_DELETE else floating["fixed_ip_address"]
        if self._loop is None:  # not before the server has forked
            self._loop = asyncio.new_event_loop()
            threading.Thread(target=self._loop.run_forever, daemon=True).start()
        asyncio.run_coroutine_threadsafe(self._forward(floating["floating_ip_address"], target), self._loop).result()

    async def _forward(self, address: str, target: str | None) -> None:
        if old := self._servers.pop(address, None):
            old.close()
        if target:

            async def connected(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
                with contextlib.suppress(OSError):
                    inner_reader, inner_writer = await asyncio.open_connection(target, SSH_PORT)
                    await asyncio.gather(_copy(reader, inner_writer), _copy(inner_reader, writer))
                writer.close()

            self._servers[address] = await asyncio.start_server(connected, address, SSH_PORT)


async def _copy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with contextlib.suppress(OSError):
        while data := await reader.read(65536):
            writer.write(data)
            await writer.drain()
    writer.close()
