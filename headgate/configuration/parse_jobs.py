"""A job stanza, or a job of a project-pipeline, to a `JobDefinition`."""

from __future__ import annotations

import re
from typing import Any

from headgate.configuration.definitions import (
    IncludeVarsDefinition,
    JobDefinition,
    NodesetDefinition,
    PlaybookDefinition,
    ProjectUse,
    RoleDefinition,
    SecretReference,
)
from headgate.configuration.documents import Override, kind_of
from headgate.configuration.parse_nodesets import nodeset_definition
from headgate.configuration.regex import BadRegex, Regex
from headgate.configuration.regex_shape import REGEX
from headgate.configuration.shapes import (
    ANYTHING,
    FLAG,
    NOTHING,
    NUMBER_OR_TEXT,
    TEXT,
    WHOLE,
    Choice,
    Either,
    MappingOf,
    Named,
    Overridable,
    Record,
    Shape,
    one_or_many,
)
from headgate.configuration.stanza import Complaints, Wrong
from headgate.configuration.tenants import ANSIBLE_VERSIONS, as_list

RESERVED_VARIABLES = ("zuul", "zuul_node", "nodepool", "unsafe_vars", "zuul_user_dir")
CONNECTION_VARIABLES = ("ansible_connection", "ansible_host", "ansible_python_interpreter", "ansible_shell_executable", "ansible_user")
UNSAFE_HOME_PATHS = (".ssh/config", ".kube/config")
CONTROLLABLE = [
    "requires",
    "provides",
    "tags",
    "files",
    "irrelevant-files",
    "required-projects",
    "include-projects",
    "exclude-projects",
    "vars",
    "extra-vars",
    "host-vars",
    "group-vars",
    "include-vars",
    "dependencies",
    "failure-output",
    "type",
    "pre-run",
    "run",
    "post-run",
    "voting",
]


def _variable_fault(name: Any) -> str:
    if isinstance(name, str) and re.fullmatch(r"[a-zA-Z][a-zA-Z0-9_]*", name):
        return ""
    return f'"{name}" is not a variable name: a letter, then letters, digits and underscores'


_VARIABLE_PATTERN = r"^[a-zA-Z][a-zA-Z0-9_]*$"
VARIABLE = Named("a variable name", _variable_fault, _VARIABLE_PATTERN)
VARIABLES = MappingOf(ANYTHING, _variable_fault, "a mapping of variables", _VARIABLE_PATTERN)
VARIABLES_BY_HOST = MappingOf(VARIABLES, called="a mapping from a name to its variables")
_ROLE = Either(Record({"zuul": TEXT, "name": TEXT}, required=("zuul",)), Record({"galaxy": TEXT, "name": TEXT}, required=("galaxy",)))
_PROJECT = Record({"name": TEXT, "override-branch": TEXT, "override-checkout": TEXT}, required=("name",))
_SELECTED_PROJECT = Either(TEXT, Record({"type": Choice("name", "change", "item"), "name": TEXT}))
_DEPENDENCY = Record({"name": TEXT, "soft": FLAG}, required=("name",))
_SECRET = Record({"name": VARIABLE, "secret": TEXT, "pass-to-parent": FLAG}, required=("name", "secret"))
_SEMAPHORE = Record({"name": TEXT, "resources-first": FLAG}, required=("name",))
_PLAYBOOK = Record({"name": TEXT, "semaphores": one_or_many(TEXT)}, required=("name",))
_POST_PLAYBOOK = Record({"name": TEXT, "semaphores": one_or_many(TEXT), "cleanup": FLAG}, required=("name",))
_INCLUDE_VARS = Either(
    TEXT,
    Record({"name": TEXT, "project": TEXT, "required": FLAG}, required=("name",)),
    Record({"name": TEXT, "zuul-project": FLAG, "use-ref": FLAG, "required": FLAG}, required=("name",)),
)
_PLAYBOOKS = one_or_many(Either(TEXT, _PLAYBOOK))

