"""Does an event put a change into a pipeline?

Law: some trigger of the pipeline for the event's connection matches everything it asks of the event, and the change meets what the pipeline
requires (any entry) and nothing that it rejects. Patterns match from the start of a text and need not reach its end; comments, e-mail
addresses, user names and hashtags are searched; of an event that names nobody it is not asked who did it. A branch or tag meets nothing
that is asked of a review. Source: Zuul 14.3's Gerrit driver.
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime, timedelta

from headgate.changes import Approval, Change, Event
from headgate.configuration import Pipeline
from headgate.configuration.pipelines import ApprovalFilter, RefFilter, Trigger
from headgate.configuration.regex import Regex


def _any(patterns: tuple[Regex, ...], text: str, search: bool = False) -> bool:
    return not patterns or any((pattern.search(text) if search else pattern.match(text)) for pattern in patterns)


def _is_by(patterns: tuple[Regex, ...], text: str) -> bool:
    """Is it that person's? An account without an address has none that matches, whatever the pattern."""
    return not patterns or (bool(text) and _any(patterns, text, search=True))


def trigger_matches(trigger: Trigger, event: Event) -> bool:
    """Does the event alone meet the trigger?"""
    if trigger.connection != event.connection or trigger.time != event.time:
        return False
    granted = {(approval.label, str(approval.value)) for approval in event.approvals}
    changed = {(approval.label, str(approval.value)) for approval in event.approvals if approval.changed}
    nobody = not event.username and not event.email
    return (
        _any(trigger.event, event.type)
        and _any(trigger.branch, event.branch)
        and _any(trigger.ref, event.ref)
        and _any(trigger.comment, event.comment, search=True)
        and (nobody or _is_by(trigger.email, event.email))
        and (nobody or _is_by(trigger.username, event.username))
        and _any(trigger.pipeline, event.pipeline)
        and (not trigger.added or any(_any(trigger.added, tag, search=True) for tag in event.added))
        and (not trigger.removed or any(_any(trigger.removed, tag, search=True) for tag in event.removed))
        and all((label, str(value)) in granted for label, value in trigger.approval)
        and all((label, str(value)) in changed for label, value in trigger.approval_change)
        and not (trigger.ignore_deletes and event.type == "ref-updated" and set(event.new_commit) == {"0"})
    )


def _approval_meets(wanted: ApprovalFilter, approval: Approval, now: datetime) -> bool:
    age = now - approval.granted if approval.granted else timedelta.max
    return (
        (wanted.username is None or wanted.username.search(approval.username))
        and (wanted.email is None or wanted.email.search(approval.email))
        and (wanted.older_than is None or age > timedelta(seconds=wanted.older_than))
        and (wanted.newer_than is None or age <= timedelta(seconds=wanted.newer_than))
        and all(approval.label == label and approval.value in values for label, values in wanted.labels.items())
    )


def _given(wanted: ApprovalFilter, change: Change, now: datetime) -> bool:
    return any(_approval_meets(wanted, approval, now) for approval in change.approvals)


def _status(change: Change) -> str:
    return "MERGED" if change.merged else "NEW" if change.open else "ABANDONED"


def _asks_of_review(asked: RefFilter) -> bool:
    """Is anything asked that only a review has?"""
    return (asked.open, asked.current_patchset, asked.wip) != (None, None, None) or bool(asked.status or asked.hashtags or asked.approval)


def _meets(wanted: RefFilter, change: Change, now: datetime) -> bool:
    if change.is_ref:
        return not _asks_of_review(wanted)
    return (
        (wanted.open is None or change.open == wanted.open)
        and (wanted.current_patchset is None or change.current == wanted.current_patchset)
        and (wanted.wip is None or change.wip == wanted.wip)
        and (not wanted.status or _status(change) in wanted.status)
        and all(any(pattern.search(tag) for tag in change.hashtags) for pattern in wanted.hashtags)
        and all(_given(approval, change, now) for approval in wanted.approval)
    )


def _is_rejected(unwanted: RefFilter, change: Change, now: datetime) -> bool:
    if change.is_ref:
        return _asks_of_review(unwanted)
    return (
        (unwanted.open is not None and change.open == unwanted.open)
        or (unwanted.current_patchset is not None and change.current == unwanted.current_patchset)
        or (unwanted.wip is not None and change.wip == unwanted.wip)
        or _status(change) in unwanted.status
        or any(pattern.search(tag) for pattern in unwanted.hashtags for tag in change.hashtags)
        or any(_given(approval, change, now) for approval in unwanted.approval)
    )


def _mine(filters: Iterable[RefFilter], change: Change) -> list[RefFilter]:
    return [one for one in filters if one.connection == change.connection]


def meets_requirements(pipeline: Pipeline, change: Change, now: datetime) -> bool:
    """Whatever brought it: may the change be in the pipeline at all?"""
    required = _mine(pipeline.require, change)
    if not pipeline.allow_other_connections and change.connection not in pipeline.connections:
        return False
    return all(_meets(one, change, now) for one in required) and not any(
        _is_rejected(one, change, now) for one in _mine(pipeline.reject, change)
    )


def enters(pipeline: Pipeline, event: Event, change: Change, now: datetime) -> bool:
    """Does this event put this change into this pipeline?"""
    return meets_requirements(pipeline, change, now) and fires(pipeline, event, change, now)


def fires(pipeline: Pipeline, event: Event, change: Change, now: datetime) -> bool:
    """Does any trigger of the pipeline match, whatever the pipeline requires of the change?"""
    if event.time and event.pipeline != pipeline.name:
        return False
    return any(
        trigger_matches(trigger, event)
        and (trigger.require is None or _meets(trigger.require, change, now))
        and (trigger.reject is None or not _is_rejected(trigger.reject, change, now))
        for trigger in pipeline.triggers
    )
