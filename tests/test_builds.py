from dataclasses import replace
from datetime import UTC, datetime, timedelta

from headgate.builds import Choices, buildset_result, choices, current, next_jobs, results
from headgate.jobs import Dependency, FrozenJob, JobGraph
from headgate.records import Build, Buildset
from headgate.reports import duration, job_lines, report_id, report_message

NOON = datetime(2026, 1, 1, 12, tzinfo=UTC)


def job(name: str, *after: str, soft: tuple[str, ...] = (), voting: bool = True) -> FrozenJob:
    dependencies = tuple(Dependency(n) for n in after) + tuple(Dependency(n, soft=True) for n in soft)
    return FrozenJob(name=name, dependencies=dependencies, voting=voting)


def graph(*jobs: FrozenJob) -> JobGraph:
    return JobGraph(jobs)


def build(name: str, result: str | None, round: int = 1, attempt: int = 1, seconds: float = 7) -> Build:
    return Build(
        id=f"{name}-{round}-{attempt}",
        buildset="b",
        job=name,
        attempt=attempt,
        voting=True,
        created=NOON,
        started=NOON,
        ended=NOON + timedelta(seconds=seconds) if result else None,
        result=result,
        round=round,
    )


def test_jobs_without_dependencies_start_together() -> None:
    assert next_jobs(graph(job("a"), job("b")), {}).start == ("a", "b")


def test_a_job_waits_for_what_it_depends_on() -> None:
    two = graph(job("a"), job("b", "a"))
    assert next_jobs(two, {}).start == ("a",)
    assert next_jobs(two, {}, begun=["a"]).start == ()
    assert next_jobs(two, {"a": "SUCCESS"}, begun=["a"]).start == ("b",)


def test_a_failed_dependency_skips_everything_behind_it() -> None:
    after = next_jobs(graph(job("a"), job("b", "a"), job("c", "b"), job("d")), {"a": "FAILURE", "d": "SUCCESS"})
    assert after.skip == ("b", "c")
    assert after.done


def test_a_soft_dependency_that_was_skipped_does_not_hold_a_job_back() -> None:
    assert next_jobs(graph(job("a"), job("b", "a"), job("c", soft=("b",))), {"a": "FAILURE"}).start == ("c",)


def test_a_soft_dependency_that_failed_skips() -> None:
    assert next_jobs(graph(job("a"), job("c", soft=("a",))), {"a": "TIMED_OUT"}).skip == ("c",)


def test_a_non_voting_failure_does_not_fail_the_buildset() -> None:
    assert buildset_result(graph(job("a"), job("b", voting=False)), {("a", 0): "SUCCESS", ("b", 0): "FAILURE"}) == "SUCCESS"


def test_all_skipped_is_a_failure() -> None:
    assert buildset_result(graph(job("a"), job("b")), {("a", 0): "SKIPPED", ("b", 0): "SKIPPED"}) == "FAILURE"


def test_a_result_missing_means_no_result_yet() -> None:
    assert buildset_result(graph(job("a"), job("b")), {("a", 0): "FAILURE"}) is None


def test_the_newest_attempt_of_the_newest_round_counts() -> None:
    builds = [build("a", "FAILURE"), build("a", None, round=2, attempt=1), build("a", "SUCCESS", round=2, attempt=2)]
    assert current(builds)[("a", 0)].id == "a-2-2"
    assert results(builds) == {("a", 0): "SUCCESS"}


def test_a_rerun_under_way_hides_the_old_result() -> None:
    assert results([build("a", "FAILURE"), build("a", None, round=2)]) == {}


def test_another_rerun_is_another_report_and_the_same_evidence_the_same() -> None:
    buildset = Buildset(id="b", item="i", created=NOON)
    first = report_id(buildset, "FAILURE", [build("a", "FAILURE")])
    assert first == report_id(buildset, "FAILURE", [build("a", "FAILURE")])
    assert first != report_id(buildset, "FAILURE", [build("a", "FAILURE"), build("a", "FAILURE", round=2)])


def test_the_message_has_zuuls_shape() -> None:
    lines = job_lines(
        graph(job("a"), job("b", voting=False)), [build("a", "FAILURE", seconds=187), build("b", "SUCCESS")], "http://ci", NOON
    )
    assert report_message("Build failed (check).", "http://ci/buildset/b", lines) == (
        "Build failed (check).\nhttp://ci/buildset/b\n\n"
        "- a http://ci/build/a-1-1 : FAILURE in 3m 07s\n"
        "- b http://ci/build/b-1-1 : SUCCESS in 7s (non-voting)"
    )


def test_durations_are_written_as_zuul_writes_them() -> None:
    assert [duration(seconds) for seconds in (7, 187, 3787)] == ["7s", "3m 07s", "1h 03m 07s"]


def test_a_paused_job_lets_those_that_depend_on_it_start_and_is_not_done() -> None:
    jobs = graph(job("registry"), job("unit", "registry"), job("docs"))
    paused = replace(build("registry", None), data={"zuul": {"pause": True, "child_jobs": ["unit"]}})
    chosen = choices(jobs, [paused])
    assert chosen == Choices(frozenset(), frozenset({"registry"}))
    step = next_jobs(jobs, {name: result for (name, _), result in results([paused]).items()}, ["registry", "docs"], chosen)
    assert (step.start, step.done) == (("unit",), False)


def test_jobs_that_a_job_has_not_chosen_are_skipped_with_what_depends_on_them() -> None:
    jobs = graph(job("build"), job("unit", "build"), job("docs", "build"), job("publish", "docs"))
    done = replace(build("build", "SUCCESS"), data={"zuul": {"child_jobs": ["unit"]}})
    step = next_jobs(jobs, {name: result for (name, _), result in results([done]).items()}, ["build"], choices(jobs, [done]))
    assert (step.start, step.skip) == (("unit",), ("docs", "publish"))
    assert choices(jobs, [replace(done, result="FAILURE")]) == Choices()
