"""What is legal but probably wrong, each with its cure, and circles that Zuul silently breaks."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

from headgate.configuration.files import problem
from headgate.configuration.globs import as_regex, looks_like_glob
from headgate.configuration.layout import Layout
from headgate.configuration.objects import StanzaObject, Variant, identity
from headgate.configuration.problems import Problem, fold
from headgate.configuration.regex import Regex, RegexTooSlow
from headgate.configuration.stanza import Complaint
from headgate.configuration.state import LayoutState

_PLAIN_BRANCH = re.compile(r"[\w./-]+")


def advice(layout: Layout) -> tuple[Problem, ...]:
    """Warnings (and errors for circles of parents), the same on several branches as one."""
    state = layout.state
    variants = [variant for _, group in state.jobs.items() for variant in group]
    stanzas = {id(stanza): stanza for _, group in state.stanzas.items() for stanza in group}
    templates = [template for _, group in state.templates.items() for template in group]
    attached = [(variant, stanza) for stanza in (*stanzas.values(), *templates) for variant in stanza.variants()]
    found: list[Problem] = []
    for variant in variants:
        found += _matchers(state, variant, variant, ())
    for variant, stanza in attached:
        found += _matchers(state, variant, stanza, (*variant.job.path, variant.name))
    for stanza in (*stanzas.values(), *templates):
        found += _globs(state, stanza, stanza.definition.branches, ("branches",))
        found += _branches(state, stanza, stanza.definition.branches, ("branches",))
    found += _circles(state, variants)
    found += _unused(state, variants, [variant for variant, _ in attached], list(stanzas.values()), templates)
    return fold(found)


def _say(state: LayoutState, item: Any, severity: str, name: str, message: str, path: tuple[Any, ...]) -> Problem:
    source = item.source
    complaint = Complaint(severity, name, message, *identity(item), path)
    bounds = state.files.get((source.project, source.branch)) or ()
    text = next((bound.file.text for bound in bounds if bound.file.path == source.path), "")
    return problem(complaint, text, source.project, source.branch, source.path)


def _matchers(state: LayoutState, variant: Variant, item: Variant | StanzaObject, path: tuple[Any, ...]) -> Iterator[Problem]:
    job = variant.job
    for key, patterns in (("files", job.files), ("irrelevant-files", job.irrelevant_files), ("branches", job.branches)):
        yield from _globs(state, item, patterns, (*path, key))
    yield from _branches(state, item, job.branches, (*path, "branches"))


def _globs(
    state: LayoutState, item: Variant | StanzaObject, patterns: tuple[Regex, ...] | None, path: tuple[Any, ...]
) -> Iterator[Problem]:
    for place, regex in _placed(patterns, path):
        if looks_like_glob(regex.pattern):
            message = f'"{regex.pattern}" is a regular expression but looks like a glob: did you mean "{as_regex(regex.pattern)}"?'
            yield _say(state, item, "warning", "Glob", message, place)


def _placed(patterns: tuple[Regex, ...] | None, path: tuple[Any, ...]) -> Iterator[tuple[tuple[Any, ...], Regex]]:
    """Each pattern with the path to it: a single one may be written without a list."""
    for position, regex in enumerate(patterns or ()):
        yield (*path, position) if patterns and len(patterns) > 1 else path, regex


def _branches(
    state: LayoutState, item: Variant | StanzaObject, patterns: tuple[Regex, ...] | None, path: tuple[Any, ...]
) -> Iterator[Problem]:
    known = sorted({branch for project in state.projects.by_canonical.values() for branch in project.branches})
    for place, regex in _placed(patterns, path):
        others = _also_matches(regex, known)
        if others:
            message = (
                f'"{regex.pattern}" also matches the branch {", ".join(others)}: write "^{re.escape(regex.pattern)}$" for that branch alone'
            )
            yield _say(state, item, "warning", "Branch Matcher", message, place)


def _also_matches(regex: Regex, branches: list[str]) -> list[str]:
    if regex.negate or regex.pattern not in branches or not _PLAIN_BRANCH.fullmatch(regex.pattern):
        return []
    try:
        return [branch for branch in branches if branch != regex.pattern and regex.match(branch)]
    except RegexTooSlow:
        return []


def _circles(state: LayoutState, variants: list[Variant]) -> Iterator[Problem]:
    """Jobs that inherit from themselves. Zuul stops where the circle closes, so such a job lacks what it seems to inherit."""
    parents: dict[str, set[str]] = {}
    for variant in variants:
        parents.setdefault(variant.name, set())
        if variant.job.parent:
            parents[variant.name].add(variant.job.parent)
        elif not variant.job.base:
            parents[variant.name].add(state.tenant.default_parent)
    in_circle = _in_circle(parents)
    for variant in variants:
        if variant.name in in_circle and (variant.job.parent or "") in in_circle:
            message = f'inherits from itself through "{variant.job.parent}": give one of the two another parent'
            yield _say(state, variant, "error", "Parent Circle", message, ("parent",))


def _in_circle(parents: dict[str, set[str]]) -> set[str]:
    """Names from which one comes back to the same name, and those between two such circles."""
    left = {name: {parent for parent in found if parent in parents} for name, found in parents.items()}
    for _ in range(2):  # once without those that lead nowhere, once without those that nothing leads to
        left = _turned(_without_ends(left))
    return set(left)


def _turned(arrows: dict[str, set[str]]) -> dict[str, set[str]]:
    turned: dict[str, set[str]] = {name: set() for name in arrows}
    for name, found in arrows.items():
        for each in found:
            turned[each].add(name)
    return turned


def _without_ends(arrows: dict[str, set[str]]) -> dict[str, set[str]]:
    """What is left when names that lead nowhere are taken off until there are none."""
    backward = _turned(arrows)
    left = {name: set(found) for name, found in arrows.items()}
    waiting = [name for name, found in left.items() if not found]
    while waiting:
        gone = waiting.pop()
        del left[gone]
        for name in backward[gone]:
            left[name].discard(gone)
            if not left[name]:
                waiting.append(name)
    return left


def _unused(
    state: LayoutState, variants: list[Variant], attached: list[Variant], stanzas: list[StanzaObject], templates: list[StanzaObject]
) -> Iterator[Problem]:
    everyone = [*variants, *attached]
    used_templates = {name for stanza in stanzas for name in stanza.definition.templates}
    running = {variant.name for stanza in stanzas for variant in stanza.variants()}
    running.update(variant.name for template in templates if template.name in used_templates for variant in template.variants())
    needed = _with_ancestors(state, running)
    for name, group in state.jobs.items():
        if name not in needed:
            yield _say(state, group[0], "warning", "Unused Job", _nobody_runs(name, templates), ())
    nodesets = {variant.job.nodeset for variant in everyone if isinstance(variant.job.nodeset, str)}
    secrets = {use.secret for variant in everyone for use in variant.job.secrets}
    for (kind, name), named in state.named.items():
        if kind == "nodeset":
            nodesets.update(each for each in named.value.alternatives if isinstance(each, str))
        if kind == "secret" and name not in secrets:
            yield _say(state, named, "warning", "Unused Secret", "no job uses it: remove it", ())
    for (kind, name), named in state.named.items():
        if kind == "nodeset" and name not in nodesets:
            yield _say(state, named, "warning", "Unused Nodeset", "no job uses it: remove it", ())
    for template in templates:
        if template.name not in used_templates:
            yield _say(state, template, "warning", "Unused Template", "no project uses it: remove it", ())


def _with_ancestors(state: LayoutState, names: set[str]) -> set[str]:
    """These jobs and all that they inherit from."""
    found: set[str] = set()
    waiting = list(names)
    while waiting:
        name = waiting.pop()
        if name not in found:
            found.add(name)
            waiting += [each.job.parent or state.tenant.default_parent for each in state.jobs.get(name) or () if not each.job.base]
    return found


def _nobody_runs(name: str, templates: list[StanzaObject]) -> str:
    holding = sorted({template.name for template in templates if any(variant.name == name for variant in template.variants())})
    if holding:
        return f"no pipeline runs it, only the project-template {', '.join(holding)} that no project uses: use that, or remove the job"
    return "no pipeline runs it, nor a job that inherits from it: attach it or remove it"
