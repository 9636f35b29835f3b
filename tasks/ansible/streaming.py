"""Task output while the task runs, over the connection Ansible already has: no port, daemon or file on the node.

Our `command` module (see `command_hook`) sends every chunk of output at once as a frame on its own stderr, which ssh carries live. Here the
frames are taken out again before the connection plugin sees them, and become lines of the build's console.
"""

from __future__ import annotations

import importlib
import multiprocessing
import os
import selectors
import struct
import subprocess
import time
import types
from collections.abc import Mapping, Sequence
from typing import IO, Any

from tasks.ansible.early import Telling

MAGIC = b"\x00\x02HG\x03"
HEADER = struct.Struct(">BdI")  # stream (1 or 2), node's time, length
HEADER_LENGTH = len(MAGIC) + HEADER.size
LONGEST_PART = 64 << 10  # an unfinished line longer than this is written in pieces
HIDDEN = b"(redacted)"


def stamp(seconds: float) -> str:
    return time.strftime("%Y-%m-%d %H:%M:%S", time.gmtime(seconds)) + f".{int(seconds % 1 * 1e6):06d}"


class Console:
    """The build's console of one playbook: every write is one append, so that lines of several processes never mix.
    Values in `redact` appear nowhere in it, if they are in one line; what is in it is looked at for `telling`."""

    def __init__(
        self, descriptor: int, redact: Sequence[str] = (), homes: Mapping[str, str] | None = None, telling: Telling | None = None
    ) -> None:
        self.descriptor = descriptor
        self.telling = telling or Telling()
        self.redact = sorted((value.encode() for value in redact if value), key=len, reverse=True)
        self.homes = dict(homes or {})
        self.task_offset = 0

    def hidden(self, data: bytes) -> bytes:
        """`data` without the values to redact."""
        for value in self.redact:
            data = data.replace(value, HIDDEN)
        return data

    def write(self, data: bytes) -> None:
        rest = memoryview(self.hidden(data))
        while rest:
            rest = rest[os.write(self.descriptor, rest) :]

    def say(self, text: str) -> None:
        """Lines of our own, with the time of now."""
        now = stamp(time.time())
        self.write("".join(f"{now} | {line}\n" for line in text.split("\n")).encode(errors="replace"))

    def banner(self, text: str) -> None:
        """`say`, for the line that a task begins with: where it is stays known as `task_offset`."""
        self.task_offset = os.fstat(self.descriptor).st_size
        self.say(text)


console = Console(os.open(os.devnull, os.O_WRONLY))  # replaced in the process of each playbook


def use(made: Console) -> None:
    """From now on this process writes to this console."""
    global console
    console = made


class NotTheEnd(bytes):
    """What is left of a read that was all frames: empty, yet not the end of the stream, which the ssh plugin tests by `== b''`."""

    def __eq__(self, other: object) -> bool:
        return False

    __hash__ = bytes.__hash__


class Frames:
    """Takes the frames out of one stderr and writes them to the console as lines of the host this worker works for."""

    def __init__(self) -> None:
        worker = multiprocessing.current_process()
        self.host = str(getattr(getattr(worker, "_host", None), "name", "localhost")).encode()
        self.pending = bytearray()
        self.parts = {1: b"", 2: b""}

    def feed(self, data: bytes) -> bytes:
        """The bytes of `data` that are no frame, in order."""
        pending = self.pending
        pending += data
        rest, lines, position, end = bytearray(), bytearray(), 0, len(pending)
        while position < end:
            start = pending.find(MAGIC, position)
            if start < 0:
                start = end - next(
                    (size for size in range(min(len(MAGIC) - 1, end - position), 0, -1) if pending.endswith(MAGIC[:size])), 0
                )
                rest += pending[position:start]
                position = start
                break
            rest += pending[position:start]
            position = start
            if end - position < HEADER_LENGTH:
                break
            stream, when, length = HEADER.unpack_from(pending, position + len(MAGIC))
            if stream not in self.parts:  # not ours: somebody prints our magic
                rest += pending[position : position + len(MAGIC)]
                position += len(MAGIC)
                continue
            if end - position < HEADER_LENGTH + length:
                break
            body = position + HEADER_LENGTH
            position = body + length
            self._lines(lines, stream, when, bytes(pending[body:position]))
        del pending[:position]
        if lines:
            console.write(bytes(lines))
        return bytes(rest)

    def _lines(self, lines: bytearray, stream: int, when: float, data: bytes) -> None:
        *whole, part = (self.parts[stream] + data).split(b"\n")
        if len(part) > LONGEST_PART:
            whole, part = [*whole, part], b""
        self.parts[stream] = part
        if whole:
            before = b"%s | %s | " % (stamp(when).encode(), self.host)
            console.telling.look(whole)
            lines += b"".join(b"%s%s\n" % (before, line.rstrip(b"\r")) for line in whole)

    def close(self) -> bytes:
        """The stream has ended: unfinished lines are written, an unfinished frame is returned as what it may have been."""
        for stream, part in self.parts.items():
            if part:
                console.telling.look([part])
                console.write(b"%s | %s | %s\n" % (stamp(time.time()).encode(), self.host, part))
                self.parts[stream] = b""
        rest = bytes(self.pending)
        self.pending.clear()
        return rest


