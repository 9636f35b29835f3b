"""TCP connections carried from one place to another, as a network would: also a program, for another network namespace."""

from __future__ import annotations

import asyncio
import contextlib
import sys
import threading


async def _pump(source: asyncio.StreamReader, sink: asyncio.StreamWriter) -> None:
    with contextlib.suppress(OSError):
        while data := await source.read(65536):
            sink.write(data)
            await sink.drain()
    sink.transport.abort()


async def _serve(host: str, port: int, target: str) -> asyncio.Server:
    async def accept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if target.startswith("/"):
            far_reader, far_writer = await asyncio.open_unix_connection(target)
        else:
            far_host, _, far_port = target.rpartition(":")
            far_reader, far_writer = await asyncio.open_connection(far_host, int(far_port))
        await asyncio.gather(_pump(reader, far_writer), _pump(far_reader, writer))

    return await asyncio.start_server(accept, host, port)


class Forward:
    """What connects to `host` at `port` (a free one) comes to `target`, HOST:PORT or the path of a unix socket."""

    def __init__(self, host: str, target: str, port: int = 0) -> None:
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        self._thread.start()
        self._server = asyncio.run_coroutine_threadsafe(_serve(host, port, target), self._loop).result()
        self.port = int(self._server.sockets[0].getsockname()[1])

    def close(self) -> None:
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()


async def _main(host: str, port: str, target: str) -> None:
    await (await _serve(host, int(port), target)).serve_forever()


if __name__ == "__main__":
    asyncio.run(_main(*sys.argv[1:]))
