"""Triggers, filters and reporters of each kind of connection as values."""

from __future__ import annotations

from typing import Any

from headgate.configuration import github_triggers
from headgate.configuration.driver_shapes import GITHUB_FILTER
from headgate.configuration.parse_regexes import regexes
from headgate.configuration.pipelines import ApprovalFilter, RefFilter, Reporter, Trigger
from headgate.configuration.regex import Regex
from headgate.configuration.stanza import Complaints, Wrong
from headgate.configuration.tenant_values import as_list

_READ_WHOLE = ("gerrit", "timer", "zuul", "git")
"""Drivers of whose triggers every key has a field of its own; of the others the rest is kept as options."""


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
        github_triggers.warn(conf, GITHUB_FILTER, here, complaints)
    require = conf.get("require") or ({"approval": conf["require-approval"]} if conf.get("require-approval") else None)
    reject = conf.get("reject") or ({"approval": conf["reject-approval"]} if conf.get("reject-approval") else None)

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
        options={}
        if driver in _READ_WHOLE
        else {key: value for key, value in conf.items() if key not in ("event", "branch", "ref", "comment")},
    )


def _votes(given: Any) -> tuple[tuple[str, int | str], ...]:
    merged = {str(label): value for each in as_list(given) for label, value in each.items()}
    return tuple((label, _number(value)) for label, value in merged.items())


def _number(value: Any) -> int | str:
    """`+1` in quotes is 1 too; what is no number matches no vote."""
    try:
        return int(value)
    except (TypeError, ValueError):
        return str(value)


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
