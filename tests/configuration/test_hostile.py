"""Proposed configuration is hostile: whatever it is, there is an answer, and soon."""

from __future__ import annotations

import random
import time
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from headgate.configuration import FreezeFailed, Ref, SourceFile
from headgate.configuration.advice import advice
from headgate.configuration.encryption import BadKey, as_yaml, decrypt, encrypt, new_private_key, public_key
from tests.configuration.helpers import PROJECT, TENANT, load

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


def test_file_that_is_not_utf_8_is_said_with_its_place() -> None:
    """Zuul reads nothing of such a branch and says nothing."""
    (problem,) = load(project="- job:\n    name: \udcff\n").errors
    assert (problem.message, problem.line, problem.column) == ("the file is not UTF-8, nothing of it is read", 2, 11)


def ring(count: int, entry: str) -> str:
    """Stanzas of which each, `entry`, names the next and the last the first."""
    return "".join(f"- {entry}\n".replace("THIS", f"n{number}").replace("NEXT", f"n{(number + 1) % count}") for number in range(count))


UNIT = "- job: {name: unit, abstract: true, run: x}\n"
MANY = range(3000)
HOSTILE = {
    "ten megabytes of jobs": ("- job: {name: x}\n" * 600_000, "10200000 characters"),
    "ten megabytes in one value": (f"- job: {{name: x, description: '{'a' * 10_000_000}'}}", "at most 1500000 are read"),
    "parents in a ring": (ring(1500, "job: {name: THIS, parent: NEXT, run: x}"), 'inherits from itself through "n1"'),
    "templates in a ring": (ring(2, "project-template: {name: THIS, templates: [NEXT]}"), "templates: must be a pipeline's mapping"),
    "nodesets in a ring": (ring(1500, "nodeset: {name: THIS, alternatives: [NEXT]}"), "more than 250 alternatives"),
    "nodesets in a small ring": (ring(2, "nodeset: {name: THIS, alternatives: [NEXT]}"), "leads to itself"),
    "sections in a ring": (
        ring(1500, "section: {name: THIS, parent: NEXT}") + "- provider: {name: p, section: n0}",
        "more than 50 sections",
    ),
    "parents that are not there": ("".join(f"- job: {{name: x{n}, parent: y{n}}}\n" for n in MANY), 'parent "y0" does not exist'),
    "dependencies in a ring": (
        ring(1500, "job: {name: THIS, run: x, dependencies: NEXT}")
        + f"- project: {{check: {{jobs: [{', '.join(f'n{n}' for n in range(1500))}]}}}}",
        "lead back to it",
    ),
    "variants of one job": (
        UNIT + f"- project: {{check: {{jobs: [{', '.join(f'{{unit: {{vars: {{a: {n}}}}}}}' for n in MANY)}]}}}}",
        '"unit" is abstract',
    ),
    "templates with variables": (
        UNIT
        + "".join(f"- project-template: {{name: t{n}, vars: {{v{n}: 1}}, check: {{jobs: [unit]}}}}\n" for n in MANY)
        + f"- project: {{templates: [{', '.join(f't{n}' for n in MANY)}]}}",
        '"unit" is abstract',
    ),
}
CPU_SECONDS = 20
"""Far more than any of them takes on a slow machine, far less than what grows with the square of such files."""


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_file_is_a_clear_error_in_bounded_time(name: str) -> None:
    text, sentence = HOSTILE[name]
    start = time.process_time()
    layout = load(project=text, tenant=TENANT.replace("[org/project,", "[{org/project: {include-provider-config: true}},"))
    said = [str(problem) for problem in (*layout.problems, *advice(layout)) if problem.is_error]
    try:
        layout.freeze(Ref(PROJECT, "master", ("README",)), "check")
    except FreezeFailed as failed:
        said.append(str(failed))
    assert any(sentence in each for each in said), said[:3]
    assert time.process_time() - start < CPU_SECONDS


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
