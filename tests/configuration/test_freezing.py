"""How variants, parents, templates and matchers become a graph. Each rule was also compared with Zuul's own code (`test_zuul_corpus`)."""

from __future__ import annotations

import re
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from headgate.configuration import FreezeFailed, Ref
from headgate.configuration.joining import deep_update
from headgate.jobs import Dependency
from tests.configuration.helpers import OTHER, PROJECT, graph, load, the_job

ATTACHED = "\n- project: {check: {jobs: [unit]}, gate: {jobs: [unit]}}\n"


def test_playbooks_nest_parents_outside() -> None:
    job = the_job(load(project="- job: {name: unit, pre-run: [a, b], post-run: [c, d], run: e}" + ATTACHED))
    assert [playbook.path for playbook in job.pre_run] == ["base/pre.yaml", "a", "b"]
    assert [playbook.path for playbook in job.post_run] == ["c", "d", "base/post.yaml"]
    assert [playbook.path for playbook in job.run] == ["e"]
    assert [playbook.nesting_level for playbook in job.pre_run] == [0, 1, 1]
    assert job.parents == ("base", "unit")


def test_playbooks_know_only_the_roles_of_their_level() -> None:
    job = the_job(load(project="- job: {name: unit, pre-run: a, roles: [{zuul: org/other}]}" + ATTACHED))
    assert [len(playbook.roles) for playbook in job.pre_run] == [1, 3]
    assert [role.project for role in job.pre_run[1].roles][:2] == [PROJECT, OTHER]


@pytest.mark.parametrize(
    ("said", "expected"),
    [
        ("{a: 2}", {"p": 1, "a": 2, "n": {"x": 1}}),
        ("{n: {y: 2}}", {"p": 1, "a": 1, "n": {"x": 1, "y": 2}}),
        ("!override {b: 3}", {"p": 1, "a": 9, "b": 3}),
        ("{n: [1]}", {"p": 1, "a": 1, "n": [1]}),
    ],
)
def test_variables_merge_over_project_variables(said: str, expected: dict[str, Any]) -> None:
    text = f"- job: {{name: up, vars: {{a: 1, n: {{x: 1}}}}}}\n- job: {{name: unit, parent: up, vars: {said}}}\n"
    job = the_job(load(project=text + "- project: {vars: {p: 1, a: 9}, check: {jobs: [unit]}}"))
    assert job.vars == expected


def test_tags_unite_and_files_are_replaced() -> None:
    text = "- job: {name: up, tags: [a], files: [x]}\n- job: {name: unit, parent: up, tags: [b], files: [y]}" + ATTACHED
    layout = load(project=text)
    assert the_job(layout).tags == ("a", "b")
    assert graph(layout, files=("x",)).names == ()
    assert graph(layout, files=("y",)).names == ("unit",)
    inherited = load(project=text.replace("files: [y]", "files: !inherit [y]"))
    assert graph(inherited, files=("x",)).names == ("unit",)


def test_implied_branch_matcher_needs_two_branches() -> None:
    text = "- job: {name: unit, vars: {a: 1}}" + ATTACHED
    alone = load({(OTHER, "master"): "- project: {check: {jobs: [unit]}}"}, project=text)
    assert graph(alone, project=OTHER).names == ("unit",)
    both = load(
        {(PROJECT, "stable"): "- job: {name: unit, vars: {b: 1}}" + ATTACHED, (PROJECT, "master"): text}, branches=("master", "stable")
    )
    assert the_job(both).vars == {"a": 1}
    assert the_job(both, branch="stable").vars == {"b": 1}


def test_branch_patterns_match_from_the_start_only() -> None:
    layout = load(project="- job: {name: unit, branches: mas}" + ATTACHED)
    assert graph(layout).names == ("unit",)


def test_job_without_a_matching_parent_is_not_run() -> None:
    layout = load(project="- job: {name: up, branches: stable}\n- job: {name: unit, parent: up}" + ATTACHED)
    assert graph(layout).names == ()


def test_hard_dependency_is_forced_to_run_and_soft_is_not() -> None:
    text = "- job: {name: build, files: [src]}\n- job: {name: unit, dependencies: [DEP]}\n- project: {check: {jobs: [build, unit]}}"
    assert graph(load(project=text.replace("DEP", "build")), files=("README",)).names == ("build", "unit")
    soft = graph(load(project=text.replace("DEP", "{name: build, soft: true}")), files=("README",))
    assert soft.names == ("unit",)
    assert soft["unit"].dependencies == ()
    assert soft["unit"].declared_dependencies == (Dependency("build", True),)


def test_irrelevant_files_need_all_to_match_and_ignore_the_commit_message() -> None:
    layout = load(project="- job: {name: unit, irrelevant-files: [doc]}" + ATTACHED)
    assert graph(layout, files=("doc/a", "src")).names == ("unit",)
    assert graph(layout, files=("doc/a", "/COMMIT_MSG")).names == ()
    assert graph(layout).names == ("unit",)


