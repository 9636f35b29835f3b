# ---- Headgate: what follows is appended to ansible-core's own command module ---------------------------------------
# Every chunk the command writes also goes to our stderr at once, as a frame that tasks/ansible/streaming.py reads on the other side.
# And when nobody is there any more (cancelled, timed out, crashed), the command ends too. Runs on the node, from Python 3.8 on.

import os
import select
import signal
import struct
import threading
import time
from typing import Any

from ansible.module_utils.basic import AnsibleModule

_MAGIC = b"\x00\x02HG\x03"
_KEEP = 16 << 20  # bytes of output the result still carries; the console has everything


class _Tee:
    def __init__(self, stream: Any, number: int) -> None:
        self.stream, self.number, self.seen = stream, number, 0

    def fileno(self) -> Any:
        return self.stream.fileno()

    def close(self) -> Any:
        return self.stream.close()

    def read(self, size: int) -> Any:
        data = self.stream.read(size)
        if data:
            frame = memoryview(_MAGIC + struct.pack(">BdI", self.number, time.time(), len(data)) + data)
            while frame:
                frame = frame[os.write(2, frame) :]
            self.seen += len(data)
            if self.seen > _KEEP:
                return None  # already in the console; holding it here as well is what made long outputs slow
        return data


def _end_when_left_alone() -> None:
    controller = select.poll()
    controller.register(2, 0)  # nothing but the reader's going away
    controller.poll()
    group = os.getpgrp()
    if os.fork() == 0:
        os.setsid()  # out of the group that is about to end
        os.killpg(group, signal.SIGTERM)
        time.sleep(0.3)
        os.killpg(group, signal.SIGKILL)
        os._exit(0)


_run_command = AnsibleModule.run_command


def _run_command_streaming(self: AnsibleModule, *args: Any, **kwargs: Any) -> Any:
    if self.no_log or "ANSIBLE_ASYNC_DIR" in os.environ or os.isatty(2):
        return _run_command(self, *args, **kwargs)
    tees: list[_Tee] = []

    def started(process: Any) -> None:
        process.stdout, process.stderr = tees[:] = [_Tee(process.stdout, 1), _Tee(process.stderr, 2)]
        threading.Thread(target=_end_when_left_alone, daemon=True).start()

    kwargs.setdefault("before_communicate_callback", started)
    result = _run_command(self, *args, **kwargs)
    if any(tee.seen > _KEEP for tee in tees):
        self.warn(f"The output is longer than {_KEEP >> 20} MiB: this result has its beginning, the console has all of it.")
    return result


AnsibleModule.run_command = _run_command_streaming
