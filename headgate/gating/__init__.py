"""Pipelines as rules: who is in which queue, on top of what it is tested, what starts, stops and is said.

A pass is `pass_(tenancy, pipeline, happenings, facts, now)`: the tenant's state and what has happened in, the new state and the actions
out. Nothing here knows Gerrit's protocol, git or an executor; their answers come back as further happenings. Start reading at `passes`.
"""

from headgate.gating.facts import Facts, Known
from headgate.gating.happenings import (
    Action,
    Announce,
    AskedDequeue,
    AskedEnqueue,
    AskedPromote,
    BuildAgain,
    BuildEnded,
    BuildFailing,
    BuildPaused,
    CancelBuild,
    Happening,
    Heard,
    Left,
    NodesReady,
    Notify,
    Prepare,
    Prepared,
    Report,
    Reported,
    RequestNodes,
    ResumeBuild,
    Resumed,
    Return,
    SemaphoreFreed,
    StartBuild,
    Superceded,
)
from headgate.gating.passes import pass_
from headgate.gating.primaries import with_graph
from headgate.gating.reconfiguration import reconfigure
from headgate.gating.state import Build, Buildset, Item, JobKey, Key, PipelineState, Queue, Tenancy, job_key

__all__ = [
    "Action",
    "Announce",
    "AskedDequeue",
    "AskedEnqueue",
    "AskedPromote",
    "Build",
    "BuildAgain",
    "BuildEnded",
    "BuildFailing",
    "BuildPaused",
    "Buildset",
    "CancelBuild",
    "Facts",
    "Happening",
    "Heard",
    "Item",
    "JobKey",
    "Key",
    "Known",
    "Left",
    "NodesReady",
    "Notify",
    "PipelineState",
    "Prepare",
    "Prepared",
    "Queue",
    "Report",
    "Reported",
    "RequestNodes",
    "ResumeBuild",
    "Resumed",
    "Return",
    "SemaphoreFreed",
    "StartBuild",
    "Superceded",
    "Tenancy",
    "job_key",
    "pass_",
    "reconfigure",
    "with_graph",
]
