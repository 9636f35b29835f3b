"""Secrets: from the project's key and an encrypted stanza to the one playbook they are for."""

from __future__ import annotations

import asyncio
import json
from dataclasses import replace
from pathlib import Path

import pytest
import typer
from typer.testing import CliRunner

from cli.keys import register
from headgate.configuration import Ref
from headgate.configuration.encryption import BadKey, as_yaml, encrypt, new_private_key, public_key
from headgate.frozen_secrets import SecretProblem, below_others, frozen_secrets, secrets_of, with_keys
from headgate.jobs import FrozenJob
from tasks.secret_keys import SecretKeys
from tests.configuration.helpers import PROJECT, load

KEY = new_private_key()


def frozen(job: str, pipeline: str = "gate") -> tuple[FrozenJob, dict[str, object]]:
    """A job of the project that uses a secret, and the secrets its graph was frozen with, as the store keeps them."""
    secret = as_yaml(encrypt("hunter2" * 100, public_key(KEY)), "login", "password") + "      user: me\n"
    layout = load(project=f"{secret}{job}- project: {{{pipeline}: {{jobs: [unit]}}}}\n")
    graph = layout.freeze(Ref(PROJECT, "master"), pipeline)
    return graph["unit"], json.loads(json.dumps(frozen_secrets(graph, layout)))


JOB = "- job: {name: unit, run: run.yaml, post-run: post.yaml, secrets: [{name: credentials, secret: login}]}\n"


def test_a_playbook_gets_the_secret_its_job_names_by_the_name_it_gives() -> None:
    job, kept = frozen(JOB)
    asked: list[str] = []

    def key(project: str) -> str:
        asked.append(project)
        return KEY

    assert secrets_of(job.run[0], kept, with_keys(key), post_review=True) == {"credentials": {"password": "hunter2" * 100, "user": "me"}}
    assert asked == [PROJECT]
    assert "hunter2" not in json.dumps(kept)
    assert secrets_of(replace(job.run[0], secrets=()), kept, with_keys(key), post_review=True) == {}


def test_an_untrusted_playbook_gets_no_secret_before_review() -> None:
    job, kept = frozen(JOB)
    with pytest.raises(SecretProblem, match=r"^run.yaml of .* may not have the secret login: the pipeline is not post-review$"):
        secrets_of(job.run[0], kept, with_keys(lambda _: KEY), post_review=False)
    assert secrets_of(replace(job.run[0], trusted=True), kept, with_keys(lambda _: KEY), post_review=False)


def test_a_secret_for_another_key_or_none_is_one_sentence_without_it() -> None:
    job, kept = frozen(JOB)
    with pytest.raises(SecretProblem, match=r'the secret "login" was encrypted for another key'):
        secrets_of(job.run[0], kept, with_keys(lambda _: new_private_key()), post_review=True)
    with pytest.raises(SecretProblem, match=r"the secret login of .* is not there"):
        secrets_of(job.run[0], {}, lambda _: KEY, post_review=True)


def test_secret_data_of_other_jobs_lies_below_every_variable() -> None:
    job = FrozenJob("x", vars={"a": 1}, host_vars={"h": {"b": 1}}, extra_vars={"c": 1})
    returned = {"a": 2, "b": 2, "c": 2, "d": 2, "own": 2, "zuul": {}}
    assert below_others(returned, job, ["own"]) == {"d": 2}


async def test_a_project_has_one_key_for_ever_that_only_its_owner_reads(tmp_path: Path) -> None:
    first, second = SecretKeys(tmp_path / "keys"), SecretKeys(tmp_path / "keys")
    keys = await asyncio.gather(*(asyncio.to_thread(each.private, "host/org/nova") for each in (first, second)))
    assert keys[0] == keys[1] == first.private("host/org/nova")
    path = first.path("host/org/nova")
    assert (path.stat().st_mode & 0o777, path.parent.stat().st_mode & 0o777) == (0o600, 0o700)
    assert list(path.parent.iterdir()) == [path]
    assert first.public("host/org/nova") == public_key(keys[0])
    path.write_text("nonsense")
    with pytest.raises(BadKey):
        first.public("host/org/nova")


def test_headgate_key_prints_the_public_key_of_a_known_project(tmp_path: Path) -> None:
    connection = "{name: review, driver: gerrit, server: review.example.org, user: zuul, sshkey: key, password: x}"
    (tmp_path / "headgate.yaml").write_text(f"tenants: main.yaml\nstate-dir: state\nconnections: [{connection}]\n")
    (tmp_path / "main.yaml").write_text("- tenant: {name: t, source: {review: {untrusted-projects: [org/nova, old/nova]}}}\n")
    app = typer.Typer()
    register(app)
    config = ["-c", str(tmp_path / "headgate.yaml")]
    done = CliRunner().invoke(app, ["org/nova", *config])
    assert done.output == SecretKeys(tmp_path / "state/keys").public("review.example.org/org/nova")
    assert str(CliRunner().invoke(app, ["nova", *config]).exception) == (
        "'nova' is several projects of main.yaml: review.example.org/org/nova, review.example.org/old/nova."
    )
