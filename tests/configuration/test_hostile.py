"""Proposed configuration is hostile: whatever it is, there is an answer, and soon."""

from __future__ import annotations

import random
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from headgate.configuration import FreezeFailed, Ref, SourceFile
from headgate.configuration.encryption import BadKey, as_yaml, decrypt, encrypt, new_private_key, public_key
from tests.configuration.helpers import PROJECT, load

ERRORS = Path(__file__).parent / "errors"


@pytest.mark.parametrize(
    "text",
    [
        "[" * 100_000,
        "- " * 100_000 + "x",
        "- job: " + "{a: " * 5000,
        "\n".join(" " * depth + "a:" for depth in range(1500)),
        "- job: {name: x}\n" * 150_000,
        "? " * 5000 + "x",
        "- job: &a {<<: *a, name: x}",
        "- job: {name: \udc80}",
        "- job: {name: x, timeout: " + "9" * 6000 + "}",
        "- !!python/object:os.system x",
        "- job: {? [a] : c}",
        "- secret: {name: x, data: {a: !encrypted/pkcs1-oaep [[a]]}}",
        "- job: {name: x, files: ['" + "(a" * 6000 + "']}",
    ],
)
def test_hostile_document_is_one_error(text: str) -> None:
    layout = load(project=text)
    assert layout.errors or "&a" in text


def test_catastrophic_regex_ends() -> None:
    text = "- job: {name: unit, files: ['^(?!x)(a|aa)+$']}\n- project: {check: {jobs: [unit]}}"
    with pytest.raises(FreezeFailed, match="took longer"):
        load(project=text).freeze(Ref(PROJECT, "master", ("a" * 60 + "!",)), "check")


def test_circles_of_parents_end() -> None:
    layout = load(project="- job: {name: unit, parent: two, run: x}\n- job: {name: two, parent: unit}\n- project: {check: {jobs: [unit]}}")
    assert layout.freeze(Ref(PROJECT, "master"), "check").names == ("unit",)


def mutated(rng: random.Random) -> str:
    text = rng.choice(sorted(ERRORS.glob("*.yaml"))).read_text()
    for _ in range(rng.randint(1, 4)):
        at = rng.randrange(len(text) + 1)
        piece = rng.choice(
            ["", "\n", " ", ":", "- ", "{", "}", "[", "]", "null", "!override ", "&a ", "*a", "<<: ", "'", "\t", "5", "job", "#", "~", "é"]
        )
        text = text[:at] + piece + text[at + rng.choice([0, 0, 1, 3, 10]) :]
    return text


@settings(max_examples=200, deadline=None)
@given(st.integers(0, 10**9))
def test_any_text_gives_a_layout(seed: int) -> None:
    rng = random.Random(seed)
    layout = load(project=mutated(rng)).with_files([SourceFile(PROJECT, "master", "zuul.yaml", mutated(rng))])
    assert all(str(problem) for problem in layout.problems)
    for pipeline in layout.pipelines:
        try:
            layout.freeze(Ref(PROJECT, "master", ("README",)), pipeline)
        except FreezeFailed as failed:
            assert str(failed)


def test_secret_comes_back_and_for_its_key_only() -> None:
    private = new_private_key()
    plain = "grüße " * 200
    text = as_yaml(encrypt(plain, public_key(private)), "login", "password")
    named = load(project=text).state.secret("login")
    assert named is not None
    assert decrypt(named.value, private) == {"password": plain}
    with pytest.raises(BadKey, match="another key"):
        decrypt(named.value, new_private_key())
