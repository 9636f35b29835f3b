"""Secrets, and what trusted playbooks are told: by whom, and what nobody is shown."""

from __future__ import annotations

import dataclasses

from headgate.jobs import RoleSource
from headgate.results import Verdict
from tasks.playbooks import run_build
from tests.services.workshop import PROJECT, Workshop, tasks


async def test_a_secret_is_known_to_its_playbook_only_and_never_shown(workshop: Workshop) -> None:
    plan = await workshop.plan(
        pre=tasks(
            "{shell: 'echo {{ login.password }} | rev; echo {{ login.password }}'}", "{debug: {msg: '{{ colour }} {{ login.user }}'}}"
        ),
        run=tasks("{shell: 'grep -r k[e]strel7 /build /run /tmp . 2>/dev/null; echo {{ login is defined }}'}"),
        nodes={"primary": workshop.local_node()},
        vars={"colour": "teal"},
        trusted=True,
    )
    secret = {"login": {"user": "me", "password": "kestrel7kestrel7"}}
    outcome = await run_build(dataclasses.replace(plan, secrets={plan.job.pre_run[0]: secret}))
    assert outcome.verdict == Verdict("SUCCESS")
    said = workshop.said(plan)
    assert said[:2] == ["7lertsek7lertsek", "(redacted)"]
    assert "teal me" in said
    assert "False" in said
    assert not [path for path in plan.directory.glob("ansible/**/*") if path.is_file() and b"kestrel7" in path.read_bytes()]
    assert b"kestrel7" not in (plan.directory / "console.log").read_bytes()


async def test_what_a_change_or_a_job_says_is_no_template_beside_secrets(workshop: Workshop) -> None:
    look = tasks(
        "{debug: {msg: 'own {{ trick is defined }} extra {{ more is defined }} said [{{ unsafe_vars.trick }}] [{{ unsafe_vars.more }}]'}}",
        "{debug: {msg: 'change [{{ zuul.change_message }}] parent [{{ parent }}]'}}",
        "{debug: {msg: 'secret [{{ login.password | length }}] [{{ login.odd }}]'}}",
    )
    plan = await workshop.plan(
        run=look,
        nodes={"primary": workshop.local_node()},
        vars={"trick": "{{ login.password }}"},
        extra_vars={"more": "{{ login.password }}"},
        facts={"parent_data": {"parent": "{{ 6 * 7 }}"}},
        trusted=True,
        message="Fix {{ login.password }}",
    )
    secret = {"login": {"password": "hunter2hunter2", "odd": "{{ 6 * 9 }}"}}
    await run_build(dataclasses.replace(plan, secrets={plan.job.run[0]: secret}))
    said = workshop.said(plan)
    assert "own False extra False said [{{ login.password }}] [{{ login.password }}]" in said
    assert "not defined for trusted playbooks, since they cannot be evaluated without secrets: more, trick" in workshop.console(plan)
    assert "change [Fix {{ login.password }}] parent [{{ 6 * 7 }}]" in said
    assert "secret [14] [(redacted)]" in said


async def test_job_variables_are_evaluated_before_a_trusted_playbook_and_are_plain_text_in_it(workshop: Workshop) -> None:
    plan = await workshop.plan(
        run=tasks("{debug: {msg: '{{ where }}, {{ deep.list[0] }}, {{ own }}, {{ kernel }}, {{ plain }}, {{ over }}, {{ below }}'}}")
        + tasks("{debug: {msg: '{{ where }} {{ own is defined }}'}}", hosts="localhost"),
        nodes={"primary": workshop.local_node()},
        vars={
            "where": "at {{ zuul.branch }} {{ '{{ 6 * 7 }}' }}",
            "deep": {"list": ["{{ plain }}"]},
            "plain": "as it is",
            "kernel": "{{ ansible_kernel is defined }}",
            "below": "job",
        },
        host_vars={"primary": {"own": "on {{ inventory_hostname }}"}},
        extra_vars={"over": "{{ plain | upper }}"},
        facts={"included_vars": ((PROJECT, "vars.yaml", {"below": "{{ included }}", "plain": "hidden"}),)},
        trusted=True,
    )
    assert (await run_build(plan)).verdict == Verdict("SUCCESS")
    assert "at main {{ 6 * 7 }}, as it is, on primary, True, as it is, AS IT IS, job" in workshop.said(plan)
    assert "at main {{ 6 * 7 }} False" in workshop.said(plan, "localhost")


async def test_a_secret_wins_over_a_job_variable_of_its_name(workshop: Workshop) -> None:
    plan = await workshop.plan(
        run=tasks("{debug: {msg: 'length {{ token | length }}'}}"),
        nodes={"primary": workshop.local_node()},
        vars={"token": "{{ 'x' * 3 }}"},
        trusted=True,
    )
    await run_build(dataclasses.replace(plan, secrets={plan.job.run[0]: {"token": "hunter2hunter2"}}))
    assert "length 14" in workshop.said(plan)


async def test_a_trusted_playbook_uses_roles_as_they_are_merged_not_as_proposed(workshop: Workshop) -> None:
    role = RoleSource(PROJECT, "", False)
    use = "- hosts: all\n  gather_facts: false\n  roles: [greet]\n"
    merged = {"roles/greet/tasks/main.yaml": "- command: echo merged\n"}
    for trusted, expected in ((True, "merged"), (False, "proposed")):
        plan = await workshop.plan(run=use, files=merged, nodes={"primary": workshop.local_node(expected)}, roles=(role,), trusted=trusted)
        workshop.upstream.git("checkout", "-q", "-b", f"proposed-{trusted}")
        workshop.upstream.commit("propose", {"roles/greet/tasks/main.yaml": "- command: echo proposed\n"})
        await workshop.caches.fetch(PROJECT, str(workshop.upstream.path))
        proposed = await workshop.caches.resolve(PROJECT, f"proposed-{trusted}")
        workshop.upstream.git("checkout", "-q", "main")
        sources = {source: commit if source.trusted else proposed for source, commit in plan.sources.items()}
        await run_build(dataclasses.replace(plan, sources=sources))
        assert workshop.said(plan)[0] == expected


async def test_job_variables_are_templates_for_untrusted_playbooks(workshop: Workshop) -> None:
    node = workshop.local_node()
    plan = await workshop.plan(run=tasks("{debug: {msg: '{{ where }}'}}"), nodes={"primary": node}, vars={"where": "at {{ zuul.branch }}"})
    await run_build(plan)
    assert "at main" in workshop.said(plan)


async def test_no_log_stays_silent(workshop: Workshop) -> None:
    plan = await workshop.plan(run=tasks("{shell: echo quiet-please, no_log: true}"), nodes={"primary": workshop.local_node()})
    await run_build(plan)
    assert "quiet-please" not in "\n".join(workshop.console(plan)).replace("TASK [shell]", "")
