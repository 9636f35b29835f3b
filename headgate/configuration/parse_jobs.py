"""A job stanza, or a job of a project-pipeline, to a `JobDefinition`."""

from __future__ import annotations

import posixpath
from typing import Any

from headgate.configuration.definitions import (
    IncludeVarsDefinition,
    JobDefinition,
    PlaybookDefinition,
    ProjectUse,
    RoleDefinition,
    SecretReference,
)
from headgate.configuration.document_values import Override
from headgate.configuration.job_shapes import UNSAFE_HOME_PATHS
from headgate.configuration.parse_nodesets import inline_nodeset
from headgate.configuration.parse_regexes import checked_regex, regexes
from headgate.configuration.stanza import Complaints, Wrong
from headgate.configuration.tenant_values import ANSIBLE_VERSIONS, as_list
from headgate.configuration.variable_names import refuse_reserved

_PLAIN = [
    "final",
    "abstract",
    "protected",
    "intermediate",
    "pre-timeout",
    "timeout",
    "post-timeout",
    "voting",
    "hold-following-changes",
    "attempts",
    "failure-message",
    "success-message",
    "override-branch",
    "override-checkout",
    "match-on-config-updates",
    "workspace-scheme",
    "workspace-checkout",
    "deduplicate",
    "image-build-name",
    "type",
    "secret-exposure",
    "description",
    "ansible-split-streams",
]
_PLAIN_FIELDS = {key: key.replace("-", "_") for key in _PLAIN}


def job_definition(conf: dict[str, Any], name: str, complaints: Complaints, in_pipeline: bool = False) -> JobDefinition:
    """A job from its checked mapping. Raises `Wrong` for what a shape cannot say; warnings go to `complaints`.

    The order is Zuul's: of two faults the first is told, and only the warnings before it.
    """
    job = JobDefinition(name, in_pipeline=in_pipeline)
    for key, value in conf.items():
        attribute = _PLAIN_FIELDS.get(key)
        if attribute is not None:
            setattr(job, attribute, value)
    if "parent" in conf:
        job.parent = conf["parent"]
        job.base = conf["parent"] is None
    if "post-review" in conf:
        if not conf["post-review"]:
            raise Wrong("once set, post-review may not be unset: true is the only value allowed", ("post-review",))
        job.post_review = True
    if "ansible-version" in conf:
        job.ansible_version = str(conf["ansible-version"])
        if job.ansible_version not in ANSIBLE_VERSIONS:
            raise Wrong(f'Ansible "{job.ansible_version}" is not known; allowed are {", ".join(ANSIBLE_VERSIONS)}', ("ansible-version",))
    if "roles" in conf:
        job.roles = _roles(conf["roles"])
    if "secrets" in conf:
        job.secrets = tuple(_secret(value) for value in as_list(conf["secrets"]))
    held = _set_playbooks(job, conf, complaints)
    if conf.get("intermediate") and not conf.get("abstract"):
        raise Wrong("an intermediate job must also be abstract: add abstract: true", ("intermediate",))
    if "nodeset" in conf:
        value = conf["nodeset"]
        job.nodeset = value if isinstance(value, str) else inline_nodeset(value, ("nodeset",), complaints)
    _set_projects(job, conf)
    _set_semaphores(job, conf, held)
    _set_words(job, conf)
    _set_variables(job, conf)
    _set_matchers(job, conf, complaints)
    _set_failure_output(job, conf)
    if "attribute-control" in conf:
        controls = conf["attribute-control"]
        job.final_attributes = frozenset(key.replace("-", "_") for key, control in controls.items() if control.get("final") is True)
    if "preserve-home-paths" in conf:
        job.preserve_home_paths = tuple(posixpath.normpath(path) for path in as_list(conf["preserve-home-paths"]))
        for path in job.preserve_home_paths:
            if path in UNSAFE_HOME_PATHS:
                raise Wrong(f'"{path}" may not be preserved between playbooks', ("preserve-home-paths",))
    return job


def _roles(value: Any) -> tuple[RoleDefinition, ...] | None:
    if isinstance(value, dict):
        if any("zuul" in key for key in value):
            raise Wrong("must be a list of mappings such as - zuul: org/project, found a mapping", ("roles",))
        return None
    roles = tuple(RoleDefinition(role["zuul"], role.get("name", role["zuul"].split("/")[-1])) for role in value if "zuul" in role)
    return roles or None


def _secret(value: Any) -> SecretReference:
    if isinstance(value, str):
        return SecretReference(value, value)
    return SecretReference(value["secret"], value["name"], value.get("pass-to-parent", False))


def _set_playbooks(job: JobDefinition, conf: dict[str, Any], complaints: Complaints) -> set[str]:
    """Returns the semaphores that playbooks take."""
    held: set[str] = set()
    for key, attribute in (("pre-run", "pre_run"), ("run", "run"), ("post-run", "post_run"), ("cleanup-run", "cleanup_run")):
        if key not in conf:
            continue
        playbooks = tuple(_playbook(value) for value in as_list(conf[key]))
        if playbooks:
            setattr(job, attribute, playbooks)
        held.update(name for playbook in playbooks for name in playbook.semaphores)
        if key == "cleanup-run":
            for _ in playbooks:
                complaints.warn("Cleanup Run Deprecation", "cleanup-run is deprecated: use post-run with cleanup: true", (key,))
    return held


