"""Every result that one job can have beside others, each from its real cause, in one change. docs/results.md has them all."""

from __future__ import annotations

import re

import pytest

from tests.services.installation import Installation

pytestmark = pytest.mark.slow

JOBS = """\
- job: {name: fails-before, parent: passes, pre-run: playbooks/fails.yaml, attempts: 2}
- job: {name: fails-after, parent: passes, post-run: playbooks/fails.yaml}
- job: {name: takes-long, parent: waits, timeout: 3}
- job: {name: has-no-playbook, run: playbooks/absent.yaml}
- job: {name: has-no-node, parent: passes, nodeset: {nodes: [{name: n, label: nowhere}]}}
- job: {name: has-another-node, parent: passes, nodeset: {alternatives: [{nodes: [{name: n, label: nowhere}]},
    {nodes: [{name: n, label: local}]}]}}
- job: {name: needs-what-fails, parent: passes, dependencies: [fails]}
"""
RESULTS = {
    "passes": "SUCCESS",
    "fails": "FAILURE",
    "fails-before": "RETRY_LIMIT",
    "fails-after": "POST_FAILURE",
    "takes-long": "TIMED_OUT",
    "has-no-playbook": "ERROR",
    "has-no-node": "NODE_FAILURE",
    "has-another-node": "SUCCESS",
    "needs-what-fails": "SKIPPED",
}


async def test_each_job_of_a_change_has_the_result_of_what_became_of_it(ci: Installation) -> None:
    change = ci.propose(*RESULTS, files={"zuul.d/more.yaml": JOBS})
    report = await ci.report(change)
    assert dict(re.findall(r"^- (\S+) \S+ : ([A-Z_]+)", report, re.MULTILINE)) == RESULTS
    assert ci.verified(change) == -1
    builds = await ci.ask(
        "select builds.job, attempt, builds.result, builds.message from builds join buildsets on buildsets.id = builds.buildset "
        "join items on items.id = buildsets.item where items.change_key = $1 order by attempt",
        f"review/{change.number}/1",
    )
    assert [row["result"] for row in builds if row["job"] == "fails-before"] == [None, "RETRY_LIMIT"]
    why = {row["job"]: row["message"] for row in builds}
    assert "there is no playbook playbooks/absent.yaml" in why["has-no-playbook"]