class FramedStderr:
    """A process's stderr as the connection plugins read it, without the frames."""

    def __init__(self, stream: IO[bytes]) -> None:
        self.stream, self.frames = stream, Frames()

    def fileno(self) -> int:
        return self.stream.fileno()

    def close(self) -> None:
        self.stream.close()

    @property
    def closed(self) -> bool:
        return self.stream.closed

    def read(self, size: int = -1) -> bytes:
        data: bytes | None = self.stream.read(size)
        if data is None:
            return NotTheEnd(b"")
        return NotTheEnd(self.frames.feed(data)) if data else self.frames.close()


class FramedProcess(subprocess.Popen[bytes]):
    """`subprocess.Popen` for the connection plugins. Whoever reads its stderr makes the console."""

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        if self.stderr is not None and self.stdout is not None:
            self.stderr = FramedStderr(self.stderr)  # type: ignore[assignment]  # the part of a stream that the plugins use

    def communicate(self, input: bytes | None = None, timeout: float | None = None) -> tuple[bytes, bytes]:
        """As the original, but stderr is handled while it arrives."""
        framed: object = self.stderr
        if not isinstance(framed, FramedStderr) or self.stdout is None:
            return super().communicate(input, timeout)
        out, err, rest = bytearray(), bytearray(), memoryview(input or b"")
        with selectors.DefaultSelector() as waiting:
            for source in (self.stdout, framed):
                os.set_blocking(source.fileno(), False)
                waiting.register(source, selectors.EVENT_READ)
            if self.stdin and rest:
                os.set_blocking(self.stdin.fileno(), False)
                waiting.register(self.stdin, selectors.EVENT_WRITE)
            elif self.stdin:
                self.stdin.close()
            while waiting.get_map():
                for key, _ in waiting.select():
                    if key.fileobj is self.stdin:
                        rest = self._send(rest)
                        if not rest:
                            waiting.unregister(self.stdin)
                            self.stdin.close()
                        continue
                    try:
                        data = os.read(key.fd, 1 << 18)
                    except BlockingIOError:
                        continue
                    if not data:
                        waiting.unregister(key.fileobj)
                    if key.fileobj is self.stdout:
                        out += data
                    else:
                        err += framed.frames.feed(data) if data else framed.frames.close()
        self.wait()
        return bytes(out), bytes(err)

    def _send(self, rest: memoryview) -> memoryview:
        try:
            return rest[os.write(self.stdin.fileno(), rest[:65536]) :] if self.stdin else rest[:0]
        except BlockingIOError:
            return rest
        except BrokenPipeError:
            return rest[:0]


class LocalProcess(FramedProcess):
    """For the `local` connection: a node that is a directory of this machine has its own home, where its tasks start."""

    def __init__(self, *arguments: Any, **options: Any) -> None:
        worker = multiprocessing.current_process()
        home = console.homes.get(str(getattr(getattr(worker, "_host", None), "name", "")))
        if home is not None:
            options["cwd"] = home
            options["env"] = {**(options.get("env") or os.environ), "HOME": home}
        super().__init__(*arguments, **options)


def install() -> None:
    """Give the connection plugins our processes in place of the standard ones."""
    for name, process in (("ssh", FramedProcess), ("local", LocalProcess)):
        plugin: Any = importlib.import_module(f"ansible.plugins.connection.{name}")
        ours = types.ModuleType("subprocess")
        ours.__dict__.update(subprocess.__dict__)
        ours.__dict__["Popen"] = process
        plugin.subprocess = ours
