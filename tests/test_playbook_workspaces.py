"""Where a build's playbooks find repositories, roles, nodes and facts."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest

from headgate.jobs import Playbook, RoleSource
from headgate.results import Verdict
from tasks.playbooks import Build, BuildProblem, run_build
from tasks.workspace import Checkout, WorkspaceProblem, make_workspace
from tests.services.workshop import PROJECT, Workshop, tasks


async def test_workspace_of_a_local_node_has_the_merged_files(workshop: Workshop) -> None:
    plan = await workshop.plan(
        run=tasks(
            "{shell: 'git log -1 --format=%H; git branch --show-current; git status --porcelain; ls a.txt', args: {chdir: src/"
            + PROJECT
            + "}}"
        ),
        nodes={"primary": workshop.local_node()},
    )
    await run_build(plan)
    assert workshop.said(plan)[:3] == [plan.facts.projects[0].commit, "main", "a.txt"]


async def test_empty_nodeset_runs_on_localhost_with_the_files_checked_out(workshop: Workshop) -> None:
    plan = await workshop.plan(
        run=tasks(
            "{shell: 'cat {{ zuul.project.src_dir }}/a.txt; pwd', args: {chdir: '{{ zuul.executor.work_root }}'}}",
            "{debug: {msg: '{{ colour }}'}}",
            hosts="localhost",
        ),
        vars={"colour": "teal"},
    )
    assert (await run_build(plan)).verdict == Verdict("SUCCESS")
    said = workshop.said(plan, "localhost")
    assert said[:4] == ["one", "two", "three", "/build/work"]
    assert "teal" in said


async def test_two_nodes_have_their_own_homes_and_groups(workshop: Workshop) -> None:
    plan = await workshop.plan(
        run=tasks("{shell: 'pwd; echo $HOME; echo {{ role }}'}"),
        nodes={"one": workshop.local_node("one"), "two": workshop.local_node("two")},
        groups={"left": ("one",), "right": ("two",)},
        group_vars={"left": {"role": "l"}, "right": {"role": "r"}},
    )
    assert (await run_build(plan)).verdict == Verdict("SUCCESS")
    for name, role in (("one", "l"), ("two", "r")):
        assert workshop.said(plan, name)[:3] == [plan.nodes[name].home, plan.nodes[name].home, role]


@pytest.mark.parametrize(
    ("files", "role"),
    [
        ({"roles/greet/tasks/main.yaml": "- command: echo hello from a role\n"}, RoleSource(PROJECT, "main", False)),
        ({"tasks/main.yaml": "- command: echo hello from a role\n"}, RoleSource(PROJECT, "main", False, name="greet")),
    ],
    ids=["repository of roles", "repository that is a role"],
)
async def test_roles_come_from_the_repositories_a_playbook_names(workshop: Workshop, files: dict[str, str], role: RoleSource) -> None:
    use = "- hosts: all\n  gather_facts: false\n  roles: [greet]\n"
    plan = await workshop.plan(run=use, files=files, nodes={"primary": workshop.local_node()}, roles=(role,))
    assert (await run_build(plan)).verdict == Verdict("SUCCESS"), workshop.console(plan)
    assert workshop.said(plan)[0] == "hello from a role"


async def test_a_repository_without_roles_or_a_missing_playbook_is_one_sentence(workshop: Workshop) -> None:
    run = tasks("{shell: echo never}")
    implicit = await workshop.plan(
        run=run, nodes={"primary": workshop.local_node()}, roles=(RoleSource(PROJECT, "main", False, implicit=True),)
    )
    async with Build(implicit):
        pass
    explicit = await workshop.plan(run=run, roles=(RoleSource(PROJECT, "main", False),))
    with pytest.raises(BuildProblem, match=r"nova at main has no roles: neither tasks/ nor roles/ is there"):
        await Build(explicit).prepare()
    lost = dataclasses.replace(
        explicit, job=dataclasses.replace(explicit.job, run=(Playbook(PROJECT, "main", "playbooks/gone.yaml", False),))
    )
    with pytest.raises(BuildProblem, match=r"there is no playbook playbooks/gone.yaml in .*nova at main"):
        await Build(lost).prepare()


async def test_facts_last_from_playbook_to_playbook(workshop: Workshop) -> None:
    plan = await workshop.plan(
        pre=tasks("{set_fact: {found: '42', cacheable: true}}"),
        run=tasks("{debug: {msg: 'found {{ found }}'}}"),
        nodes={"primary": workshop.local_node()},
    )
    await run_build(plan)
    assert "found 42" in workshop.said(plan)


async def test_no_repository_is_put_where_another_one_has_a_link_to_elsewhere(workshop: Workshop, tmp_path: Path) -> None:
    (tmp_path / "outside").mkdir()
    workshop.upstream.path.joinpath("deep").symlink_to(tmp_path / "outside")
    workshop.upstream.commit("a link", {"readme": ""})
    plan = await workshop.plan(run="[]")
    commit = plan.facts.projects[0].commit
    places = [Checkout(PROJECT, "main", commit, path) for path in ("src/one/deep", "src/one")]
    with pytest.raises(WorkspaceProblem, match=r"cannot be put at src/one/deep: another repository has a link at src/one/deep"):
        await make_workspace(workshop.caches, places, tmp_path / "home", files=True)
    assert not list((tmp_path / "outside").iterdir())
