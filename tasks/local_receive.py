"""What a push to a local repository means: git's proc-receive and post-receive hooks (git 2.29 or newer).

    git push origin HEAD:refs/for/main                        each new commit is a change, or a new patchset of the open change
                                                              with the same Change-Id footer
    git push -o change=7 origin HEAD:refs/for/main            a new patchset of change 7, for a commit without that footer
    git push -o topic=NAME -o hashtag=NAME -o wip ...         (-o ready ends wip)
    git push -o comment=recheck origin HEAD:refs/for/main     says something on the pushed commit's change
    git push -o vote=Code-Review+2 origin HEAD:refs/for/main  votes on it
    git push -o abandon origin HEAD:refs/for/main             -o restore is the opposite

Options may also follow the branch, as Gerrit has them: `refs/for/main%topic=NAME,wip`. A push that changes no commit and
only speaks is fine. `refs/changes/` and `refs/notes/` are written by the server alone. A push to a branch itself is taken
as git does, and is an event `ref-updated`. The hook is run by git with the push's objects already in the repository.
"""

from __future__ import annotations

import getpass
import re
import sqlite3
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from tasks.local_reviews import Refused, Reviews, change_ref, git, utc_now

MOST_CHANGES_IN_A_PUSH = 100
OPTIONS = ("change", "topic", "hashtag", "t", "wip", "ready", "comment", "m", "vote", "l", "abandon", "restore")


@dataclass(frozen=True)
class Commit:
    sha: str
    email: str
    change_id: str
    subject: str


def commits_of(repository: Path, tip: str, branch: str) -> list[Commit]:
    """The commits `tip` has and `branch` has not, oldest first; `tip` alone if there are none."""
    text = git(repository, "log", "--reverse", "--topo-order", "--format=%H%x00%ce%x00%B%x01", tip, f"^refs/heads/{branch}")
    if not text:
        text = git(repository, "log", "-1", "--format=%H%x00%ce%x00%B%x01", tip)
    found = []
    for entry in text.split("\x01"):
        if entry.strip():
            sha, email, message = entry.strip("\n").split("\x00", 2)
            ids = re.findall(r"^Change-Id: *(I[0-9a-f]{8,40})\s*$", message, re.MULTILINE)
            found.append(Commit(sha, email, ids[-1] if ids else "", message.split("\n", 1)[0]))
    if len(found) > MOST_CHANGES_IN_A_PUSH:
        raise Refused(f"{len(found)} commits in one push (at most {MOST_CHANGES_IN_A_PUSH}): is this the right branch?")
    return found


def parse_vote(text: str) -> tuple[str, int]:
    """`Label+1`, `Label-1`, or `Label`, which means +1. Raises `Refused`."""
    found = re.fullmatch(r"([A-Za-z][\w-]*?)([+-]\d+)?", text)
    if not found:
        raise Refused(f"{text!r} is no vote: write it as Label+1")
    return found[1], int(found[2] or "+1")


def receive(reviews: Reviews, project: str, target: str, tip: str, pushed_options: list[str], username: str) -> list[str]:
    """Makes changes of what was pushed to refs/for/TARGET. Answers the lines to show. Raises `Refused`, then nothing is changed."""
    branch, _, inline = target.partition("%")
    branch = branch.removeprefix("refs/heads/")
    options = [option for option in [*inline.split(","), *pushed_options] if option]
    for option in options:
        if option.partition("=")[0] not in OPTIONS:
            raise Refused(f"unknown option {option!r} (known: {', '.join(OPTIONS)})")
    repository = reviews.repository(project)
    branches = git(repository, "for-each-ref", "--format=%(refname:lstrip=2)", "refs/heads/").split("\n")
    if branch not in branches:
        raise Refused(f"{project} has no branch {branch!r} (it has {', '.join(branches)})")
    lines = []
    named = next((option.removeprefix("change=") for option in options if option.startswith("change=")), "")
    with reviews.transaction() as database:
        commits = commits_of(repository, tip, branch)
        for commit in commits:
            number, patchset, what = _place(reviews, database, project, branch, commit, username, named if commit is commits[-1] else "")
            lines.append(f"Change {number},{patchset} ({what}): {commit.subject}")
            if what == "new" and not commit.change_id:
                lines.append(f"  It has no Change-Id. To push it anew: git push -o change={number} origin HEAD:refs/for/{branch}")
        lines += _apply(reviews, database, number, patchset, commit, options, username)
    if all("(unchanged)" in line for line in lines) and not options:
        raise Refused("no new changes")
    return [*lines, "Votes:  git fetch -fq origin 'refs/notes/*:refs/notes/*'; git log -1 --notes=review " + commit.sha[:12]]