def _set_semaphores(job: JobDefinition, conf: dict[str, Any], held: set[str]) -> None:
    key = "semaphores" if "semaphores" in conf else "semaphore"
    given = [
        (each, False) if isinstance(each, str) else (each["name"], each.get("resources-first", False)) for each in as_list(conf.get(key))
    ]
    semaphores = tuple(sorted(given, key=lambda each: each[0]))
    if semaphores:
        job.semaphores = semaphores
        if both := sorted(held.intersection(name for name, _ in semaphores)):
            raise Wrong(f"{', '.join(both)} is taken by the job and by one of its playbooks: keep one of the two", (key,))


def _playbook(value: Any) -> PlaybookDefinition:
    if isinstance(value, str):
        return PlaybookDefinition(value)
    return PlaybookDefinition(value["name"], tuple(sorted(as_list(value.get("semaphores")))), value.get("cleanup", False))


def _unwrapped(job: JobDefinition, conf: dict[str, Any], key: str) -> Any:
    value = conf[key]
    if isinstance(value, Override):
        job.replaces = {**job.replaces, key.replace("-", "_"): value.replace}
        return value.value
    return value


def _set_projects(job: JobDefinition, conf: dict[str, Any]) -> None:
    if "required-projects" in conf:
        uses = [
            ProjectUse(each) if isinstance(each, str) else _project_use(each)
            for each in as_list(_unwrapped(job, conf, "required-projects"))
        ]
        job.required_projects = {use.name: use for use in uses}
    for key, attribute in (("include-projects", "include_projects"), ("exclude-projects", "exclude_projects")):
        if key in conf:
            setattr(job, attribute, frozenset(_selected(each, key) for each in as_list(_unwrapped(job, conf, key))))
    if "dependencies" in conf:
        job.dependencies = frozenset(
            (each, False) if isinstance(each, str) else (each["name"], each.get("soft", False))
            for each in as_list(_unwrapped(job, conf, "dependencies"))
        )


def _project_use(value: dict[str, Any]) -> ProjectUse:
    return ProjectUse(value["name"], value.get("override-branch"), value.get("override-checkout"))


def _selected(value: Any, key: str) -> tuple[str, str | None]:
    if isinstance(value, str):
        return ("name", value)
    if "type" not in value or (value["type"] == "name" and "name" not in value):
        raise Wrong("needs a type (change, item), or type: name with a name", (key,))
    return (value["type"], value.get("name"))


def _set_words(job: JobDefinition, conf: dict[str, Any]) -> None:
    for key in ("tags", "requires", "provides"):
        if key in conf:
            setattr(job, key, frozenset(as_list(_unwrapped(job, conf, key))) or None)
    if allowed := as_list(conf.get("allowed-projects")):
        job.allowed_projects = frozenset(allowed)


def _set_failure_output(job: JobDefinition, conf: dict[str, Any]) -> None:
    if "failure-output" not in conf:
        return
    job.failure_output = tuple(sorted(as_list(_unwrapped(job, conf, "failure-output"))))
    for position, pattern in enumerate(job.failure_output):
        regex = checked_regex(pattern, ("failure-output", position))
        if regex.complaint:
            raise Wrong(f'"{pattern}" is not RE2 syntax: {regex.complaint}', ("failure-output",))


def _set_variables(job: JobDefinition, conf: dict[str, Any]) -> None:
    for key in ("vars", "extra-vars", "host-vars", "group-vars"):
        if key not in conf:
            continue
        values = _unwrapped(job, conf, key)
        if not values:
            continue
        if key in ("vars", "extra-vars"):
            refuse_reserved(values, (key,))
        else:
            for host, inner in values.items():
                refuse_reserved(inner, (key, host))
        setattr(job, key.replace("-", "_"), values)
    if "include-vars" in conf:
        given = as_list(_unwrapped(job, conf, "include-vars"))
        entries: list[dict[str, Any]] = [{"name": each} if isinstance(each, str) else each for each in given]
        if entries:
            job.include_vars = tuple(
                IncludeVarsDefinition(
                    each["name"], each.get("project"), bool(each.get("zuul-project")), each.get("required", True), each.get("use-ref", True)
                )
                for each in entries
            )


def _set_matchers(job: JobDefinition, conf: dict[str, Any], complaints: Complaints) -> None:
    if "branches" in conf:
        values = as_list(conf["branches"])
        job.branches = regexes(values, ("branches",), complaints)
        job.variant_description = " ".join(_described(each) for each in values)
    for key, attribute in (("files", "files"), ("irrelevant-files", "irrelevant_files")):
        if key in conf:
            setattr(job, attribute, regexes(as_list(_unwrapped(job, conf, key)), (key,), complaints))


def _described(value: Any) -> str:
    if isinstance(value, str):
        return value
    return f"{value['regex']} (negated)" if value.get("negate") else str(value["regex"])