JOB_ATTRIBUTES: dict[str, Shape] = {
    "parent": Either(TEXT, NOTHING),
    "final": FLAG,
    "abstract": FLAG,
    "protected": FLAG,
    "intermediate": FLAG,
    "requires": Overridable(one_or_many(TEXT)),
    "provides": Overridable(one_or_many(TEXT)),
    "tags": Overridable(one_or_many(TEXT)),
    "failure-message": TEXT,
    "success-message": TEXT,
    "failure-url": TEXT,
    "success-url": TEXT,
    "hold-following-changes": FLAG,
    "voting": FLAG,
    "semaphore": Either(TEXT, _SEMAPHORE),
    "semaphores": one_or_many(Either(TEXT, _SEMAPHORE)),
    "branches": one_or_many(REGEX),
    "files": Overridable(one_or_many(REGEX)),
    "irrelevant-files": Overridable(one_or_many(REGEX)),
    "secrets": one_or_many(Either(TEXT, _SECRET)),
    "nodeset": Either(TEXT, MappingOf(ANYTHING, lambda key: "", called="a mapping")),
    "pre-timeout": WHOLE,
    "timeout": WHOLE,
    "post-timeout": WHOLE,
    "attempts": WHOLE,
    "pre-run": _PLAYBOOKS,
    "post-run": one_or_many(Either(TEXT, _POST_PLAYBOOK)),
    "run": _PLAYBOOKS,
    "cleanup-run": _PLAYBOOKS,
    "ansible-split-streams": FLAG,
    "ansible-version": NUMBER_OR_TEXT,
    "roles": one_or_many(_ROLE),
    "required-projects": Overridable(one_or_many(Either(TEXT, _PROJECT))),
    "include-projects": Overridable(one_or_many(_SELECTED_PROJECT)),
    "exclude-projects": Overridable(one_or_many(_SELECTED_PROJECT)),
    "vars": Overridable(VARIABLES),
    "extra-vars": Overridable(VARIABLES),
    "host-vars": Overridable(VARIABLES_BY_HOST),
    "group-vars": Overridable(VARIABLES_BY_HOST),
    "include-vars": Overridable(one_or_many(_INCLUDE_VARS)),
    "dependencies": Overridable(one_or_many(Either(TEXT, _DEPENDENCY))),
    "allowed-projects": one_or_many(TEXT),
    "override-branch": TEXT,
    "override-checkout": TEXT,
    "description": TEXT,
    "variant-description": TEXT,
    "post-review": FLAG,
    "match-on-config-updates": FLAG,
    "workspace-scheme": Choice("golang", "flat", "unique"),
    "workspace-checkout": Either(FLAG, Choice("auto")),
    "deduplicate": Either(FLAG, Choice("auto")),
    "failure-output": Overridable(one_or_many(TEXT)),
    "image-build-name": TEXT,
    "type": Choice("regular", "initializer", "reporter"),
    "preserve-home-paths": one_or_many(TEXT),
    "secret-exposure": Choice("ignore", "redact", "fail"),
    "attribute-control": Record({name: Record({"final": Choice(True)}) for name in CONTROLLABLE}),
}
JOB = Record({"name": TEXT, **JOB_ATTRIBUTES}, required=("name",))
VARIANT = Record(JOB_ATTRIBUTES)

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
    """A job from its checked mapping. Raises `Wrong` for what a shape cannot say; warnings go to `complaints`."""
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
    if conf.get("intermediate") and not conf.get("abstract"):
        raise Wrong("an intermediate job must also be abstract: add abstract: true", ("intermediate",))
    if "ansible-version" in conf:
        job.ansible_version = str(conf["ansible-version"])
        if job.ansible_version not in ANSIBLE_VERSIONS:
            raise Wrong(f'Ansible "{job.ansible_version}" is not known; allowed are {", ".join(ANSIBLE_VERSIONS)}', ("ansible-version",))
    if "roles" in conf:
        job.roles = _roles(conf["roles"])
    if "secrets" in conf:
        job.secrets = tuple(_secret(value) for value in as_list(conf["secrets"]))
    _set_playbooks(job, conf, complaints)
    if "nodeset" in conf:
        value = conf["nodeset"]
        job.nodeset = value if isinstance(value, str) else _anonymous(value)
    _set_collections(job, conf)
    _set_variables(job, conf)
    _set_matchers(job, conf, complaints)
    if "attribute-control" in conf:
        controls = conf["attribute-control"]
        job.final_attributes = frozenset(key.replace("-", "_") for key, control in controls.items() if control.get("final") is True)
    if isinstance(paths := conf.get("preserve-home-paths"), list):
        job.preserve_home_paths = tuple(paths)
        for path in paths:
            if path.removeprefix("./") in UNSAFE_HOME_PATHS:
                raise Wrong(f'"{path}" may not be preserved between playbooks', ("preserve-home-paths",))
    return job


