"""What a build plays next, and what result it has: functions of its job and of what its playbooks came to.

Law (Zuul's): pre-run in order until one fails; run only if all of pre-run passed, until one fails; post-run always and all of it, but
after a failed pre-run only the levels that had begun; cleanup at the very end, even after a cancel. A failed pre-run, an unreachable
node or a crash of Ansible is nobody's verdict: the build is retried while attempts are left. A failed post-run spoils a success only.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
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
    """What a build's playbooks said about the build itself by `zuul_return`, as far as the result depends on it, and whether a line
    of output matched the job's failure-output."""

    retry: bool = True
    failure_output: bool = False


@dataclass(frozen=True, slots=True)
class Verdict:
    """`result` is None while there is none; `retry` says that a new build of the same job shall follow in place of a result."""

    result: str | None
    retry: bool = False


def script(job: FrozenJob, phase: Phase) -> tuple[Playbook, ...]:
    """The playbooks of one phase in the order they are played."""
    match phase:
        case Phase.PRE:
            return job.pre_run
        case Phase.RUN:
            return job.run
        case Phase.POST:
            return tuple(playbook for playbook in job.post_run if not playbook.cleanup)
        case Phase.CLEANUP:
            return tuple(playbook for playbook in job.post_run if playbook.cleanup)


def following(job: FrozenJob, played: Sequence[Played], cancelled: bool = False) -> tuple[Phase, Playbook] | None:
    """The playbook to play after those `played` so far (in order), or None when the build has ended."""
    done = {phase: [one for one in played if one.phase == phase] for phase in Phase}
    for phase, playbooks in _phases(job, played, cancelled):
        if len(done[phase]) < len(playbooks):
            return phase, playbooks[len(done[phase])]
    return None


def _phases(job: FrozenJob, played: Sequence[Played], cancelled: bool) -> Iterator[tuple[Phase, tuple[Playbook, ...]]]:
    """Each phase with those of its playbooks that are to be played, as far as is known now."""
    if not cancelled:
        failed = {one.phase: one for one in reversed(played) if one.outcome != Outcome.OK}
        post = script(job, Phase.POST)
        if Phase.PRE in failed:
            level = failed[Phase.PRE].playbook.nesting_level
            post = tuple(playbook for playbook in post if playbook.nesting_level <= level)
        else:
            yield Phase.PRE, script(job, Phase.PRE)
            if Phase.RUN not in failed:
                yield Phase.RUN, script(job, Phase.RUN)
        yield Phase.POST, post
    yield Phase.CLEANUP, script(job, Phase.CLEANUP)


def succeeded(played: Sequence[Played]) -> bool:
    """`zuul_success` as post-run playbooks see it: nothing before them, nor one of them, failed."""
    return any(one.phase == Phase.RUN for one in played) and all(one.outcome == Outcome.OK for one in played)


def verdict(job: FrozenJob, played: Sequence[Played], attempt: int, said: Said = Said()) -> Verdict:
    """The result that `attempt` (from 1) of the job has come to. Result strings are Zuul's (reference: its manual, "Build Status")."""
    result = _result(played, said)
    if result is not None:
        return Verdict(result)
    if not said.retry:
        return Verdict("FAILURE")
    return Verdict("RETRY", retry=True) if attempt < job.attempts else Verdict("RETRY_LIMIT")


def _result(played: Sequence[Played], said: Said) -> str | None:
    """None: the attempt says nothing about the change."""
    by_phase = {phase: [one.outcome for one in played if one.phase == phase] for phase in Phase}
    if any(outcome != Outcome.OK for outcome in by_phase[Phase.PRE]) or not by_phase[Phase.RUN]:
        return None
    lost = {Outcome.UNREACHABLE, Outcome.CRASHED}
    if lost.intersection(by_phase[Phase.RUN]) or Outcome.UNREACHABLE in by_phase[Phase.POST]:
        return None
    if Outcome.TIMED_OUT in by_phase[Phase.RUN]:
        return "TIMED_OUT"
    if Outcome.FAILED in by_phase[Phase.RUN] or said.failure_output:
        return "FAILURE"
    return "SUCCESS" if all(outcome == Outcome.OK for outcome in by_phase[Phase.POST]) else "POST_FAILURE"


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