def _place(
    reviews: Reviews, database: sqlite3.Connection, project: str, branch: str, commit: Commit, username: str, named: str
) -> tuple[int, int, str]:
    """The change and patchset of one commit, made if needed, and what was done in one word or two. `named` is the change's
    number where the pusher gave it."""
    place = (project, branch)
    known = database.execute(
        "SELECT number, patchset FROM patchsets JOIN changes USING (number) WHERE sha = ? AND project = ? AND branch = ?",
        (commit.sha, *place)).fetchone()  # fmt: skip
    if known is not None:
        return known["number"], known["patchset"], "unchanged"
    repository = reviews.repository(project)
    if not git(repository, "rev-list", "-1", commit.sha, f"^refs/heads/{branch}"):
        raise Refused(f"no new changes: {commit.sha[:12]} is on {branch} and was never a change")
    column, value = ("number", named) if named else ("change_id", commit.change_id)
    query = f"SELECT number, status FROM changes WHERE {column} = ? AND project = ? AND branch = ?"  # noqa: S608 - one of two columns
    found = value and database.execute(query, (value, *place)).fetchone()
    if named and not found:
        raise Refused(f"there is no change {named} of {project} on {branch}")
    if found and found["status"] != "NEW":
        cure = "; to go on with it: git push -o restore" if found["status"] == "ABANDONED" else ""
        raise Refused(f"change {found['number']} is {found['status'].lower()}{cure}")
    if found:
        number, what = int(found["number"]), "new patchset"
        patchset = 1 + int(database.execute("SELECT max(patchset) FROM patchsets WHERE number = ?", (number,)).fetchone()[0])
    else:
        made = database.execute("INSERT INTO changes (change_id, owner, project, branch) VALUES (?, ?, ?, ?)",
                                (commit.change_id, username, *place))  # fmt: skip
        number, patchset, what = int(made.lastrowid or 0), 1, "new"
    git(repository, "update-ref", change_ref(number, patchset), commit.sha)
    database.execute("INSERT INTO patchsets VALUES (?, ?, ?, ?)", (number, patchset, commit.sha, utc_now()))
    facts = reviews.event_facts(reviews.row(database, number), patchset, username, commit.email)
    reviews.record(database, "patchset-created", **facts, new_commit=commit.sha)
    return number, patchset, what


def _apply(
    reviews: Reviews, database: sqlite3.Connection, number: int, patchset: int, commit: Commit, options: list[str], username: str
) -> Iterator[str]:
    """Does what the options ask for on one change, and says so."""
    for option in options:
        verb, _, value = option.partition("=")
        match verb:
            case "topic":
                database.execute("UPDATE changes SET topic = ? WHERE number = ?", (value, number))
            case "wip" | "ready":
                database.execute("UPDATE changes SET wip = ? WHERE number = ?", (verb == "wip", number))
            case "hashtag" | "t":
                database.execute(
                    "UPDATE changes SET hashtags = json_insert(hashtags, '$[#]', ?) WHERE number = ? "
                    "AND NOT EXISTS (SELECT 1 FROM json_each(hashtags) WHERE value = ?)", (value, number, value))  # fmt: skip
            case "comment" | "m":
                reviews.speak(database, number, patchset, username, commit.email, text=value)
            case "vote" | "l":
                reviews.speak(database, number, patchset, username, commit.email, votes=dict([parse_vote(value)]))
            case "abandon":
                reviews.set_status(database, number, "ABANDONED", patchset, username, commit.email)
            case "restore":
                reviews.set_status(database, number, "NEW", patchset, username, commit.email)
        yield f"Change {number},{patchset}: {option}"