def _anonymous(value: dict[str, Any]) -> NodesetDefinition:
    return nodeset_definition(value, "", ("nodeset",))


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


def _set_playbooks(job: JobDefinition, conf: dict[str, Any], complaints: Complaints) -> None:
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
    key = "semaphores" if "semaphores" in conf else "semaphore"
    semaphores = tuple(
        sorted(
            (each, False) if isinstance(each, str) else (each["name"], each.get("resources-first", False))
            for each in as_list(conf.get(key))
        )
    )
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


def _set_collections(job: JobDefinition, conf: dict[str, Any]) -> None:
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
    for key in ("tags", "requires", "provides"):
        if key in conf:
            setattr(job, key, frozenset(as_list(_unwrapped(job, conf, key))) or None)
    if "failure-output" in conf:
        job.failure_output = tuple(sorted(as_list(_unwrapped(job, conf, "failure-output"))))
        for position, pattern in enumerate(job.failure_output):
            regex = _regex(pattern, ("failure-output", position))
            if regex.complaint:
                raise Wrong(f'"{pattern}" is not RE2 syntax: {regex.complaint}', ("failure-output",))
    if allowed := as_list(conf.get("allowed-projects")):
        job.allowed_projects = frozenset(allowed)


def _project_use(value: dict[str, Any]) -> ProjectUse:
    return ProjectUse(value["name"], value.get("override-branch"), value.get("override-checkout"))


def _selected(value: Any, key: str) -> tuple[str, str | None]:
    if isinstance(value, str):
        return ("name", value)
    if "type" not in value or (value["type"] == "name" and "name" not in value):
        raise Wrong("needs a type (change, item), or type: name with a name", (key,))
    return (value["type"], value.get("name"))


def _set_variables(job: JobDefinition, conf: dict[str, Any]) -> None:
    for key in ("vars", "extra-vars", "host-vars", "group-vars"):
        if key not in conf:
            continue
        values = _unwrapped(job, conf, key)
        if not values:
            continue
        if key in ("vars", "extra-vars"):
            _refuse_reserved(values, (key,))
        else:
            for host, inner in values.items():
                _refuse_reserved(inner, (key, host))
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


def _refuse_reserved(values: dict[str, Any], path: tuple[Any, ...]) -> None:
    for name in (*RESERVED_VARIABLES, *CONNECTION_VARIABLES):
        if name in values:
            raise Wrong(f'a variable may not be called "{name}", it is reserved', (*path, name))


def secret_variable_fault(name: str) -> str:
    """Why a secret may not become a variable of this name, or ""."""
    if not re.fullmatch(r"[A-Za-z0-9_]+", name):
        return f'the secret\'s variable "{name}" may have letters, digits and underscores only: give it another with name and secret'
    if name in RESERVED_VARIABLES or name in CONNECTION_VARIABLES:
        return f'a variable may not be called "{name}", it is reserved'
    return ""


def refuse_reserved_project_variables(values: Any) -> None:
    """Project and template variables: only the first group of names is refused, as in Zuul."""
    for name in RESERVED_VARIABLES:
        if name in values:
            raise Wrong(f'a variable may not be called "{name}", it is reserved', ("vars", name))


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


def regexes(values: list[Any], path: tuple[Any, ...], complaints: Complaints) -> tuple[Regex, ...]:
    """Checked patterns, with a warning for each that is not RE2. Raises `Wrong`."""
    made = []
    for value in values:
        regex = _regex(value, path)
        if regex.complaint:
            complaints.warn(
                "Regex Deprecation", f'"{regex.pattern}" is not RE2 syntax ({regex.complaint}): negate: true replaces a look-ahead', path
            )
        made.append(regex)
    return tuple(made)


def _regex(value: Any, path: tuple[Any, ...]) -> Regex:
    try:
        return Regex.make(value)
    except BadRegex as bad:
        raise Wrong(str(bad), path) from bad
    except (TypeError, KeyError) as bad:
        raise Wrong(f"must be a regular expression, found {kind_of(value)}", path) from bad
