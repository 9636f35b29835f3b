"""From the push to the vote: what a developer sees in Gerrit."""

from __future__ import annotations

import asyncio
import re

import httpx
import pytest

from tests.services.installation import Installation, Proposed

pytestmark = pytest.mark.slow


async def test_a_pushed_change_gets_plus_one_and_a_message_in_zuuls_shape(ci: Installation) -> None:
    ci.commit("passes", "passes-afar")
    said = ci.server.git_review(ci.author, "-t", "a-topic", "main")
    change = Proposed(int(re.findall(r"/\+/(\d+)", said)[-1]), 1, ci.author.git("rev-parse", "HEAD"))

    report = await ci.report(change)

    assert ci.verified(change) == 1
    lines = report.splitlines()
    assert lines[0] == "Patch Set 1: Verified+1"
    assert "Build succeeded (check)." in lines
    builds = [re.fullmatch(r"- (\S+) (http://\S+/build/[0-9a-f]{32}) : SUCCESS in \d+s", line) for line in lines if line.startswith("- ")]
    assert [build and build[1] for build in builds] == ["passes", "passes-afar"]
    buildset = next(line for line in lines if "/buildset/" in line)
    for link in (buildset, *(build[2] for build in builds if build)):
        page = httpx.get(link)
        assert page.status_code == 200
        assert "passes" in page.text
    await ci.over(change)
    assert len(ci.reports(change)) == 1


async def test_a_failing_job_gives_minus_one(ci: Installation) -> None:
    change = ci.propose("passes", "fails", {"passes-afar": {"dependencies": ["fails"]}})
    report = await ci.report(change)
    assert ci.verified(change) == -1
    assert "Build failed (check)." in report
    assert re.search(r"^- passes \S+ : SUCCESS in ", report, re.MULTILINE)
    assert re.search(r"^- fails \S+ : FAILURE in ", report, re.MULTILINE)
    assert re.search(r"^- passes-afar \S+ : SKIPPED", report, re.MULTILINE)
    await ci.over(change)
    assert ci.state(ci.parent(change)) == "Failed"
    assert ci.state(ci.run_of(change, "fails")) == "Failed"


async def test_a_conflict_gives_minus_one_and_names_the_file(ci: Installation) -> None:
    change = ci.propose("passes", files={"README": "one\nTWO\nthree\n"})
    await ci.report(change)
    ci.land({"README": "one\n2\nthree\n"})
    ci.comment(change, "recheck")
    report = await ci.report(change, 2)
    assert ci.verified(change) == -1
    assert "In conflict with main: README" in report


async def test_a_configuration_error_gives_minus_one_with_file_and_line(ci: Installation) -> None:
    wrong = "- project:\n    check:\n      jobs:\n        - passes\n        - pases\n"
    report = await ci.report(change := ci.propose(files={"zuul.d/project.yaml": wrong}))
    assert ci.verified(change) == -1
    assert re.search(r"zuul\.d/project\.yaml:\d", report), report
    assert "pases" in report

    report = await ci.report(change := ci.propose(files={"zuul.d/project.yaml": "- project: {check: [\n"}))
    assert ci.verified(change) == -1
    assert re.search(r"zuul\.d/project\.yaml:\d", report), report


async def test_recheck_runs_again_and_votes_again(ci: Installation) -> None:
    change = ci.propose("waits")
    (await ci.bell.ring(change.number)).end(1)
    await ci.report(change)
    assert ci.verified(change) == -1
    ci.comment(change, "recheck")
    (await ci.bell.ring(change.number, number=2)).end(0)
    await ci.report(change, 2)
    assert ci.verified(change) == 1
    ci.comment(change, "what a fine change")
    await ci.over(change)
    assert len(ci.reports(change)) == 2


async def test_a_new_patchset_takes_the_place_of_the_old_one(ci: Installation) -> None:
    old = ci.propose("waits", "waits-afar")
    rings = [await ci.bell.ring(old.number, job) for job in ("waits", "waits-afar")]
    new = ci.amend(old, files={"more": "of it"})
    await ci.over(old)
    assert {ci.state(run) for run in ci.runs(old).values()} == {"Cancelled"}
    assert all(ring.gone for ring in rings)
    assert not await ci.nodes(old)
    for job in ("waits", "waits-afar"):
        (await ci.bell.ring(new.number, job, 2)).end(0)
    await ci.report(new)
    assert ci.verified(new) == 1
    assert ci.reports(old) == []


async def test_an_abandoned_change_stops_and_is_not_voted_on(ci: Installation) -> None:
    change = ci.propose("waits", {"passes": {"dependencies": ["waits"]}})
    ring = await ci.bell.ring(change.number)
    ci.abandon(change)
    await ci.over(change)
    assert {ci.state(run) for run in ci.runs(change).values()} == {"Cancelled"}
    assert ring.gone
    assert not await ci.nodes(change)
    assert ci.reports(change) == []


async def test_twenty_changes_at_once_get_twenty_votes_each_said_once(ci: Installation) -> None:
    changes = ci.propose_many(20, "passes")
    await asyncio.gather(*(ci.report(change, seconds=280) for change in changes))
    for change in changes:
        await ci.over(change)
        assert len(ci.reports(change)) == 1
        assert ci.verified(change) == 1
