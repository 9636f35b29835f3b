"""What each kind of connection allows in a pipeline, and its triggers, filters and reporters as values."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from headgate.configuration import github_triggers
from headgate.configuration.parse_regexes import regexes
from headgate.configuration.pipelines import ApprovalFilter, RefFilter, Reporter, Trigger
from headgate.configuration.regex import Regex
from headgate.configuration.regex_shape import REGEX
from headgate.configuration.shapes import (
    ANYTHING,
    FLAG,
    MAPPING,
    NOTHING,
    TEXT,
    WHOLE,
    Choice,
    Either,
    Record,
    Shape,
    one_or_many,
)
from headgate.configuration.stanza import Complaints, Wrong
from headgate.configuration.tenant_values import as_list

_MANY = one_or_many(TEXT)
_PATTERNS = one_or_many(REGEX)
_APPROVAL = Record({"username": TEXT, "email": TEXT, "older-than": TEXT, "newer-than": TEXT}, rest=ANYTHING)
_GERRIT_FILTER = Record(
    {
        "approval": one_or_many(_APPROVAL),
        "open": FLAG,
        "current-patchset": FLAG,
        "wip": FLAG,
        "hashtags": _PATTERNS,
        "status": _MANY,
    }
)
_GERRIT_EVENTS = [
    "patchset-created",
    "draft-published",
    "change-abandoned",
    "change-restored",
    "change-merged",
    "comment-added",
    "ref-updated",
    "pending-check",
    "vote-deleted",
    "hashtags-changed",
    "wip-state-changed",
]
_GERRIT_TRIGGER = Record(
    {
        "event": one_or_many(Choice(*_GERRIT_EVENTS)),
        "uuid": TEXT,
        "scheme": TEXT,
        "comment_filter": _MANY,
        "comment": _PATTERNS,
        "email_filter": _MANY,
        "email": _PATTERNS,
        "username_filter": _MANY,
        "username": _PATTERNS,
        "branch": _PATTERNS,
        "ref": _PATTERNS,
        "ignore-deletes": FLAG,
        "approval": one_or_many(MAPPING),
        "approval-change": one_or_many(MAPPING),
        "require-approval": one_or_many(_APPROVAL),
        "reject-approval": one_or_many(_APPROVAL),
        "added": _PATTERNS,
        "removed": _PATTERNS,
        "require": _GERRIT_FILTER,
        "reject": _GERRIT_FILTER,
        "debug": FLAG,
    },
    required=("event",),
)
_REVIEW = Record(
    {
        "username": TEXT,
        "email": TEXT,
        "older-than": TEXT,
        "newer-than": TEXT,
        "type": TEXT,
        "permission": Choice("read", "write", "admin"),
    }
)
_GITHUB_FILTER = Record(
    {
        "status": _MANY,
        "review": one_or_many(_REVIEW),
        "open": FLAG,
        "merged": FLAG,
        "current-patchset": FLAG,
        "draft": FLAG,
        "label": _MANY,
    }
)
_GITHUB_TRIGGER = Record(
    {
        "event": one_or_many(Choice("pull_request", "pull_request_review", "push", "check_run")),
        **dict.fromkeys(("action", "label", "unlabel", "state", "require-status", "status", "check"), _MANY),
        **dict.fromkeys(("branch", "ref", "comment"), _PATTERNS),
        "permission": Choice("read", "write", "admin"),
        "require": _GITHUB_FILTER,
        "reject": _GITHUB_FILTER,
        "debug": FLAG,
    },
    required=("event",),
)
_GITHUB_REPORTER = Record(
    {
        "status": Choice("pending", "success", "failure"),
        "comment": FLAG,
        "merge": FLAG,
        "label": _MANY,
        "unlabel": _MANY,
        "review": Choice("approve", "request-changes", "comment"),
        "review-body": TEXT,
        "check": Choice("queued", "in_progress", "success", "failure", "cancelled", "skipped", "neutral"),
    }
)
_GITLAB_FILTER = Record({"open": FLAG, "merged": FLAG, "approved": FLAG, "labels": _MANY})
_GITLAB_TRIGGER = Record(
    {
        "event": one_or_many(Choice("gl_merge_request", "gl_push")),
        **dict.fromkeys(("action", "labels", "unlabels"), _MANY),
        **dict.fromkeys(("branch", "ref", "comment"), _PATTERNS),
        "debug": FLAG,
    },
    required=("event",),
)
_PAGURE_TRIGGER = Record(
    {
        "event": one_or_many(Choice("pg_pull_request", "pg_pull_request_review", "pg_push")),
        **dict.fromkeys(("action", "status", "tag"), _MANY),
        **dict.fromkeys(("ref", "comment"), _PATTERNS),
        "debug": FLAG,
    },
    required=("event",),
)
_GIT_TRIGGER = Record(
    {"event": one_or_many(Choice("ref-updated")), "ref": _PATTERNS, "ignore-deletes": FLAG, "debug": FLAG}, required=("event",)
)
_ZUUL_TRIGGER = Record(
    {
        "event": one_or_many(Choice("parent-change-enqueued", "project-change-merged", "image-build", "image-validate")),
        "pipeline": _PATTERNS,
        "debug": FLAG,
    },
    required=("event",),
)
_TIMER_TRIGGER = Record({"time": TEXT, "dereference": FLAG, "debug": FLAG}, required=("time",))


@dataclass(frozen=True, slots=True)
class Driver:
    """The shapes of one kind of connection; `None` means that it cannot be used there."""

    trigger: Shape | None = None
    reporter: Shape | None = None
    require: Shape | None = None
    reject: Shape | None = None


DRIVERS: Mapping[str, Driver] = {
    "gerrit": Driver(_GERRIT_TRIGGER, Either(TEXT, MAPPING), _GERRIT_FILTER, _GERRIT_FILTER),
    "github": Driver(_GITHUB_TRIGGER, _GITHUB_REPORTER, _GITHUB_FILTER, _GITHUB_FILTER),
    "gitlab": Driver(
        _GITLAB_TRIGGER,
        Record({"comment": FLAG, "approval": FLAG, "merge": FLAG, "label": _MANY, "unlabel": _MANY}),
        _GITLAB_FILTER,
        _GITLAB_FILTER,
    ),
    "pagure": Driver(
        _PAGURE_TRIGGER,
        Record({"status": Choice("pending", "success", "failure"), "comment": FLAG, "merge": FLAG}),
        Record({"score": WHOLE, "open": FLAG, "merged": FLAG, "status": TEXT, "tags": _MANY}),
        Record({}),
    ),
    "git": Driver(_GIT_TRIGGER, None, Record({}), Record({})),
    "timer": Driver(_TIMER_TRIGGER),
    "zuul": Driver(_ZUUL_TRIGGER, Record({"image-built": FLAG, "image-validated": FLAG})),
    "smtp": Driver(None, Record({"to": TEXT, "from": TEXT, "subject": TEXT})),
    "mqtt": Driver(None, Record({"topic": TEXT, "qos": Choice(0, 1, 2), "include-returned-data": FLAG}, required=("topic",))),
    "elasticsearch": Driver(None, Either(NOTHING, Record({"index": TEXT, "index-vars": FLAG, "index-returned-vars": FLAG}))),
    "sql": Driver(None, NOTHING),
    "": Driver(ANYTHING, ANYTHING, ANYTHING, ANYTHING),
}


def driver_of(connection: str, drivers: Mapping[str, str]) -> str | None:
    """The kind of a connection: as told, or as its name says (`gerrit`, `another_gerrit`), or `None` for an unknown one."""
    if connection in drivers:
        return drivers[connection]
    if connection in ("timer", "zuul", "git"):
        return connection
    return next((kind for kind in DRIVERS if len(kind) > 2 and kind not in ("timer", "zuul", "git") and kind in connection), None)


def seconds(text: Any, path: tuple[Any, ...]) -> int:
    """`48h`, `30m`, `2d` as seconds. Raises `Wrong`."""
    units = {"s": 1, "m": 60, "h": 3600, "d": 86400, "w": 604800}
    try:
        return int(text[:-1]) * units[text[-1]]
    except (ValueError, KeyError, IndexError, TypeError):
        raise Wrong(f'"{text}" is not a time: a number and one of s, m, h, d, w', path) from None


def triggers(connection: str, driver: str, conf: Any, complaints: Complaints) -> list[Trigger]:
    """The triggers of one connection. Raises `Wrong`."""
    return [_trigger(connection, driver, each, complaints) for each in as_list(conf) if isinstance(each, dict)]


def _trigger(connection: str, driver: str, conf: dict[str, Any], complaints: Complaints) -> Trigger:
    here = ("trigger", connection)

    def patterns(key: str, old: str = "") -> tuple[Regex, ...]:
        used = key if key in conf or not old else old
        return regexes(as_list(conf.get(used)), (*here, used), complaints)

    for key, name in (("require-approval", "require"), ("reject-approval", "reject")):
        if key in conf and driver == "gerrit":
            complaints.warn(f"Gerrit {key} Deprecation", f"{key} is deprecated: use {name} with approval", (*here, key))
    if driver == "github":
        github_triggers.warn(conf, _GITHUB_FILTER, here, complaints)
    require = conf.get("require") or ({"approval": conf["require-approval"]} if conf.get("require-approval") else None)
    reject = conf.get("reject") or ({"approval": conf["reject-approval"]} if conf.get("reject-approval") else None)
    known = {"gerrit": _GERRIT_TRIGGER, "timer": _TIMER_TRIGGER, "zuul": _ZUUL_TRIGGER, "git": _GIT_TRIGGER}.get(driver)
    return Trigger(
        connection=connection,
        driver=driver,
        event=patterns("event"),
        branch=patterns("branch"),
        ref=patterns("ref"),
        comment=patterns("comment", "comment_filter"),
        email=patterns("email", "email_filter"),
        username=patterns("username", "username_filter"),
        added=patterns("added"),
        removed=patterns("removed"),
        approval=_votes(conf.get("approval")),
        approval_change=_votes(conf.get("approval-change")),
        ignore_deletes=conf.get("ignore-deletes", True),
        require=ref_filter(connection, driver, require, (*here, "require"), complaints) if require else None,
        reject=ref_filter(connection, driver, reject, (*here, "reject"), complaints) if reject else None,
        pipeline=patterns("pipeline"),
        time=conf.get("time", ""),
        dereference=conf.get("dereference", False),
        debug=bool(conf.get("debug")),
        options={} if known else {key: value for key, value in conf.items() if key not in ("event", "branch", "ref", "comment")},
    )


def _votes(given: Any) -> tuple[tuple[str, int | str], ...]:
    merged = {str(label): value for each in as_list(given) for label, value in each.items()}
    return tuple(merged.items())


def ref_filter(connection: str, driver: str, conf: dict[str, Any], path: tuple[Any, ...], complaints: Complaints) -> RefFilter:
    """A require or reject mapping as a value. Raises `Wrong`."""
    if driver != "gerrit":
        return RefFilter(connection, options=conf)
    return RefFilter(
        connection,
        tuple(_approval(each, (*path, "approval"), complaints) for each in as_list(conf.get("approval"))),
        conf.get("open"),
        conf.get("current-patchset"),
        conf.get("wip"),
        tuple(as_list(conf.get("status"))),
        regexes(as_list(conf.get("hashtags")), (*path, "hashtags"), complaints),
    )


def _approval(conf: dict[str, Any], path: tuple[Any, ...], complaints: Complaints) -> ApprovalFilter:
    def pattern(key: str) -> Regex | None:
        return regexes([conf[key]], (*path, key), complaints)[0] if key in conf else None

    known = ("username", "email", "older-than", "newer-than")
    return ApprovalFilter(
        pattern("username"),
        pattern("email"),
        seconds(conf["older-than"], (*path, "older-than")) if "older-than" in conf else None,
        seconds(conf["newer-than"], (*path, "newer-than")) if "newer-than" in conf else None,
        {str(label): tuple(as_list(value) or [value]) for label, value in conf.items() if label not in known},
    )


def reporter(connection: str, driver: str, conf: Any) -> Reporter:
    """A reporter's mapping as a value. Raises `Wrong`."""
    if not isinstance(conf, dict):
        if conf and driver == "gerrit":
            raise Wrong("must be a mapping such as Verified: 1", (connection,))
        return Reporter(connection, driver)
    if driver != "gerrit":
        return Reporter(connection, driver, options=conf)
    own = ("comment", "submit", "checks-api", "notify")
    return Reporter(
        connection,
        driver,
        {str(label): value for label, value in conf.items() if label not in own},
        bool(conf.get("submit", False)),
        bool(conf.get("comment", True)),
        conf.get("notify") or "",
        conf.get("checks-api"),
    )
