"""The commands on a small tree, laid out as Zuul's fixtures are."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pygit2
import pytest
import typer
from typer.testing import CliRunner

import cli.configuration
from headgate.configuration.encryption import new_private_key
from tests.configuration.helpers import BASE

PROJECT = "- job: {name: unit, files: [src/], timeout: 5}\n- project: {check: {jobs: [unit, noop]}}\n"


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    (tmp_path / "main.yaml").write_text(
        "- tenant: {name: example, source: {gerrit: {config-projects: [config], untrusted-projects: [org/project]}}}"
    )
    for name, text in (("config", BASE), ("org_project", PROJECT), ("org_project@stable", PROJECT)):
        (tmp_path / "git" / name).mkdir(parents=True)
        (tmp_path / "git" / name / "zuul.yaml").write_text(text)
    return tmp_path


def run(*arguments: object, code: int = 0) -> str:
    app = typer.Typer()
    cli.configuration.register(app)
    result = CliRunner().invoke(app, [str(each) for each in arguments])
    assert result.exit_code == code, (result.output, result.exception)
    return result.output or str(result.exception)


QUESTION = ("--tenant", "example", "--pipeline", "check", "--project", "org/project")


def test_jobs_in_the_form_that_tools_read(tree: Path) -> None:
    answer = json.loads(run("jobs", tree, *QUESTION, "--file", "src/a", "--json"))
    assert {key: answer[key] for key in ("tenant", "project", "pipeline", "branch", "files", "config_errors")} == {
        "tenant": "example", "project": "org/project", "pipeline": "check", "branch": "master", "files": ["src/a"], "config_errors": []
    }  # fmt: skip
    job = answer["jobs"][0]
    assert list(job) == [
        "name",
        "parents",
        "voting",
        "attempts",
        "timeout",
        "post_timeout",
        "dependencies",
        "semaphores",
        "tags",
        "provides",
        "requires",
        "vars",
        "extra_vars",
        "host_vars",
        "group_vars",
        "required_projects",
        "nodeset",
        "pre_run",
        "run",
        "post_run",
    ]
    assert job["parents"] == ["base", "unit"]
    assert job["pre_run"][0]["path"] == "base/pre.yaml"


def test_batch_answers_each_query_in_order(tree: Path) -> None:
    query = {"tenant": "example", "pipeline": "check", "project": "org/project", "branch": "stable", "files": ["README"]}
    queries: list[Any] = [query, {**query, "pipeline": "nightly"}, {**query, "project": "org/projct"}, {"tenant": "example"}, 5]
    (tree / "queries.json").write_text(json.dumps(queries))
    answers = json.loads(run("jobs", tree, "--batch", tree / "queries.json", "--json"))
    assert [[job["name"] for job in each.get("jobs", [])] for each in answers] == [["noop"], [], [], [], []]
    assert 'did you mean "org/project"?' in answers[2]["error"]
    assert all(each["error"] for each in answers[1:])


def test_overlay_is_a_proposed_branch(tree: Path) -> None:
    proposed = tree / "proposed"
    proposed.mkdir()
    (proposed / "zuul.yaml").write_text(PROJECT.replace("timeout: 5", "timeout: 6"))
    overlay = f"org/project@master={proposed}"
    answer = json.loads(run("jobs", tree, *QUESTION, "--file", "zuul.yaml", "--overlay", overlay, "--json"))
    assert [(job["name"], job["timeout"]) for job in answer["jobs"]] == [("unit", 6), ("noop", None)]
    assert run("diff", tree, "--tenant", "example", "--overlay", overlay).splitlines() == [
        "timeout: 5 -> 6",
        "    org/project (master) check: unit",
        "1 difference(s), 0 new problem(s)",
    ]
    assert "the change alters its configuration" in run("explain", tree, *QUESTION, "--file", "zuul.yaml", "--overlay", overlay)


def test_diff_says_once_what_is_the_same_for_many(tree: Path) -> None:
    proposed = tree / "proposed"
    proposed.mkdir()
    more = "- job: {name: unit, files: [src/], timeout: 5, vars: {depth: {of: 2}}, run: [a.yaml, b.yaml], dependencies: noop}\n"
    (proposed / "zuul.yaml").write_text(more + "- job: {name: more}\n- project: {check: {jobs: [unit, noop, more]}}\n")
    overlays = [f"--overlay=org/project@{branch}={proposed}" for branch in ("master", "stable")]
    said = run("diff", tree, "--tenant", "example", *overlays)
    places = ["    org/project (master) check: unit", "    org/project (stable) check: unit"]
    lines = said.splitlines()
    assert lines[:3] == ["dependencies: + noop", *places]
    assert lines[3:6] == ['vars.depth: not set -> {"of": 2}', *places]
    assert "runs now\n    org/project (master) check: more\n    org/project (stable) check: more" in said
    assert "run: + review.example.com/org/project/a.yaml (master)" in said


def test_explain_says_why_and_who(tree: Path) -> None:
    said = run("explain", tree, *QUESTION, "--file", "README")
    assert "unit does not run: no file of the change matches files: src/" in said
    assert "timeout                unit, org/project/zuul.yaml:1 (master)" in said
    assert "noop runs: it has no file matchers" in said


def test_explain_names_the_branch_that_is_not_there(tree: Path) -> None:
    assert 'no job runs: org/project has no branch "main", it has master, stable' in run("explain", tree, *QUESTION, "--branch", "main")


def test_explain_gives_no_reason_to_run_where_nothing_runs(tree: Path) -> None:
    (tree / "git" / "org_project" / "zuul.yaml").write_text(PROJECT.replace("noop", "idle") + "- job: {name: idle, abstract: true}\n")
    said = run("explain", tree, *QUESTION, "--file", "src/a")
    assert 'no job runs: the job "idle" is abstract' in said
    assert "unit does not run: no graph can be frozen, else it would: src/a matches files: src/" in said


def test_explain_names_the_project_that_gives_variables(tree: Path) -> None:
    (tree / "git" / "org_project" / "zuul.yaml").write_text(PROJECT.replace("{check:", "{vars: {depth: 1}, check:"))
    assert "vars                   project org/project, org/project/zuul.yaml:2 (master)" in run("explain", tree, *QUESTION)


def test_check_ends_with_1_on_an_error(tree: Path) -> None:
    assert "0 error(s)" in run("check", tree / "main.yaml")
    (tree / "git" / "org_project" / "zuul.yaml").write_text(
        "- job: {name: unit, timout: 5}\n- job: {name: lost, parent: nowhere, files: [doc/*]}\n"
    )
    said = run("check", tree / "main.yaml", code=1)
    assert 'did you mean "timeout"?' in said
    assert 'did you mean "doc/.*"?' in said
    assert "no pipeline runs it" in said
    found = json.loads(run("check", tree / "main.yaml", "--json", code=1))
    assert {"severity", "project", "branches", "path", "line", "column", "object", "key", "message"} <= set(found["example"][0])


def test_check_reads_repositories(tree: Path) -> None:
    repository = pygit2.init_repository(str(tree / "elsewhere"), bare=True)
    blob = repository.create_blob(b"- job: {name: unit, timeout: soon}")
    builder = repository.TreeBuilder()
    builder.insert("zuul.yaml", blob, pygit2.enums.FileMode.BLOB)
    author = pygit2.Signature("a", "a@example.org", 0, 0)
    repository.create_commit("refs/heads/main", author, author, "one", builder.write(), [])
    said = run("check", tree / "main.yaml", "--source", f"org/project={tree / 'elsewhere'}", code=1)
    assert "org/project/zuul.yaml:1:21 (main)" in said


def test_directory_inside_a_repository_is_read_itself(tree: Path) -> None:
    """As examples/ is: what lies around it is another project's."""
    pygit2.init_repository(str(tree))
    (tree / "main.yaml").write_text(
        "- tenant: {name: example, source: {gerrit: {config-projects: [config: {load-branch: main}], untrusted-projects: [org/project]}}}"
    )
    sources = ("--source", f"config={tree}/git/config", "--source", f"org/project@main={tree}/git/org_project")
    assert "tenant example: 0 error(s), 0 warning(s)" in run("check", tree / "main.yaml", *sources)
    assert run("jobs", tree, *sources, *QUESTION, "--branch", "main").splitlines()[0].startswith("unit: base")


