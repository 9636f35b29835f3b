"""What the references of one job variant mean in a layout: its secrets, projects, files of variables and roles.

Each raises `Wrong` for what there is not.
"""

from __future__ import annotations

from dataclasses import replace

from headgate.configuration.definitions import ProjectUse
from headgate.configuration.objects import Variant
from headgate.configuration.roles import implicit_role_name
from headgate.configuration.stanza import Wrong
from headgate.configuration.state import LayoutState
from headgate.jobs import IncludeVars, Playbook, RoleSource, SecretUse


def secret(state: LayoutState, name: str, alias: str, variant: Variant) -> SecretUse:
    """A secret that the variant uses, under the variable's name `alias`."""
    named = state.secret(name)
    if named is None:
        raise Wrong(f'the job "{variant.name}" uses the secret "{name}", which there is not')
    return SecretUse(alias, name, variant.source.project, named.source.branch)


def required(state: LayoutState, variant: Variant) -> dict[str, ProjectUse]:
    """Required projects by canonical name, looked up once."""
    if variant.required is None:
        uses = variant.job.required_projects or {}
        variant.required = {
            name: ProjectUse(name, use.override_branch, use.override_checkout)
            for name, use in zip(state.projects.need(uses), uses.values(), strict=True)
        }
    return variant.required


def selected(state: LayoutState, given: frozenset[tuple[str, str | None]] | None) -> frozenset[tuple[str, str | None]] | None:
    """Projects to include or exclude, each a kind and perhaps a canonical name."""
    if given is None:
        return None
    need = state.projects.need
    return frozenset((kind, need((name or "",))[0] if kind == "name" else None) for kind, name in given)


def allowed(state: LayoutState, name: str, variant: Variant) -> str:
    """The short name of an allowed project."""
    if name == variant.source.name:
        return name
    return state.known(state.projects.need((name,))[0]).name


def include_vars(state: LayoutState, variant: Variant) -> list[IncludeVars]:
    """Files of variables; an empty project is that of the item under test."""
    found = []
    for each in variant.job.include_vars or ():
        project = "" if each.of_item else state.projects.need((each.project or variant.source.project,))[0]
        found.append(IncludeVars(each.name, project, "", each.required, each.use_ref))
    return found


def roles(state: LayoutState, variant: Variant) -> tuple[RoleSource, ...]:
    """Where Ansible finds roles: the variant's own repository first, then those it names. Looked up once."""
    if variant.roles is None:
        source = variant.source
        found = []
        if not variant.job.in_pipeline:
            found.append(RoleSource(source.project, source.branch, source.trusted, True, implicit_role_name(source.name)))
        for role in variant.job.roles or ():
            canonical = state.projects.find(role.project)
            if canonical is not None:
                found.append(RoleSource(canonical, "", state.known(canonical).trusted, False, role.name))
        variant.roles = tuple(found)
    return variant.roles


def with_secrets(playbook: Playbook, passed: tuple[SecretUse, ...]) -> Playbook:
    """A playbook that gets the secrets passed to it too; its own of the same name win."""
    known = {use.name for use in playbook.secrets}
    return replace(playbook, secrets=playbook.secrets + tuple(replace(use, passed=True) for use in passed if use.name not in known))