def read_packet(stream: BinaryIO) -> bytes | None:
    """One pkt-line's content; None for a flush packet or the end."""
    size = int(stream.read(4) or b"0", 16)
    return stream.read(size - 4) if size else None


def read_packets(stream: BinaryIO) -> list[str]:
    return [packet.decode(errors="replace").rstrip("\n") for packet in iter(lambda: read_packet(stream), None)]


def write_packets(stream: BinaryIO, *lines: bytes) -> None:
    """Those lines as pkt-lines, and a flush packet."""
    stream.write(b"".join(b"%04x%s" % (len(line) + 4, line) for line in lines) + b"0000")
    stream.flush()


def proc_receive(reviews: Reviews, project: str, source: BinaryIO, sink: BinaryIO, username: str) -> None:
    """git's proc-receive protocol, version 1 (githooks(5)): commands come in, one answer for each goes out."""
    hello = read_packets(source)
    features = hello[0].partition("\0")[2].split() if hello else []
    write_packets(sink, b"version=1\0push-options" if "push-options" in features else b"version=1")
    commands = [line.split(" ", 2) for line in read_packets(source)]
    options = read_packets(source) if "push-options" in features else []
    answers = []
    for _, new, ref in commands:
        try:
            if not ref.startswith("refs/for/"):
                raise Refused("written by the server alone; push to refs/for/BRANCH")
            if not new.strip("0"):
                raise Refused("nothing to delete here; to abandon a change: git push -o abandon origin HEAD:refs/for/BRANCH")
            for line in receive(reviews, project, ref.removeprefix("refs/for/"), new, options, username):
                print(line, file=sys.stderr)
            answers.append(f"ok {ref}".encode())
        except (Refused, LookupError) as problem:
            answers.append(f"ng {ref} {problem}".replace("\n", " ").encode())
    write_packets(sink, *answers)


def post_receive(reviews: Reviews, project: str, lines: list[str], username: str) -> None:
    """Branches and tags that were moved by a plain push are events; a change that came into its branch so is merged."""
    moved = [line.split() for line in lines]
    moved = [each for each in moved if each[2].startswith(("refs/heads/", "refs/tags/"))]
    if not moved:
        return
    with reviews.transaction() as database:
        for old, new, ref in moved:
            branch = ref.removeprefix("refs/heads/")
            if branch != ref and new.strip("0"):
                _merged_by_push(reviews, database, project, branch, new, username)
            reviews.record(database, "ref-updated", project=project, ref=ref, branch=branch if branch != ref else "",
                           username=username, old_commit=old, new_commit=new)  # fmt: skip


def _merged_by_push(reviews: Reviews, database: sqlite3.Connection, project: str, branch: str, tip: str, username: str) -> None:
    current = database.execute(
        "SELECT number, max(patchset) AS patchset, sha FROM changes JOIN patchsets USING (number) "
        "WHERE status = 'NEW' AND project = ? AND branch = ? GROUP BY number", (project, branch)).fetchall()  # fmt: skip
    if not current:
        return
    arrived = git(reviews.repository(project), "for-each-ref", f"--merged={tip}", "--format=%(objectname)", "refs/changes/").split("\n")
    for row in current:
        if row["sha"] in arrived:
            reviews.set_status(database, row["number"], "MERGED", row["patchset"], username, "")


def main(root: str, project: str, hook: str) -> None:
    username = getpass.getuser()
    if hook == "proc-receive":
        proc_receive(Reviews(Path(root)), project, sys.stdin.buffer, sys.stdout.buffer, username)
    else:
        post_receive(Reviews(Path(root)), project, sys.stdin.read().splitlines(), username)


if __name__ == "__main__":
    main(*sys.argv[1:4])
