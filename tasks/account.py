"""Whose the processes of jobs are on this machine: where Headgate runs as root, an account without any right; else its own.

Root is not only what a job that got out of its sandbox must not be. The kernel counts no processes of root, so that a fork bomb of root's
has no bound.
"""

from __future__ import annotations

import os
import pwd
import stat
from dataclasses import dataclass
from pathlib import Path

from headgate.problems import Problem

UNPRIVILEGED = "nobody"


@dataclass(frozen=True, slots=True)
class Account:
    """A user and a group of this machine, as numbers."""

    user: int
    group: int

    @property
    def process(self) -> dict[str, object]:
        """What starts a process as this account, for `tasks.processes.start_process`."""
        return {"user": self.user, "group": self.group, "extra_groups": []}

    @property
    def command(self) -> tuple[str, ...]:
        """What goes before a command line, run by root, so that it is run by this account."""
        limits = ("--clear-groups", "--inh-caps=-all", "--bounding-set=-all")
        return ("setpriv", f"--reuid={self.user}", f"--regid={self.group}", *limits)


def job_account(name: str = UNPRIVILEGED) -> Account | None:
    """The account that jobs run as: `name`, a user's name or number, if this is root; None for that of this process.
    Raises `Problem` for a user that is not there or is root."""
    if os.geteuid() != 0:
        return None
    try:
        known = pwd.getpwuid(int(name)) if name.isdigit() else pwd.getpwnam(name)
    except KeyError:
        raise Problem(f"worker.user is {name}, and this machine has no such user: name one that jobs may run as.") from None
    if known.pw_uid == 0:
        raise Problem(f"worker.user is {name}, which is root: name a user without rights that jobs may run as.")
    return Account(known.pw_uid, known.pw_gid)


def show(directory: Path, account: Account | None) -> None:
    """Let the account, and nobody else, into a directory of ours that is shut to all others, and whose contents are not."""
    if account is not None and directory.stat().st_gid != account.group:
        os.chown(directory, -1, account.group)
        directory.chmod(directory.stat().st_mode | stat.S_IRGRP | stat.S_IXGRP)


def give(path: Path, account: Account | None) -> None:
    """Make a file of ours, or a directory with all that is in it, the account's. Links are given away, not followed."""
    if account is None:
        return
    os.chown(path, account.user, account.group, follow_symlinks=False)
    if path.is_symlink() or not path.is_dir():
        return
    for _, directories, files, descriptor in os.fwalk(path):
        for name in (*directories, *files):
            os.chown(name, account.user, account.group, dir_fd=descriptor, follow_symlinks=False)