def test_initializers_run_before_every_regular_job() -> None:
    text = "- job: {name: init, type: initializer}\n- job: {name: unit}\n- project: {check: {jobs: [unit, init]}}"
    assert graph(load(project=text))["unit"].dependencies == (Dependency("init", True),)


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("- job: {name: unit, abstract: true}", 'the job "unit" is abstract'),
        ("- job: {name: unit, allowed-projects: [org/other]}", "org/project may not run"),
        ("- job: {name: unit, post-review: true}", "is post-review, the pipeline"),
        ("- job: {name: unit, dependencies: [base]}", 'depends on "base", which is not run here'),
        ("- job: {name: unit, parent: locked, timeout: 5}", 'the job "locked" is final'),
        ("- job: {name: unit, parent: guarded, timeout: 5}", "is protected"),
        ("- job: {name: unit, parent: tagged, tags: [b]}", "tags of the job"),
        ("- job: {name: unit, parent: empty}", "has no run playbook"),
        ("- job: {name: unit, secrets: [mine], run: x}\n- secret: {name: mine, data: {a: b}}", "is post-review"),
        ("- job: {name: unit, type: reporter}", "may not configure a reporter job"),
    ],
)
def test_what_makes_a_buildset_a_config_error(text: str, sentence: str) -> None:
    config = """
- job: {name: locked, final: true}
- job: {name: guarded, protected: true}
- job: {name: tagged, tags: [a], attribute-control: {tags: {final: true}}}
- job: {name: empty, parent: null}
"""
    with pytest.raises(FreezeFailed, match=re.escape(sentence)):
        graph(load(config=config, project=text + ATTACHED))


def test_unknown_pipeline_is_said() -> None:
    with pytest.raises(FreezeFailed, match='no pipeline "nightly"'):
        graph(load(), pipeline="nightly")


def test_noop_is_built_in() -> None:
    (job,) = graph(load(project="- project: {check: {jobs: [noop]}}")).jobs
    assert (job.name, job.run) == ("noop", ())


def test_equal_jobs_of_a_cycle_run_once() -> None:
    config = "- job: {name: shared, required-projects: [org/project, org/other]}\n- job: {name: own}\n"
    jobs = "- project: {check: {jobs: [shared, own]}}"
    layout = load({(OTHER, "master"): jobs}, config=config, project=jobs)
    frozen = layout.freeze([Ref(PROJECT, "master"), Ref(OTHER, "master")], "check")
    assert [(job.name, job.changes) for job in frozen.jobs] == [("shared", (0, 1)), ("own", (0,)), ("own", (1,))]


def test_config_project_lifts_allowed_projects() -> None:
    config = "- job: {name: unit, allowed-projects: [config]}\n- project: {name: org/project, check: {jobs: [unit]}}"
    assert graph(load(config=config)).names == ("unit",)


def test_tag_runs_jobs_of_the_branches_that_contain_it() -> None:
    layout = load(project="- job: {name: unit}" + ATTACHED, branches=("master", "stable"))
    assert layout.freeze(Ref(PROJECT, "", (), "refs/tags/1.0", ("stable",)), "check").names == ("unit",)
    assert layout.freeze(Ref(PROJECT, "", (), "refs/tags/1.0", ()), "check").names == ()


def test_secrets_make_untrusted_jobs_post_review_and_their_own() -> None:
    layout = load(project="- job: {name: unit, secrets: [mine], run: x}\n- secret: {name: mine, data: {a: b}}" + ATTACHED)
    job = the_job(layout, pipeline="gate")
    assert job.post_review
    assert [use.name for use in job.run[0].secrets] == ["mine"]
    assert job.pre_run[0].secrets == ()


def test_queue_of_a_template_and_of_a_branch() -> None:
    layout = load(
        project="- queue: {name: q, allow-circular-dependencies: true}\n"
        "- project-template: {name: t, queue: q}\n- project: {templates: [t]}"
    )
    queue = layout.queue_of(PROJECT, "master")
    assert queue is not None
    assert (queue.name, queue.allow_circular_dependencies) == ("q", True)
    assert layout.queue_of(OTHER, "master") is None


VALUES = st.recursive(
    st.integers() | st.text(max_size=3),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=2), inner),
    max_leaves=8,
)
MAPPINGS = st.dictionaries(st.text(max_size=2), VALUES, max_size=4)


@given(MAPPINGS, MAPPINGS, MAPPINGS)
def test_merging_variables_is_associative_and_the_later_wins(one: dict[str, Any], two: dict[str, Any], three: dict[str, Any]) -> None:
    assert deep_update(one, {}) == one == deep_update({}, one) == deep_update(one, one)
    merged = deep_update(one, two)
    assert all(merged[key] == two[key] for key in two if not isinstance(two[key], dict) or not isinstance(one.get(key), dict))
    assert set(merged) == {*one, *two}
    if not any(isinstance(value, dict) for value in (*one.values(), *two.values(), *three.values())):
        assert deep_update(deep_update(one, two), three) == deep_update(one, deep_update(two, three))
