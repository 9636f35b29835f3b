"""Project and project-template stanzas."""

from __future__ import annotations

from typing import Any

from headgate.configuration import about
from headgate.configuration.definitions import JobDefinition, Parameter, PipelineUse, ProjectDefinition
from headgate.configuration.document_values import kind_of
from headgate.configuration.job_shapes import VARIABLE, VARIABLES, VARIANT
from headgate.configuration.parse_jobs import job_definition
from headgate.configuration.parse_regexes import regexes
from headgate.configuration.regex_shape import REGEX
from headgate.configuration.shapes import FLAG, SCALAR, TEXT, Choice, Either, ListOf, MappingOf, Record, one_or_many
from headgate.configuration.stanza import Complaints, Wrong
from headgate.configuration.tenant_values import as_list
from headgate.configuration.variable_names import refuse_reserved_project_variables

MERGE_MODES = ("merge", "merge-resolve", "cherry-pick", "squash-merge", "rebase", "rebase-first-parent")
_JOB = Either(TEXT, MappingOf(Either(TEXT, VARIANT), called="a mapping from a job's name to its variant"))
_JOB.called = "a job's name, or a mapping from it to its variant"
_PARAMETER = Record(
    {
        "name": VARIABLE,
        "type": Choice("string", "selection", "multiple-selection", "bool"),
        "description": TEXT,
        "values": ListOf(SCALAR),
        "default": one_or_many(SCALAR),
        "required": FLAG,
    },
    required=("name", "type"),
)
_PIPELINE = Record(
    {"debug": FLAG, "fail-fast": FLAG, "jobs": ListOf(_JOB), "parameters": one_or_many(_PARAMETER)},
    called="a pipeline's mapping with jobs",
    about=about.PROJECT_PIPELINE,
)
_COMMON = {"name": TEXT, "description": TEXT, "queue": TEXT, "vars": VARIABLES}
TEMPLATE = Record(_COMMON, rest=_PIPELINE, about=about.TEMPLATE)
PROJECT = Record(
    {
        **_COMMON,
        "branches": one_or_many(REGEX),
        "templates": ListOf(TEXT),
        "merge-mode": Choice(*MERGE_MODES),
        "default-branch": TEXT,
    },
    rest=_PIPELINE,
    about=about.PROJECT,
)
_NOT_PIPELINES = frozenset(("name", "description", "templates", "merge-mode", "default-branch", "vars", "queue", "branches"))


def project_definition(conf: dict[str, Any], complaints: Complaints, is_template: bool) -> ProjectDefinition:
    """A project or template from its checked mapping. Raises `Wrong`."""
    project = ProjectDefinition(conf.get("name", "") or "", is_template=is_template, description=conf.get("description"))
    project.queue = conf.get("queue")
    _refuse_lonely_semaphores(conf)
    for name, content in conf.items():
        if name not in _NOT_PIPELINES:
            project.pipelines[name] = _pipeline(name, content, complaints)
    if values := conf.get("vars"):
        refuse_reserved_project_variables(values)
        project.vars = values
    if not is_template:
        if branches := as_list(conf.get("branches")):
            project.branches = regexes(branches, ("branches",), complaints)
        project.templates = tuple(dict.fromkeys(conf.get("templates", [])))
        project.merge_mode = conf.get("merge-mode")
        project.default_branch = conf.get("default-branch")
    return project


def _refuse_lonely_semaphores(conf: dict[str, Any]) -> None:
    """Zuul's schema refuses these, before anything else is said of the stanza."""
    for pipeline, content in conf.items():
        for position, entry in enumerate(content.get("jobs", []) if pipeline not in _NOT_PIPELINES else []):
            for name, attributes in entry.items() if isinstance(entry, dict) else ():
                if isinstance(attributes, dict) and list(attributes) == ["semaphore"] and isinstance(attributes["semaphore"], dict):
                    raise Wrong(
                        "as a mapping may not be a variant's only attribute, Zuul takes it for a semaphore object: use semaphores",
                        (pipeline, "jobs", position, name, "semaphore"),
                    )


def _pipeline(name: str, content: dict[str, Any], complaints: Complaints) -> PipelineUse:
    jobs: dict[str, list[JobDefinition]] = {}
    for position, entry in enumerate(content.get("jobs", [])):
        place = (name, "jobs", position)
        job = JobDefinition(entry, in_pipeline=True) if isinstance(entry, str) else _variant(entry, place, complaints)
        job.path = place
        jobs.setdefault(job.name, []).append(job)
    return PipelineUse(jobs, content.get("debug"), content.get("fail-fast"), _parameters(content, name))


def _variant(entry: dict[str, Any], place: tuple[Any, ...], complaints: Complaints) -> JobDefinition:
    if not entry:
        raise Wrong("must be a job's name, or a mapping from it to its variant, found an empty mapping", place)
    name, attributes = next(iter(entry.items()))
    if not isinstance(attributes, dict):
        raise Wrong(f'"{name}" must hold a mapping, found {kind_of(attributes)}', (*place, name))
    complaints.prefix = (*place, name)
    try:
        return job_definition(attributes, name, complaints, in_pipeline=True)
    except Wrong as wrong:
        raise Wrong(str(wrong), (*place, name, *wrong.path), wrong.name) from wrong
    finally:
        complaints.prefix = ()


def _parameters(content: dict[str, Any], pipeline: str) -> tuple[Parameter, ...]:
    given = content.get("parameters", [])
    if isinstance(given, dict):
        raise Wrong("must be a list of parameters, found a mapping", (pipeline, "parameters"))
    found: dict[str, Parameter] = {}
    for each in given:
        values = tuple(each["values"]) if "values" in each else None
        found[each["name"]] = Parameter(
            each["name"], each["type"], each.get("description"), values, each.get("default"), each.get("required", False)
        )
    return tuple(found.values())
