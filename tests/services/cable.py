"""A TCP connection that can be cut: what a network does to a client, on purpose."""

from __future__ import annotations

import asyncio
from types import TracebackType


class Cable:
    """Forwards `port` (a free one) to `target` on loopback while it is plugged in."""

    def __init__(self, target: int) -> None:
        self.target = target
        self.port = 0
        self.connections = 0
        self.more = asyncio.Condition()
        self.lose_answer_to = b""
        """Begins the request (`POST`) that is delivered, but whose answer is lost with the connection; once."""
        self._plugged = True
        self._losing = False
        self._writers: set[asyncio.StreamWriter] = set()
        self._forwards: set[asyncio.Task[None]] = set()

    async def __aenter__(self) -> Cable:
        self._server = await asyncio.start_server(self._accept, "127.0.0.1", 0)
        self.port = self._server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None) -> None:
        self.cut()
        self._server.close()
        await asyncio.gather(*self._forwards)

    def cut(self) -> None:
        """Every connection is lost, and new ones are closed at once."""
        self._plugged = False
        for writer in self._writers:
            writer.transport.abort()

    def plug(self) -> None:
        self._plugged = True

    async def used(self, times: int) -> None:
        """Waits until so many connections were made."""
        async with self.more, asyncio.timeout(30):
            await self.more.wait_for(lambda: self.connections >= times)

    def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.create_task(self._forward(reader, writer))
        self._forwards.add(task)
        task.add_done_callback(self._forwards.discard)

    async def _forward(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if not self._plugged:
            writer.transport.abort()
            return
        far_reader, far_writer = await asyncio.open_connection("127.0.0.1", self.target)
        pair = {writer, far_writer}
        self._writers |= pair
        async with self.more:
            self.connections += 1
            self.more.notify_all()
        await asyncio.gather(self._pump(reader, far_writer), self._pump(far_reader, writer, answers=True))
        self._writers -= pair

    async def _pump(self, source: asyncio.StreamReader, sink: asyncio.StreamWriter, answers: bool = False) -> None:
        try:
            while data := await source.read(65536):
                if answers and self._losing:
                    self._losing = False
                    break
                if not answers and self.lose_answer_to and data.startswith(self.lose_answer_to):
                    self._losing, self.lose_answer_to = True, b""
                sink.write(data)
                await sink.drain()
        except OSError:
            pass  # cut
        finally:
            sink.transport.abort()
