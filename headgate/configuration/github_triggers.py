"""GitHub's newer trigger rules: which attributes belong to which event. What breaks them still works, with a warning."""

from __future__ import annotations

from typing import Any

from headgate.configuration.regex_shape import REGEX
from headgate.configuration.shapes import ANYTHING, FLAG, TEXT, Choice, Fault, Record, Shape, one_or_many
from headgate.configuration.stanza import Complaints

_MANY = one_or_many(TEXT)
_PATTERNS = one_or_many(REGEX)
_EVENTS = ("pull_request", "pull_request_review", "push", "check_run")


def _shape(event: str, filters: Shape, more: dict[str, Shape], required: tuple[str, ...] = ()) -> Record:
    common: dict[str, Shape] = {"event": Choice(event), "require": filters, "reject": filters, "debug": FLAG}
    return Record({**common, **more}, required=("event", *required))


def _shape_of(conf: dict[str, Any], filters: Shape) -> Record | None:
    event, action = conf.get("event"), conf.get("action")
    if event == "pull_request":
        base: dict[str, Shape] = {"branch": _PATTERNS, "permission": Choice("read", "write", "admin")}
        if action == "comment":
            return _shape(event, filters, {**base, "action": Choice("comment"), "comment": _PATTERNS}, ("action",))
        if action in ("labeled", "unlabeled"):
            return _shape(event, filters, {**base, "action": one_or_many(Choice("labeled", "unlabeled")), "label": _MANY}, ("action",))
        if action == "status":
            return _shape(event, filters, {**base, "action": Choice("status"), "status": _MANY}, ("action",))
        actions = Choice("opened", "changed", "closed", "reopened", "converted_to_draft", "ready_for_review")
        return _shape(event, filters, {**base, "action": one_or_many(actions)})
    if event == "pull_request_review":
        states = Choice("approved", "commented", "changes_requested", "dismissed", "pending")
        actions = Choice("submitted", "dismissed")
        return _shape(event, filters, {"branch": _PATTERNS, "action": one_or_many(actions), "state": one_or_many(states)})
    if event == "push":
        return _shape(event, filters, {"ref": _PATTERNS})
    if event == "check_run":
        return _shape(event, filters, {"action": one_or_many(Choice("rerequested", "completed")), "check": _MANY})
    return None


def warn(conf: dict[str, Any], filters: Shape, here: tuple[Any, ...], complaints: Complaints) -> None:
    """Warn of deprecated attributes, and of those that do not belong to the trigger's event."""
    if "require-status" in conf:
        complaints.warn(
            "Github require-status Deprecation", "require-status is deprecated: use require with status", (*here, "require-status")
        )
    if "unlabel" in conf:
        complaints.warn("Github unlabel Deprecation", "unlabel is deprecated: use label with action: unlabeled", (*here, "unlabel"))
    if isinstance(conf.get("event"), list):
        complaints.warn("Github event list Deprecation", "a list of events is deprecated: write one trigger for each", (*here, "event"))
    fault = _fault(conf, filters)
    if fault:
        complaints.warn("Github Trigger Configuration Warning", fault.message, (*here, *fault.path))
    if conf.get("action") == "requested":
        complaints.warn("Github requested action Deprecation", "the action requested is deprecated: use rerequested", (*here, "action"))


def _fault(conf: dict[str, Any], filters: Shape) -> Fault | None:
    common = Record({"event": Choice(*_EVENTS), "require": filters, "reject": filters, "debug": FLAG}, ("event",), ANYTHING)
    shape = _shape_of(conf, filters) if isinstance(conf.get("event"), str) else None
    for each in (common if isinstance(conf.get("event"), str) else None, shape):
        if each is not None and not each.ok(conf):
            return each.fault(conf)
    return None
