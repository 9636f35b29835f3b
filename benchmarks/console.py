"""How soon a line of a job is read in its console, and what very many lines cost beside bare Ansible, over ssh to a node on this machine.

    python -m benchmarks.console

Latency is from just before the line is written on the node until a follower of the console (what web pages and `headgate console` use) has
it. Bare is `ansible-playbook` of the same task with the same settings for ssh. Processor time as in `benchmarks.executor`; the nodes'
is in neither. Memory is the largest PSS of a process of the playbook, looked at ten times a second.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import re
import statistics
import tempfile
import time
from collections.abc import Awaitable, Callable
from pathlib import Path

import psutil

from benchmarks.executor import Case, case, measure
from benchmarks.measuring import Meter
from tasks.following import Watcher, follow

LINES, PAUSE = 400, 0.025
MANY = 100_000
CHATTER = f"import time\nfor n in range({LINES}):\n    time.sleep({PAUSE})\n    print('at', repr(time.time()), flush=True)\n"
WAITING_LINES = f"- hosts: all\n  gather_facts: false\n  tasks:\n    - command:\n        argv: [python3, -c, {CHATTER!r}]\n"
LINE = "%08g a line as long as those of a compiler mostly are, with a path/of/a.file"
MANY_LINES = f"- hosts: all\n  gather_facts: false\n  tasks:\n    - shell: 'seq -f \"{LINE}\" {MANY}'\n"
PLAYBOOKS = {"lines": WAITING_LINES, "many": MANY_LINES}


async def latencies(one: Case) -> list[float]:
    """Seconds, one for each line."""
    plan = one.plan(("lines",), one.servers[0])
    console, watcher = plan.directory / "console.log", Watcher()
    ended = asyncio.Event()
    found = []

    async def read() -> None:
        rest = b""
        async for chunk in follow(console, 0, watcher, ended_wait):
            now = time.time()
            *lines, rest = (rest + chunk).split(b"\n")
            found.extend(now - float(said[1]) for line in lines if (said := re.search(rb"\| at ([\d.]+)$", line)))

    async def ended_wait() -> None:
        await ended.wait()

    reading = asyncio.create_task(read())
    await one.build(plan)
    ended.set()
    await reading
    watcher.close()
    assert len(found) == LINES, len(found)
    return found


async def largest(act: Callable[[], Awaitable[object]]) -> float:
    """MB (PSS) of the largest process below this one while `act` goes on."""
    most = 0.0
    going = asyncio.ensure_future(act())
    while not going.done():
        for process in psutil.Process().children(recursive=True):
            with contextlib.suppress(psutil.Error):
                if (process.name() != "sshd" and "python" in process.name()) or "ansible" in process.name():
                    most = max(most, process.memory_full_info().pss / 1e6)
        await asyncio.sleep(0.1)
    await going
    return most


async def main() -> None:
    with tempfile.TemporaryDirectory(prefix="headgate-benchmark-") as name:
        async with case(Path(name), 1, PLAYBOOKS) as one:
            meter = Meter()
            try:
                await one.ours(("run",))
                found = sorted(await latencies(one))
                print(
                    f"{LINES} lines, one every {PAUSE * 1000:.0f} ms: p50 {statistics.median(found) * 1000:.1f} ms, "
                    f"p99 {found[int(LINES * 0.99)] * 1000:.1f} ms, worst {found[-1] * 1000:.1f} ms (load {os.getloadavg()[0]:.0f})",
                    flush=True,
                )
                bare = await measure(meter, lambda: one.bare(("many",)))
                ours = await measure(meter, lambda: one.ours(("many",)))
                few = await measure(meter, lambda: one.ours(("run",)))
                for who, (wall, cpu) in {"bare": bare, "ours": ours, "ours, with one line": few}.items():
                    print(f"{MANY:,} lines, {who}: {wall:.1f} s, {cpu:.1f} CPU s")
                print(f"{ours[0] / bare[0]:.2f} of bare's time; {MANY / (ours[0] - few[0]):,.0f} lines a second", flush=True)
                theirs, mine = await largest(lambda: one.bare(("many",))), await largest(lambda: one.ours(("many",)))
                little = await largest(lambda: one.ours(("run",)))
                print(f"largest process: bare {theirs:.0f} MB, ours {mine:.0f} MB, {little:.0f} MB with one line")
            finally:
                meter.close()


if __name__ == "__main__":
    asyncio.run(main())