def test_check_says_what_it_does_not_read(tree: Path) -> None:
    """A check that read nothing must not look like one that found nothing."""
    (tree / "main.yaml").write_text(
        "- tenant: {name: example, source: {gerrit: {config-projects: [config: {load-branch: main}], untrusted-projects: [absent]}}}"
    )
    said = run("check", tree, "--source", f"abset={tree}", code=1)
    assert '--source abset: no tenant has a project "abset", did you mean "absent"?' in said
    assert "config: error: is read from its branch main alone, which its directory has not (it has master)" in said
    assert "absent: warning: no directory is given for it, nothing of it is read: say --source absent=DIR" in said


def test_wrong_questions_are_one_sentence(tree: Path) -> None:
    assert 'no tenant "exmple"' in run("jobs", tree, "--tenant", "exmple", *QUESTION[2:], code=1)
    assert "must be given" in run("jobs", tree, code=1)
    assert "cannot be read" in run("check", tree / "nothing.yaml", code=1)


def test_schemas_name_every_kind() -> None:
    kinds = [next(iter(kind["properties"])) for kind in json.loads(run("schema"))["items"]["oneOf"]]
    assert {"job", "project", "pipeline", "nodeset", "secret", "pragma", "queue"} <= set(kinds)
    assert "tenant" in run("schema", "--tenants")


def test_encrypt_prints_a_stanza(tree: Path) -> None:
    (tree / "key.pem").write_text(new_private_key())
    (tree / "plain").write_text("hush")
    said = run("encrypt", "--key", tree / "key.pem", "--name", "login", "--field", "password", "--infile", tree / "plain")
    assert said.startswith("- secret:\n    name: login\n    data:\n      password: !encrypted/pkcs1-oaep\n        - ")
    assert "hush" not in said


def test_encrypt_says_what_a_key_looks_like(tree: Path) -> None:
    said = run("encrypt", "--key", tree / "main.yaml", "--infile", tree / "main.yaml", code=1)
    assert said == f'{tree}/main.yaml: not a public key in PEM, which begins with "-----BEGIN PUBLIC KEY-----"'
