"""What a page shows of stored facts: pure functions from records to what the templates print."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime

from pydantic import TypeAdapter, ValidationError

from headgate.builds import CANCELED, SKIPPED, SUCCESS, Place, buildset_result, current, failing, of_job, results
from headgate.images import BuildState, UploadState
from headgate.jobs import FrozenJob
from headgate.records import Build, Buildset
from headgate.tested import SuiteResult
from services.web.reader import QueuedItem

_suite_result = TypeAdapter(SuiteResult)

WAITING, RUNNING = "waiting", "running"
KINDS: Mapping[str, str] = {SUCCESS: "success", SKIPPED: "skipped", CANCELED: "skipped", "ABORTED": "skipped"}
"""How a result looks; every other one looks like a failure."""


@dataclass(frozen=True, slots=True)
class JobView:
    """One job of an item: `kind` is how it looks (success, failure, soft-failure, skipped, running, waiting), `text` what it says,
    `why` what it waits for; `change` the one it runs for if the item has several."""

    name: str
    kind: str
    text: str
    voting: bool = True
    build: Build | None = None
    attempts: int = 1
    expected: float | None = None
    why: str = ""
    change: str = ""


@dataclass(frozen=True, slots=True)
class ItemView:
    """An item on the status page. `counts` are jobs by kind, in the order in which they are drawn."""

    queued: QueuedItem
    kind: str
    text: str
    jobs: tuple[JobView, ...]
    counts: tuple[tuple[str, int], ...]


def kind_of(build: Build) -> str:
    """How a build looks."""
    if build.result is None:
        return "skipped" if build.ended else RUNNING if build.started else WAITING
    kind = KINDS.get(build.result, "failure")
    return "soft-failure" if kind == "failure" and not build.voting else kind


def text_of(build: Build) -> str:
    """What a build says of itself in a word or two."""
    if build.result is not None:
        return build.result
    if build.ended:
        return "RETRY"
    return "preparing" if build.started is None else "running, failing" if build.failing else "running"


def job_view(job: FrozenJob, build: Build | None, expected: float | None = None, why: str = "") -> JobView:
    if build is None or (build.result is None and build.ended):
        return JobView(job.name, WAITING, "waiting", job.voting, build, job.attempts, expected, why or _waits_for(job))
    return JobView(job.name, kind_of(build), text_of(build), job.voting, build, job.attempts, expected, "" if build.started else why)


def _waits_for(job: FrozenJob) -> str:
    return ", ".join(dependency.name for dependency in job.dependencies)


def jobs_of(
    buildset: Buildset | None, builds: Iterable[Build], waiting: Mapping[Place, str], expected: Mapping[str, float]
) -> tuple[JobView, ...]:
    """Every job of the graph in its order, with the build that counts."""
    if buildset is None or buildset.graph is None:
        return ()
    known = current(builds)
    found = []
    for job in buildset.graph.jobs:
        view = job_view(job, of_job(job, known), expected.get(job.name), of_job(job, waiting) or "")
        several = len(buildset.changes) > 1
        found.append(replace(view, change=", ".join(str(buildset.changes[each]) for each in job.changes) if several else ""))
    return tuple(found)


def item_view(queued: QueuedItem) -> ItemView:
    jobs = jobs_of(queued.buildset, queued.builds, queued.waiting, queued.expected)
    kind, text = _item_state(queued, jobs)
    order = ("success", "failure", "soft-failure", "skipped", RUNNING, WAITING)
    counts = tuple((name, count) for name in order if (count := sum(job.kind == name for job in jobs)))
    return ItemView(queued, kind, text, jobs, counts)


def _item_state(queued: QueuedItem, jobs: Sequence[JobView]) -> tuple[str, str]:
    buildset = queued.buildset
    if buildset is None:
        return WAITING, queued.why or "preparing"
    if buildset.problem:
        return "failure", result_text(buildset.problem)
    if buildset.graph is None:
        return WAITING, queued.why or "preparing"
    known = results(queued.builds)
    done = buildset_result(buildset.graph, known)
    if done == SUCCESS:
        return "success", queued.why or "reporting success"
    if done:
        return "failure", queued.why or "reporting failure"
    if failing(buildset.graph, known) or any(job.voting and _will_fail(job.build) for job in jobs):
        return "failure", "failing"
    if any(job.kind != WAITING for job in jobs):
        return RUNNING, queued.why or "running"
    return WAITING, queued.why or "waiting"


def _will_fail(build: Build | None) -> bool:
    return build is not None and build.ended is None and build.failing is not None


def buildset_summary(buildset: Buildset, builds: Iterable[Build]) -> tuple[str, str]:
    """Kind and result of a whole buildset."""
    if buildset.problem:
        return "failure", buildset.problem
    if buildset.graph is None:
        return WAITING, "preparing"
    known = results(builds)
    if result := buildset_result(buildset.graph, known):
        return KINDS.get(result, "failure"), result
    return ("failure", "failing") if failing(buildset.graph, known) else (RUNNING, "running")


def result_text(result: str) -> str:
    """MERGE_CONFLICT as a person would say it."""
    return result.replace("_", " ").lower()


@dataclass(frozen=True, slots=True)
class Artifact:
    name: str
    url: str


def artifacts_of(build: Build) -> tuple[Artifact, ...]:
    """What the job returned as `zuul.artifacts`, links to http(s) or into its own logs only."""
    zuul = build.data.get("zuul")
    entries = zuul.get("artifacts") if isinstance(zuul, Mapping) else None
    found = []
    for entry in entries if isinstance(entries, Sequence) and not isinstance(entries, str) else ():
        url = entry.get("url") if isinstance(entry, Mapping) else None
        if isinstance(url, str) and url.startswith(("https://", "http://")):
            found.append(Artifact(str(entry.get("name", url)), url))
        elif isinstance(url, str) and ":" not in url and not url.startswith("/"):
            found.append(Artifact(str(entry.get("name", url)), f"/logs/{build.id}/{url}"))
    return tuple(found)


def safe_url(url: str) -> str:
    """A link that came from outside, or nothing: a script in a link must never be one click away."""
    return url if url.startswith(("https://", "http://")) else ""


IMAGE_KINDS: Mapping[str, str] = {
    BuildState.READY: "success",
    BuildState.BUILDING: RUNNING,
    BuildState.DELETED: "skipped",
    UploadState.UPLOADING: RUNNING,
    UploadState.PROVING: RUNNING,
    UploadState.DELETING: "skipped",
}


def image_kind(state: BuildState | UploadState) -> str:
    """How a build or an upload of an image looks."""
    return IMAGE_KINDS.get(state, "failure")


def moment(when: datetime | None) -> str:
    """For people, in UTC; the browser says it in their own time."""
    return when.astimezone(UTC).strftime("%Y-%m-%d %H:%M:%S UTC") if when else ""


def size(count: int) -> str:
    """Bytes for people."""
    amount = float(count)
    for unit in ("B", "KiB", "MiB"):
        if amount < 1024:
            return f"{amount:.0f} {unit}" if unit == "B" else f"{amount:.1f} {unit}"
        amount /= 1024
    return f"{amount:.1f} GiB"


def tests_of(build: Build) -> SuiteResult | None:
    """What the tests of a build said, as far as what is stored is of that shape: a job may have returned something else by that name."""
    zuul = build.data.get("zuul")
    try:
        return _suite_result.validate_python(zuul.get("tests"), strict=False) if isinstance(zuul, Mapping) and "tests" in zuul else None
    except ValidationError:
        return None


def log_url_of(build: Build) -> str:
    """Where its logs were published besides here, "" if nowhere."""
    zuul = build.data.get("zuul")
    url = zuul.get("log_url") if isinstance(zuul, Mapping) else None
    return safe_url(url) if isinstance(url, str) else ""
