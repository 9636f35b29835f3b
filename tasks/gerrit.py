"""The connection to a Gerrit: REST for everything but the events, which are in tasks.gerrit_events."""

from __future__ import annotations

import asyncio
import base64
import re
import shlex
import shutil
import tempfile
from collections.abc import AsyncGenerator, Mapping
from dataclasses import replace
from datetime import datetime
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlsplit

from headgate.changes import Change, Event, Linked
from headgate.gerrit_facts import CHANGE_OPTIONS, change_from, files_from
from headgate.gerrit_links import LINKED_OPTIONS, MESSAGE_OPTIONS, addresses_of, change_number, is_about, linked_from, says_number
from tasks.connection_settings import GerritSettings
from tasks.connections import ConnectionProblem, Report, ReportRefused
from tasks.gerrit_events import GerritEvents
from tasks.gerrit_rest import GerritRest, RestRefused
from tasks.gerrit_ssh import known_hosts_text, version

PAGE = 500
"""Changes in one answer to a search, Gerrit's own default."""
SHORTENED = 12_000
"""Characters kept of a message that Gerrit finds too long (change.commentSizeLimit, 16 KiB unless configured)."""


class GerritConnection:
    """See `tasks.connections.Connection`."""

    def __init__(self, settings: GerritSettings) -> None:
        self.name = settings.name
        self.canonical_hostname = settings.canonical_hostname or settings.server
        self.settings = settings
        self._rest = GerritRest(settings)
        self._known_hosts: Path | None = None

    async def close(self) -> None:
        await self._rest.close()
        if self._known_hosts:
            shutil.rmtree(self._known_hosts.parent, ignore_errors=True)
            self._known_hosts = None

    async def check(self) -> None:
        try:
            allowed = await self._rest.get("accounts/self/capabilities", q="streamEvents")
        except (LookupError, RestRefused) as problem:
            raise ConnectionProblem(
                f"connection {self.name}: {self.settings.url} does not answer as a Gerrit does (is `baseurl` right?): {problem}"
            ) from problem
        await version(self.settings)
        if not allowed.get("streamEvents"):
            raise ConnectionProblem(
                f"connection {self.name}: {self.settings.user} may not read Gerrit's events; "
                "give its group the global capability Stream Events (All-Projects, Access)"
            )

    def events(self, since: datetime | None) -> AsyncGenerator[Event, None]:
        return GerritEvents(self.settings, self._rest).follow(since)

    async def change(self, number: int, patchset: int | None = None) -> Change:
        info = await self._read(f"changes/{number}", o=CHANGE_OPTIONS)
        return await self._at(change_from(self.name, self.settings.url, info), patchset)

    async def _at(self, change: Change, patchset: int | None) -> Change:
        """The change at another patchset than its current one, if one is asked for; and a merge with the files it brings in."""
        number = change.number
        revision = f"changes/{number}/revisions/{patchset or change.patchset}"
        if patchset not in (None, change.patchset):
            commit, files = await asyncio.gather(self._read(f"{revision}/commit"), self._read(f"{revision}/files"))
            change = replace(
                change, patchset=patchset, ref=f"refs/changes/{number % 100:02d}/{number}/{patchset}", commit=commit["commit"],
                parents=tuple(parent["commit"] for parent in commit["parents"]), subject=commit["subject"], message=commit["message"],
                files=files_from(files), current=False, approvals=(),
            )  # fmt: skip
        if len(change.parents) > 1:  # Gerrit shows what differs from merging by itself
            change = replace(change, files=files_from(await self._read(f"{revision}/files", parent=1)))
        return change

    async def linked(self, number: int, patchset: int | None = None) -> Linked:
        """Two requests at once; one more if a patchset came in between, and what `_at` needs."""
        info, related = await asyncio.gather(
            self._read(f"changes/{number}", o=LINKED_OPTIONS), self._read(f"changes/{number}/revisions/{patchset or 'current'}/related")
        )
        change = await self._at(change_from(self.name, self.settings.url, info), patchset)
        if not is_about(related, change):
            related = await self._read(f"changes/{number}/revisions/{change.patchset}/related")
        return linked_from(change, info, related)

    async def find_change(self, address: str) -> int | None:
        return self._number(address)

    def _number(self, address: str) -> int | None:
        base = urlsplit(self.settings.url)
        return change_number(address, {self.canonical_hostname, self.settings.server, base.hostname or ""}, base.path)

    async def with_change_id(self, change_id: str) -> tuple[int, ...]:
        return tuple(sorted(info["_number"] for info in await self._search(f"status:open change:{change_id}")))

    async def depending_on(self, change: Change) -> tuple[int, ...]:
        # Words, not addresses: Gerrit's index has a message's words, and there are many ways to write one address.
        words = [f"message:{change.number}", *([f"message:{change.change_id}"] if change.change_id else [])]
        found = await self._search(f'status:open message:"Depends-On" ({" OR ".join(words)})')
        return tuple(sorted(info["_number"] for info in found if self._says(info, change)))

    def _says(self, info: Mapping[str, Any], change: Change) -> bool:
        if change.connection != self.name:
            return says_number(info, change.number)
        return any(self._number(address) == change.number or address == change.change_id for address in addresses_of(info))

    async def same_topic(self, topic: str) -> tuple[int, ...]:
        # Gerrit's searches know no escapes; where neither pair of marks will do, the change is alone in its topic.
        marks = next((marks for marks in ('""', "{}") if not set(marks) & set(topic)), None)
        if marks is None:
            return ()
        found = await self._search(f"status:open topic:{marks[0]}{topic}{marks[1]}")
        return tuple(sorted(info["_number"] for info in found if info.get("topic") == topic))

    async def open_changes(self, project: str) -> tuple[int, ...]:
        return tuple(sorted(info["_number"] for info in await self._search(f'status:open project:"{project}"')))

    async def _search(self, query: str) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = []
        while True:
            page = await self._read("changes/", q=query, o=MESSAGE_OPTIONS, n=PAGE, S=len(found))
            found += page
            if not page or not page[-1].get("_more_changes"):
                return found

    async def branches(self, project: str) -> Mapping[str, str]:
        found = await self._read(f"projects/{quote(project, safe='')}/branches/")
        prefix = "refs/heads/"
        return {branch["ref"].removeprefix(prefix): branch["revision"] for branch in found if branch["ref"].startswith(prefix)}

    async def _read(self, path: str, **parameters: Any) -> Any:
        try:
            return await self._rest.get(path, **parameters)
        except RestRefused as problem:
            raise ConnectionProblem(f"connection {self.name}: reading {path} as {self.settings.user}: {problem}") from problem

    def git(self, project: str) -> tuple[str, Mapping[str, str]]:
        settings = self.settings
        if settings.git_over_ssh:
            if self._known_hosts is None:
                self._known_hosts = Path(tempfile.mkdtemp(prefix="headgate-known-hosts-")) / "known_hosts"
                self._known_hosts.write_text(known_hosts_text(settings))
            options = ["IdentitiesOnly=yes", "StrictHostKeyChecking=yes", "BatchMode=yes", f"UserKnownHostsFile={self._known_hosts}"]
            command = ["ssh", "-F", "none", "-i", str(settings.sshkey), *(f"-o{option}" for option in options)]
            return f"ssh://{settings.user}@{settings.server}:{settings.port}/{project}", {"GIT_SSH_COMMAND": shlex.join(command)}
        secret = base64.b64encode(f"{settings.user}:{settings.password.get_secret_value()}".encode()).decode()
        # In the environment, so that no argument list shows it; sent at once, which saves the round trip of a 401.
        configuration = {f"http.{settings.url}/.extraHeader": f"Authorization: Basic {secret}"}
        if not settings.verify_ssl:
            configuration[f"http.{settings.url}/.sslVerify"] = "false"
        environment = {"GIT_TERMINAL_PROMPT": "0", "GIT_CONFIG_COUNT": str(len(configuration))}
        for index, (key, value) in enumerate(configuration.items()):
            environment |= {f"GIT_CONFIG_KEY_{index}": key, f"GIT_CONFIG_VALUE_{index}": value}
        return f"{settings.url}/a/{quote(project)}", environment

    async def report(self, report: Report) -> None:
        change = report.change
        path = f"changes/{quote(change.project, safe='')}~{change.number}"
        try:
            if not await self._said(path, report.id):
                await self._review(f"{path}/revisions/{change.patchset}/review", report)
            if report.submit:
                await self._submit(path, change.patchset)
        except (RestRefused, LookupError) as refused:
            words = " ".join(str(refused).split())
            raise ReportRefused(f"Gerrit refused the report on {change.number},{change.patchset}: {words}") from refused

    async def _said(self, path: str, id: str) -> bool:
        """Whether a message on the change has that report's id as a word."""
        word = re.compile(rf"(?<![\w-]){re.escape(id)}(?![\w-])")
        return any(word.search(message["message"]) for message in await self._rest.get(f"{path}/messages"))

    async def _review(self, path: str, report: Report) -> None:
        """One POST; if Gerrit finds fault with the form, another with all in a message that is surely short enough."""
        comments: dict[str, list[dict[str, Any]]] = {}
        for comment in report.comments:
            place = {"line": comment.line} if comment.line else {}
            comments.setdefault(comment.path, []).append({"message": comment.message, "unresolved": False, **place})
        body: dict[str, Any] = {"message": _marked(report.message, report.id), "tag": f"{self.settings.tag}:{report.pipeline}",
                                "labels": dict(report.labels), "comments": comments, "omit_duplicate_comments": True}  # fmt: skip
        if report.notify:
            body["notify"] = report.notify
        try:
            answer = await self._rest.post(path, body)
        except RestRefused as refused:
            if refused.status != 400:
                raise
            lines = "".join(f"\n{comment.path}:{comment.line or 0}: {comment.message}" for comment in report.comments)
            text = report.message + lines
            if len(text) > SHORTENED:
                text = f"{text[:SHORTENED]}\n... (shortened: Gerrit would not take {len(text)} characters)"
            answer = await self._rest.post(path, {**body, "message": _marked(text, report.id), "comments": {}})
        # Gerrit says 200 and leaves out what it does not know or allow.
        left_out = [f"{label}{value:+d}" for label, value in report.labels.items() if label not in answer.get("labels", {})]
        if left_out:
            raise ReportRefused(
                f"Gerrit took the message on {report.change.number},{report.change.patchset} but not the vote {', '.join(left_out)}: "
                f"{report.change.project} has no such label or value"
            )

    async def _submit(self, path: str, patchset: int) -> None:
        try:
            await self._rest.post(f"{path}/revisions/{patchset}/submit", {})
        except RestRefused:
            if (await self._rest.get(path))["status"] != "MERGED":  # merged by an earlier call of this report
                raise


def _marked(message: str, id: str) -> str:
    """The message with the report's id in it, by which it is found again."""
    return message if id in message else f"{message}\n\nReport: {id}"
