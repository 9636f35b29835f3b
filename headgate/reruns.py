"""What a person who wants jobs run again asks for in a review, and what comes of the results.

Law: `recheck failed` and `recheck JOB...` on the first line of a comment run only those jobs again, on the same merged state. When they
have ended the results are added up again; whether the change's vote follows is the policy. In a gate it never does: what merges is
decided while the item is there.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise

from headgate.builds import SKIPPED, SUCCESS, Place, current
from headgate.records import Build

EVIDENCE, VOTE, VOTES_AFTER = "evidence", "vote", "votes-after"
_HEADER = re.compile(r"\APatch Set \d+:[^\n]*\n\n")
_ASKED = re.compile(r"\Arecheck[ \t]+(\S[^\n]*)", re.IGNORECASE)
FAILED = "failed"


@dataclass(frozen=True, slots=True)
class Policy:
    """`kind` is evidence (said, no vote changes), vote (the vote is renewed), or votes-after: renewed once every job that was run again
    has had its newest result `times` times in a row."""

    kind: str = VOTE
    times: int = 1


def parse_policy(text: str) -> Policy:
    """`evidence`, `vote` or `votes-after N`. Raises `ValueError` with a sentence."""
    kind, _, times = text.partition(" ")
    if kind in (EVIDENCE, VOTE) and not times:
        return Policy(kind)
    if kind == VOTES_AFTER and times.strip().isdecimal() and int(times) > 0:
        return Policy(VOTES_AFTER, int(times))
    raise ValueError(f"'{text}' is no policy for reruns; allowed are {EVIDENCE}, {VOTE}, {VOTES_AFTER} N")


def asked_in(comment: str) -> tuple[str, ...]:
    """The words after `recheck` in a comment as Gerrit's events have it; () if it is no such comment."""
    found = _ASKED.match(_HEADER.sub("", comment).strip())
    return tuple(found[1].split()) if found else ()


def wanted(words: Sequence[str], builds: Iterable[Build]) -> list[Build]:
    """The builds to run again: those that failed, or of the jobs named. [] when any word is neither, or one has not ended."""
    known = [build for build in current(builds).values() if build.flow_run is not None and build.result != SKIPPED]
    if any(build.result is None for build in known):
        return []
    if [word.lower() for word in words] == [FAILED]:
        return [build for build in known if build.result != SUCCESS]
    if not set(words) <= {build.job for build in known}:
        return []
    return [build for word in dict.fromkeys(words) for build in known if build.job == word]


def may_vote(policy: Policy, manager: str, builds: Iterable[Build]) -> bool:
    """Does the vote follow these builds?"""
    if manager == "dependent" or policy.kind == EVIDENCE:
        return False
    if policy.kind == VOTE:
        return True
    rounds = _last_of_rounds(builds)
    again = {job: results for job, results in rounds.items() if len(results) > 1}
    return all(len(set(results[1:][-policy.times :])) == 1 and len(results) > policy.times for results in again.values())


def _last_of_rounds(builds: Iterable[Build]) -> Mapping[Place, list[str | None]]:
    """Each job's results, one for each round, oldest first."""
    last: dict[tuple[Place, int], Build] = {}
    for build in builds:
        place = ((build.job, build.position), build.round)
        known = last.get(place)
        if known is None or build.attempt > known.attempt:
            last[place] = build
    found: dict[Place, list[str | None]] = {}
    for job, round in sorted(last):
        found.setdefault(job, []).append(last[(job, round)].result)
    return found


@dataclass(frozen=True, slots=True)
class Flakiness:
    """How a job did when it ran again on the same state: `changed` of its `reruns` had another result than the run before.

    `reasons` are what the reruns were asked for with, and how often, the most frequent first.
    """

    job: str
    reruns: int
    changed: int
    reasons: tuple[tuple[str, int], ...] = ()

    @property
    def share(self) -> float:
        """0 for a job that always comes to the same, 1 for one that never does."""
        return self.changed / self.reruns if self.reruns else 0.0


def flakiness(builds: Iterable[Build]) -> list[Flakiness]:
    """Of the jobs among these builds (of any number of buildsets) that ran again, those that changed most often first."""
    by_buildset: dict[str, list[Build]] = {}
    reasons: dict[str, Counter[str]] = {}
    for build in builds:
        by_buildset.setdefault(build.buildset, []).append(build)
        if build.round > 1 and build.attempt == 1:
            reasons.setdefault(build.job, Counter())[build.reason or "no reason given"] += 1
    reruns: Counter[str] = Counter()
    changed: Counter[str] = Counter()
    for mine in by_buildset.values():
        for (job, _), results in _last_of_rounds(mine).items():
            ended = [result for result in results if result is not None]
            reruns[job] += max(len(ended) - 1, 0)
            changed[job] += sum(one != other for one, other in pairwise(ended))
    found = [Flakiness(job, count, changed[job], tuple(reasons[job].most_common())) for job, count in reruns.items() if count]
    return sorted(found, key=lambda each: (-each.changed, -each.reruns, each.job))
