"""Pipelines as values: when a change enters, on what terms, and who is told what."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from headgate.configuration.regex import Regex
from headgate.nodes import PRECEDENCES

MERGE_CONFLICT = (
    "Merge Failed.\n\nThis change, or another one that it depends on, does not merge with the current state of its repository. "
    "Please rebase the change and upload a new patchset."
)


@dataclass(frozen=True, slots=True)
class ApprovalFilter:
    """One approval must meet all that is said. Ages are seconds. `labels` gives the values allowed of each label."""

    username: Regex | None = None
    email: Regex | None = None
    older_than: int | None = None
    newer_than: int | None = None
    labels: Mapping[str, tuple[int, ...]] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class RefFilter:
    """What a change must be (under `require`) or must not be (under `reject`). `None` and `()` mean not asked.

    `options` holds the attributes of other drivers (review, label, merged, ...) as written.
    """

    connection: str
    approval: tuple[ApprovalFilter, ...] = ()
    open: bool | None = None
    current_patchset: bool | None = None
    wip: bool | None = None
    status: tuple[str, ...] = ()
    hashtags: tuple[Regex, ...] = ()
    options: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Trigger:
    """One entry of a pipeline's trigger list: an event must meet all that is said. `event` patterns match from the start.

    `branch` and the others match from the start too, except `comment`, `email` and `username`, which are searched for.
    `time` is a timer's cron line; `pipeline` belongs to the `zuul` connection's own events; `options` holds other drivers' attributes.
    """

    connection: str
    driver: str = ""
    event: tuple[Regex, ...] = ()
    branch: tuple[Regex, ...] = ()
    ref: tuple[Regex, ...] = ()
    comment: tuple[Regex, ...] = ()
    email: tuple[Regex, ...] = ()
    username: tuple[Regex, ...] = ()
    added: tuple[Regex, ...] = ()
    removed: tuple[Regex, ...] = ()
    approval: tuple[tuple[str, int | str], ...] = ()
    approval_change: tuple[tuple[str, int | str], ...] = ()
    ignore_deletes: bool = True
    require: RefFilter | None = None
    reject: RefFilter | None = None
    pipeline: tuple[Regex, ...] = ()
    time: str = ""
    dereference: bool = False
    debug: bool = False
    options: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Reporter:
    """Tell `connection`. For Gerrit: `labels` are votes, `submit` merges, `comment` false leaves the message out.

    `options` holds other drivers' attributes as written.
    """

    connection: str
    driver: str = ""
    labels: Mapping[str, int] = field(default_factory=dict)
    submit: bool = False
    comment: bool = True
    notify: str = ""
    checks_api: Mapping[str, Any] | None = None
    options: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Pipeline:
    """One pipeline. Reporters by occasion are tuples; `merge_conflict` and `config_error` are `failure`'s when not said.

    `connections` are those named anywhere in it; without `allow_other_connections` only their changes may enter.
    """

    name: str
    manager: str
    triggers: tuple[Trigger, ...] = ()
    require: tuple[RefFilter, ...] = ()
    reject: tuple[RefFilter, ...] = ()
    enqueue: tuple[Reporter, ...] = ()
    start: tuple[Reporter, ...] = ()
    success: tuple[Reporter, ...] = ()
    failure: tuple[Reporter, ...] = ()
    merge_conflict: tuple[Reporter, ...] = ()
    config_error: tuple[Reporter, ...] = ()
    no_jobs: tuple[Reporter, ...] = ()
    disabled: tuple[Reporter, ...] = ()
    dequeue: tuple[Reporter, ...] = ()
    description: str = ""
    success_message: str = "Build succeeded."
    failure_message: str = "Build failed."
    merge_conflict_message: str = MERGE_CONFLICT
    start_message: str = "Starting {pipeline.name} jobs."
    enqueue_message: str = ""
    no_jobs_message: str = ""
    dequeue_message: str = "Build canceled."
    footer_message: str = ""
    precedence: str = "normal"
    supercedes: tuple[str, ...] = ()
    post_review: bool = False
    allow_other_connections: bool = True
    allow_parameters: bool = False
    dequeue_on_new_patchset: bool = True
    ignore_dependencies: bool = False
    disable_after_consecutive_failures: int | None = None
    window: int = 20
    window_floor: int = 3
    window_ceiling: int | None = None
    window_increase_type: str = "linear"
    window_increase_factor: int = 1
    window_decrease_type: str = "exponential"
    window_decrease_factor: int = 2
    connections: tuple[str, ...] = ()
    builds_images: bool = False

    @property
    def priority(self) -> int:
        """Priority of this pipeline's node requests; lower goes first."""
        return PRECEDENCES[self.precedence]

    def reporters(self) -> tuple[Reporter, ...]:
        """Every reporter, of every occasion."""
        return (
            *self.enqueue,
            *self.start,
            *self.success,
            *self.failure,
            *self.merge_conflict,
            *self.config_error,
            *self.no_jobs,
            *self.disabled,
            *self.dequeue,
        )
