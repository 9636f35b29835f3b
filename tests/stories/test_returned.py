"""Jobs that say something to other jobs and to the reviewer by `zuul_return`."""

from __future__ import annotations

import httpx
import pytest
import yaml

from tests.services.installation import Installation, project_stanza

pytestmark = pytest.mark.slow


def play(*tasks: object) -> str:
    return yaml.safe_dump([{"hosts": "all", "gather_facts": False, "tasks": list(tasks)}])


def say(text: str) -> object:
    return {"debug": {"msg": text}}


FILES = {
    "zuul.d/more.yaml": (
        "- job: {name: registry, run: playbooks/registry.yaml, post-run: playbooks/after.yaml}\n"
        "- job: {name: uses, run: playbooks/uses.yaml, include-vars: [colours.yaml], dependencies: [registry],\n"
        "        vars: {image: '{{ zuul.artifacts[0] }}'}}\n"
        "- job: {name: unused, run: playbooks/uses.yaml, dependencies: [registry]}\n"
    ),
    "colours.yaml": "colour: teal\nport: 1\n",
    "playbooks/registry.yaml": play(
        {
            "zuul_return": {
                "data": {
                    "port": 5000,
                    "host": "registry.example.org",
                    "zuul": {
                        "pause": True,
                        "child_jobs": ["uses"],
                        "log_url": "https://logs.example.org/1",
                        "artifacts": [{"name": "image", "url": "image.tar"}],
                        "warnings": ["the registry is slow"],
                        "file_comments": {"README": [{"line": 2, "message": "a typo"}], "absent": [{"line": 1, "message": "x"}]},
                    },
                },
                "secret_data": {"token": "hunter2hunter2"},
            }
        }
    ),
    "playbooks/after.yaml": play(say("ended after those that used it")),
    "playbooks/uses.yaml": play(
        say("at {{ host }}:{{ port }} in {{ colour }}: {{ image.name }} from {{ image.url }} of {{ image.job }}"),
        say("token of {{ token | length }}"),
    ),
    "README": "one\ntypoo\nthree\n",
}


async def test_a_paused_job_serves_the_one_it_chose_and_the_reviewer_reads_what_it_returned(ci: Installation) -> None:
    change = ci.propose("registry", "uses", "unused", files=FILES)
    report = await ci.report(change)
    assert ": SUCCESS" in report
    assert "Warning:\n  registry: the registry is slow" in report
    assert "registry: Comments left for a file that the change does not touch: absent" in report
    rows = {row["job"]: row for row in await ci.ask("select job, id, result, started, ended from builds order by created")}
    jobs = {name: rows[name] for name in ("registry", "uses", "unused")}
    assert {name: row["result"] for name, row in jobs.items()} == {"registry": "SUCCESS", "uses": "SUCCESS", "unused": "SKIPPED"}
    assert jobs["registry"]["started"] < jobs["uses"]["started"] < jobs["uses"]["ended"] < jobs["registry"]["ended"]
    console = httpx.get(f"{ci.web}/api/console/{jobs['uses']['id']}").text
    assert "at registry.example.org:1 in teal: image from https://logs.example.org/1/image.tar of registry" in console
    assert "token of 14" in console
    paused = httpx.get(f"{ci.web}/api/console/{jobs['registry']['id']}").text
    assert paused.index("PAUSED until unused, uses have ended") < paused.index("RESUMED") < paused.index("ended after those that used it")
    comments = ci.server.gerrit.api("GET", f"changes/{change.number}/comments")
    assert [(each["line"], each["message"]) for each in comments["README"]] == [(2, "registry: a typo")]
    assert ci.verified(change) == 1


def remark(path: str) -> str:
    return play({"zuul_return": {"data": {"zuul": {"file_comments": {path: [{"line": 1, "message": "seen"}]}}}}})


async def test_what_jobs_return_about_changes_that_need_each_other_is_said_on_the_change_that_it_is_about(ci: Installation) -> None:
    jobs = "".join(f"- job: {{name: look-at-{name}, run: playbooks/{name}.yaml, files: {name}}}\n" for name in "ab")
    (stanza,) = yaml.safe_load(project_stanza(["look-at-a", "look-at-b"]))
    stanza["project"]["queue"] = "circles"
    queue = {"queue": {"name": "circles", "allow-circular-dependencies": True}}
    playbooks = {f"playbooks/{name}.yaml": remark(name) for name in "ab"}
    ci.land({"zuul.d/project.yaml": yaml.safe_dump([queue, stanza]), "zuul.d/more.yaml": jobs, **playbooks})
    url = f"{ci.server.settings().url}/c/{ci.server.project}/+/"
    first = ci.propose(files={"a": "one\n"}, message="The first")
    await ci.report(first)
    second = ci.propose(files={"b": "one\n"}, message=f"The second\n\nDepends-On: {url}{first.number}")
    await ci.report(second)
    first = ci.amend(first, message=f"The first\n\nDepends-On: {url}{second.number}")
    for change in (first, second):
        report = await ci.report(change, 1 if change is first else 2)
        assert "look-at-a" in report and "look-at-b" in report and "does not touch" not in report
        comments = ci.server.gerrit.api("GET", f"changes/{change.number}/revisions/{change.patchset}/comments")
        file = "a" if change is first else "b"
        assert {path: {each["message"] for each in said} for path, said in comments.items() if path in "ab"} == {
            file: {f"look-at-{file}: seen"}
        }
