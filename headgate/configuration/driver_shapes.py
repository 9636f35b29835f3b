"""What each kind of connection allows in a pipeline: the shapes of its triggers, filters and reporters."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

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
GITHUB_FILTER = Record(
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
        "require": GITHUB_FILTER,
        "reject": GITHUB_FILTER,
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
    "github": Driver(_GITHUB_TRIGGER, _GITHUB_REPORTER, GITHUB_FILTER, GITHUB_FILTER),
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
