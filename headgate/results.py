"""What a build plays next, and what result it has: functions of its job and of what its playbooks came to.

Law (Zuul's): pre-run in order until one fails; run only if all of pre-run passed, until one fails; post-run always and all of it, but
after a failed pre-run only the levels that had begun, and after a cancel only what is marked as cleanup. A failed pre-run, an unreachable
node or a crash of Ansible is nobody's verdict: the build is retried while attempts are left. A failed post-run spoils a success only.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum

from headgate.jobs import FrozenJob, Playbook


class Phase(StrEnum):
    PRE = "pre-run"
    RUN = "run"
    POST = "post-run"
    CLEANUP = "cleanup"


class Outcome(StrEnum):
    """What one playbook came to. CRASHED: Ansible ended in no way it documents, its process was killed, or it never started."""

    OK = "ok"
    FAILED = "failed"
    UNREACHABLE = "unreachable"
    TIMED_OUT = "timed out"
    CRASHED = "crashed"


@dataclass(frozen=True, slots=True)
class Played:
    """One playbook of a build that has ended. `seconds` is how long it took."""

    phase: Phase
    playbook: Playbook
    outcome: Outcome
    seconds: float = 0.0


@dataclass(frozen=True, slots=True)
class Said:
    """What a build's playbooks said about the build itself by `zuul_return`, as far as the result depends on it; the phase in which
    a task failed for good, or a line of output matched the job's failure-output, while the playbook went on; whether it filled more of the
    disk than it may, and whether it printed a secret though its `secret-exposure` is `fail`."""

    retry: bool = True
    failing: Phase | None = None
    disk_full: bool = False
    exposed: bool = False


@dataclass(frozen=True, slots=True)
class Verdict:
    """`result` is None while there is none; `retry` says that a new build of the same job shall follow in place of a result."""

    result: str | None
    retry: bool = False


def script(job: FrozenJob) -> tuple[tuple[Phase, Playbook], ...]:
    """Every playbook of the job in the order they are played when nothing goes wrong. A playbook of the (deprecated) cleanup-run comes
    before the first post-run of a level above its own."""
    end = [(Phase.POST, playbook) for playbook in job.post_run]
    for playbook in job.cleanup_run:
        above = (number for number, (_, other) in enumerate(end) if playbook.nesting_level > other.nesting_level)
        end.insert(next(above, len(end)), (Phase.CLEANUP, playbook))
    return (*((Phase.PRE, playbook) for playbook in job.pre_run), *((Phase.RUN, playbook) for playbook in job.run), *end)


def following(job: FrozenJob, played: Sequence[Played], cancelled: bool = False) -> tuple[Phase, Playbook] | None:
    """The playbook to play after those `played` so far (in order), or None when the build has ended."""
    failed = {one.phase: one for one in reversed(played) if one.outcome != Outcome.OK}
    done = [(one.phase, one.playbook) for one in played]
    for phase, playbook in script(job):
        if (phase, playbook) in done:
            done.remove((phase, playbook))
        elif _due(phase, playbook, failed, cancelled):
            return phase, playbook
    return None


def _due(phase: Phase, playbook: Playbook, failed: Mapping[Phase, Played], cancelled: bool) -> bool:
    """Is it its turn, if all before it in the script have been played or left out? `failed` has the first failure of each phase."""
    if phase in (Phase.PRE, Phase.RUN):
        return not cancelled and Phase.PRE not in failed and Phase.RUN not in failed
    if cancelled and not (playbook.cleanup or phase == Phase.CLEANUP):
        return False
    return Phase.PRE not in failed or playbook.nesting_level <= failed[Phase.PRE].playbook.nesting_level


def succeeded(played: Sequence[Played]) -> bool:
    """`zuul_success` as post-run playbooks see it: nothing before them, nor one of them, failed."""
    decisive = [one for one in played if one.phase != Phase.CLEANUP]
    return any(one.phase == Phase.RUN for one in decisive) and all(one.outcome == Outcome.OK for one in decisive)


def verdict(job: FrozenJob, played: Sequence[Played], attempt: int, said: Said = Said()) -> Verdict:
    """The result that `attempt` (from 1) of the job has come to. Result strings are Zuul's (reference: its manual, "Build Status")."""
    result = _result(played, said)
    if result is not None:
        return Verdict(result)
    return Verdict("RETRY", retry=True) if attempt < job.attempts else Verdict("RETRY_LIMIT")


def _result(played: Sequence[Played], said: Said) -> str | None:
    """None: the attempt says nothing about the change."""
    pre, run, post = ([one.outcome for one in played if one.phase == phase] for phase in (Phase.PRE, Phase.RUN, Phase.POST))
    if said.disk_full:
        return "DISK_FULL"
    if said.exposed:
        return "SECRET_EXPOSURE"
    if any(outcome != Outcome.OK for outcome in pre):
        return None if said.retry else "FAILURE"
    last = run[-1] if run else None
    if last is None or last in (Outcome.UNREACHABLE, Outcome.CRASHED):
        if said.failing is None or last is None:
            return None
        return "FAILURE" if last == Outcome.UNREACHABLE else "ERROR"
    if last == Outcome.TIMED_OUT:
        return "TIMED_OUT"
    if Outcome.UNREACHABLE in post and said.failing is None:
        return None
    if last == Outcome.FAILED or said.failing == Phase.RUN:
        return "FAILURE"
    if any(outcome != Outcome.OK for outcome in post):
        return "POST_FAILURE"
    return "SUCCESS" if said.failing is None else "FAILURE"


def is_watched(job: FrozenJob, phase: Phase, played: Sequence[Played], attempt: int, said: Said) -> bool:
    """Does a failure in a playbook of this phase, still playing, decide about the build? Not in pre-run, which is retried, and not after
    what will be retried anyway."""
    return phase == Phase.RUN or (phase == Phase.POST and not verdict(job, played, attempt, said).retry)


CLEANUP_SECONDS = 300.0


def seconds_left(job: FrozenJob, phase: Phase, played: Sequence[Played]) -> float | None:
    """How long the next playbook may take; None for as long as it wants. `timeout` covers pre-run and run together, `post_timeout`
    each post-run playbook, and cleanup has five minutes (all as in Zuul)."""
    if phase == Phase.CLEANUP:
        return CLEANUP_SECONDS
    if phase == Phase.POST:
        return float(job.post_timeout) if job.post_timeout else None
    limits = []
    if job.timeout:
        limits.append(job.timeout - sum(one.seconds for one in played if one.phase in (Phase.PRE, Phase.RUN)))
    if phase == Phase.PRE and job.pre_timeout:
        limits.append(job.pre_timeout - sum(one.seconds for one in played if one.phase == Phase.PRE))
    return max(min(limits), 0.0) if limits else None
