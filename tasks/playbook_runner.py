"""ansible-runner, as it is used here: its private data directory, event stream and artifacts, but a command of our own.

What a playbook's process sends back is written by code that may be hostile. So events are read through a directory that was opened
before it began, never by a path it could have changed, and they are written where it cannot write.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import re
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, TypeVar

from ansible_runner import Runner, RunnerConfig

from headgate.results import Outcome
from tasks.account import Account

LARGEST_FILE = 64 << 20
DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_UUID = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")
Result = TypeVar("Result")


@dataclass(slots=True)
class PlaybookEnd:
    """How an ansible-playbook ended. `unreachable` and `failed` are host names from its recap; `recapped` whether it came to one; `story`
    what our JSON callback wrote (`tasks/ansible/callback/headgate_json.py`), empty without a recap; `said` its last words then; `files`
    what else was asked for of what it wrote there."""

    code: int
    unreachable: tuple[str, ...] = ()
    failed: tuple[str, ...] = ()
    recapped: bool = False
    said: str = field(default="", repr=False)
    story: dict[str, Any] = field(default_factory=dict, repr=False)
    files: dict[str, dict[str, Any]] = field(default_factory=dict, repr=False)


class EventRunner(Runner):  # type: ignore[misc]  # ansible-runner has no types
    """Reads events from `partials` (a directory descriptor) and remembers the recap."""

    def __init__(self, config: Any, partials: int) -> None:
        super().__init__(config)
        self.partials = partials
        self.end = PlaybookEnd(code=-1)

    def event_callback(self, event_data: dict[str, Any]) -> None:
        """Called by ansible-runner for every event it finds in the output."""
        uuid = str(event_data.get("uuid", ""))
        if not _UUID.fullmatch(uuid):
            return
        event = {**event_data, **taken(self.partials, f"{uuid}-partial.json"), "runner_ident": self.config.ident}
        event.setdefault("created", datetime.now(UTC).isoformat())
        if event.get("event") == "playbook_on_stats":
            recap = event.get("event_data") or {}
            self.end.recapped = True
            self.end.unreachable = tuple(sorted(recap.get("dark") or ()))
            self.end.failed = tuple(sorted(recap.get("failures") or ()))
        target = Path(self.config.artifact_dir, "job_events", f"{event_data['counter']}-{uuid}.json")
        with contextlib.suppress(OSError):  # a full disk must not end the build; the console tells the same
            target.write_text(json.dumps(event))


def taken(directory: int, name: str) -> dict[str, Any]:
    """The JSON object in a file of an opened directory, which is removed; empty if it is not there or not what it should be."""
    try:
        descriptor = os.open(name, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC, dir_fd=directory)
        with open(descriptor, "rb") as file:
            found = json.loads(file.read(LARGEST_FILE))
        os.unlink(name, dir_fd=directory)
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}


@contextmanager
def partials_made(events: Path, number: str, account: Account | None) -> Iterator[int]:
    """A descriptor of `NUMBER/job_events`, made now below `events`, that only `account` writes to. By descriptors, because a job that runs
    as the same user as this process can write to `events`: what it put there may be a link to anywhere. Raises `OSError`."""
    opened = [os.open(events, DIRECTORY)]
    try:
        for name in (number, "job_events"):
            os.mkdir(name, dir_fd=opened[-1])
            opened.append(os.open(name, DIRECTORY, dir_fd=opened[-1]))
            os.fchmod(opened[-1], 0o755)
        if account is not None:
            os.fchown(opened[-1], account.user, account.group)
        yield opened[-1]
    finally:
        for descriptor in opened:
            os.close(descriptor)


def run(directory: Path, ident: str, playbook: str, command: Sequence[str], partials: int, wanted: Sequence[str] = ()) -> PlaybookEnd:
    """Run `command` under ansible-runner with `directory` as its private data directory, and wait for its end. `partials` is the descriptor
    of a directory in which the playbook leaves its events; `wanted` are names of files (JSON objects) that it may write there."""
    config = RunnerConfig(private_data_dir=str(directory), playbook=playbook, ident=ident, quiet=True, settings={"pexpect_timeout": 60})
    config.prepare()
    config.command = list(command)
    config.env = {"PATH": os.defpath}  # it is also written to the artifacts: nothing of ours belongs there
    config.cwd = str(directory)
    runner = EventRunner(config, partials)
    _, code = runner.run()
    runner.end.story = taken(partials, "story.json")
    runner.end.files = {name: taken(partials, name) for name in wanted}
    runner.end.code = -1 if code is None else code
    if not runner.end.recapped:
        with contextlib.suppress(OSError):
            runner.end.said = Path(config.artifact_dir, "stdout").read_text(errors="replace")[-2000:]
    return runner.end


def outcome_of(end: PlaybookEnd) -> tuple[Outcome, str]:
    """What ansible-playbook's end means, and in a few words why. Exit codes are those of ansible-core 2.19 (`ansible.cli.ExitCode`)."""
    if end.code == 0:
        return Outcome.OK, ""
    if end.unreachable:
        return Outcome.UNREACHABLE, f"no connection to {', '.join(end.unreachable)}"
    if end.recapped and end.code in (1, 2):
        return Outcome.FAILED, f"on {', '.join(end.failed)}" if end.failed else ""
    lines = [line.strip() for line in end.said.splitlines() if line.strip()]
    errors = [line for line in lines if line.startswith(("[ERROR]", "ERROR!"))] or lines
    why = errors[-1].removeprefix("[ERROR]: ").removeprefix("ERROR! ")[:500] if errors else ""
    if end.code in (1, 2, 4, 5, 6):
        return Outcome.FAILED, why
    return Outcome.CRASHED, why or f"ansible-playbook ended with {end.code}"


async def in_own_thread(function: Callable[[], Result], stop: Callable[[], object]) -> Result:
    """Run a long function beside the loop, in a thread of its own: the default pool has few. When the caller is cancelled, `stop` is called
    to end the function, and the cancellation goes on once it has ended."""
    loop = asyncio.get_running_loop()
    future: asyncio.Future[Result] = loop.create_future()

    def work() -> None:
        try:
            result = function()
        except BaseException as problem:  # noqa: BLE001 - handed over to the caller
            loop.call_soon_threadsafe(future.set_exception, problem)
        else:
            loop.call_soon_threadsafe(future.set_result, result)

    threading.Thread(target=work, daemon=True).start()
    try:
        return await asyncio.shield(future)
    except asyncio.CancelledError:
        stop()
        with contextlib.suppress(Exception):
            await asyncio.shield(future)
        raise
