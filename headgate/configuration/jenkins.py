"""Jenkins Job Builder's jobs, already expanded, to jobs and playbooks of this language.

What has no counterpart is not guessed: it is listed, with the job it belongs to.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from headgate.configuration.jenkins_notes import Imported, Notes, dump, entries, mapping, object_name, variable_name
from headgate.configuration.jenkins_steps import Steps, literal, properties
from headgate.configuration.jenkins_triggers import Attachments, attach

_CARRIED = frozenset(
    ("name", "id", "description", "disabled", "node", "concurrent", "builders", "wrappers", "parameters", "project-type", "scm", "triggers")
)
_MATRIX = frozenset(("axes", "execution-strategy"))
_SILENT = frozenset(("defaults", "full-name", "canroam"))
_GIVEN_ANYWAY = frozenset(("timestamps", "ansicolor", "workspace-cleanup"))
"""Wrappers whose effect every job has here: the console knows times and colours, and a workspace is always new."""
_KINDS = {"publishers": "publisher", "properties": "property", "notifications": "notification", "reporters": "reporter"}
_MARK = "<!-- Managed by Jenkins Job Builder -->"
_URL = re.compile(r"(?:[\w+]+://[^/]+/|[^/@]+@[^:/]+:|[\w.-]+:)(?P<path>[\w./-]+?)(?:\.git)?/?")


@dataclass(slots=True)
class _Conversion:
    """Everything of all jobs so far."""

    imported: Imported = field(default_factory=Imported)
    attachments: Attachments = field(default_factory=Attachments)
    stanzas: list[dict[str, Any]] = field(default_factory=list)
    labels: dict[str, None] = field(default_factory=dict)
    semaphores: dict[str, int] = field(default_factory=dict)

    def nodeset(self, label: str) -> str:
        self.labels[label] = None
        return object_name(label)

    def hold(self, job: dict[str, Any], semaphore: str, most: int = 1) -> None:
        name = object_name(semaphore)
        self.semaphores[name] = most
        if name not in job.setdefault("semaphores", []):
            job["semaphores"].append(name)


def convert(jobs: Iterable[tuple[str, Mapping[str, Any]]]) -> Imported:
    """Files of a configuration that does what these Jenkins jobs did.

    `zuul.d/jenkins.yaml` and a playbook for each job belong in the project that the jobs test; `config/zuul.d/jenkins.yaml`, if there
    is need of one, in a config-project.
    """
    whole = _Conversion()
    for name, data in jobs:
        _convert(name, data, whole)
    nodesets = [{"nodeset": {"name": object_name(label), "nodes": [{"name": "node", "label": label}]}} for label in whole.labels]
    semaphores = [{"semaphore": {"name": name, "max": most}} for name, most in whole.semaphores.items()]
    whole.imported.files["zuul.d/jenkins.yaml"] = dump([*nodesets, *semaphores, *whole.stanzas, *whole.attachments.own()])
    if central := whole.attachments.central():
        whole.imported.files["config/zuul.d/jenkins.yaml"] = dump(central)
    return whole.imported


def _convert(name: str, data: Mapping[str, Any], whole: _Conversion) -> None:
    notes = Notes(name, whole.imported)
    kind = data.get("project-type", "freestyle")
    if kind not in ("freestyle", "matrix"):
        notes.say(f"project-type {kind} has no counterpart, only its builders are carried over")
    job: dict[str, Any] = {"name": object_name(name)}
    if description := str(data.get("description") or "").removesuffix(_MARK).strip():
        job["description"] = description
    if data.get("node"):
        if kind == "matrix":
            notes.lost("node, which says where the parent of a matrix waits", data["node"])
        else:
            job["nodeset"] = whole.nodeset(str(data["node"]))
            if re.search(r"[&|!()]|->", str(data["node"])):
                notes.lost("node is a label expression, taken as the name of one label", data["node"])
    if data.get("concurrent") is False:
        whole.hold(job, job["name"])
    steps = Steps(notes)
    _wrappers(data, job, steps, whole)
    _parameters(data, job, notes)
    _sources(data, job, steps)
    jobs = _matrix(data, job, whole, notes) if kind == "matrix" else [job]
    _write(data, job, jobs, steps, whole)
    for key, content in data.items():
        if key in _CARRIED or key in _SILENT or (kind == "matrix" and key in _MATRIX) or content in (None, "", [], {}, False):
            continue
        if isinstance(content, list):
            for each, held in entries(content):
                notes.lost(f"the {_KINDS.get(key, key)} {each}", held)
        else:
            notes.lost(key, content)
    if data.get("disabled"):
        notes.say("it is disabled, so it is attached to no pipeline")
    else:
        attach(data.get("triggers"), [each["name"] for each in jobs], whole.attachments, notes)


def _write(data: Mapping[str, Any], job: dict[str, Any], jobs: list[dict[str, Any]], steps: Steps, whole: _Conversion) -> None:
    """The stanzas of a job, or of a matrix's, and the playbook that they share."""
    values = {variable: value for each in (job, *jobs) for variable, value in each.get("vars", {}).items()}
    steps.names = frozenset(values)
    for variable, value in values.items():
        steps.environment[variable] = f"{{{{ {variable}{' | string | lower' if isinstance(value, bool) else ''} }}}}"
    steps.add(data.get("builders"))
    nothing = {"name": "Nothing was carried over", "ansible.builtin.debug": {"msg": "This job has no step that could be imported"}}
    playbook = f"playbooks/jenkins/{job['name']}.yaml"
    whole.imported.files[playbook] = dump([{"hosts": "all", "tasks": steps.tasks or [nothing]}])
    job["run"] = playbook
    if jobs != [job]:
        whole.stanzas.append({"job": {**job, "abstract": True}})
    whole.stanzas += [{"job": each} for each in jobs]


def _matrix(data: Mapping[str, Any], job: dict[str, Any], whole: _Conversion, notes: Notes) -> list[dict[str, Any]]:
    """One job for each combination of the axes, inheriting from one that has all they share."""
    axes: list[list[tuple[str, str, Any]]] = []
    for _, content in entries(data.get("axes")):
        said = mapping(content)
        kind = str(said.get("type", "user-defined"))
        name = str(said.get("name") or {"python": "PYTHON", "tox": "TOXENV"}.get(kind, kind))
        values = said.get("values")
        if not isinstance(values, list) or not values:
            notes.lost("an axis", content)
            continue
        notes.rest("an axis", said, ("type", "name", "values"))
        axes.append([(kind, name, value) for value in values])
    strategy = mapping(data.get("execution-strategy"))
    notes.rest("the execution-strategy", strategy, ("sequential",))
    if strategy.get("sequential"):
        whole.hold(job, job["name"])
    return [_combination(job, chosen, whole) for chosen in itertools.product(*axes)] if axes else [job]


def _combination(job: Mapping[str, Any], chosen: tuple[tuple[str, str, Any], ...], whole: _Conversion) -> dict[str, Any]:
    made: dict[str, Any] = {"name": object_name("-".join([job["name"], *(str(value) for _, _, value in chosen)])), "parent": job["name"]}
    for kind, name, value in chosen:
        if kind in ("slave", "label-expression"):
            made["nodeset"] = whole.nodeset(str(value))
        made.setdefault("vars", {})[variable_name(name)] = value
    return made


def _wrappers(data: Mapping[str, Any], job: dict[str, Any], steps: Steps, whole: _Conversion) -> None:
    notes = steps.notes
    for kind, content in entries(data.get("wrappers")):
        said = mapping(content)
        minutes = said.get("timeout") if said else content
        if kind == "timeout" and said.get("type", "absolute") == "absolute" and str(minutes).isdigit():
            job["timeout"] = int(str(minutes)) * 60
            notes.rest("the wrapper timeout", said, ("timeout", "type", "fail", "abort"))
        elif kind == "inject" and said:
            steps.environment |= {name: literal(value) for name, value in properties(said.get("properties-content")).items()}
            notes.rest("the wrapper inject", said, ("properties-content",))
        elif kind == "locks" and isinstance(content, list):
            for lock in content:
                whole.hold(job, str(lock))
        elif kind == "credentials-binding":
            for sort, credential in entries(content):
                notes.lost(f"the wrapper credentials-binding {sort}: write a secret of it, and give it to the job", credential)
        elif kind not in _GIVEN_ANYWAY:
            notes.lost(f"the wrapper {kind}", content)


def _parameters(data: Mapping[str, Any], job: dict[str, Any], notes: Notes) -> None:
    for kind, content in entries(data.get("parameters")):
        said = mapping(content)
        if kind not in ("string", "text", "bool", "choice") or "name" not in said:
            notes.lost(f"the parameter {kind}", {key: value for key, value in said.items() if kind != "password" or key != "default"})
            continue
        choices = said.get("choices") or [""]
        default = choices[0] if kind == "choice" else said.get("default", False if kind == "bool" else "")
        job.setdefault("vars", {})[variable_name(str(said["name"]))] = default
        notes.rest(f"the parameter {said['name']}", {**said, "choices": choices[1:]}, ("name", "default", "description", "trim"))


def _sources(data: Mapping[str, Any], job: dict[str, Any], steps: Steps) -> None:
    """Required projects of the repositories a job cloned; if that is a single one, its steps run there."""
    found: list[str] = []
    for kind, content in entries(data.get("scm")):
        said = mapping(content)
        url = str(said.get("url", ""))
        if kind == "git" and "$GERRIT_PROJECT" in url.replace("{", "").replace("}", ""):
            steps.notes.rest("the scm git", said, ("url", "branches", "refspec", "choosing-strategy", "wipe-workspace", "clean"))
            continue
        address = _URL.fullmatch(url)
        if kind != "git" or address is None or "$" in url:
            steps.notes.lost(f"the scm {kind}", content)
            continue
        name = address["path"].strip("/")
        branches = [str(branch) for branch in said.get("branches") or ()]
        entry: dict[str, Any] = {"name": name}
        branch = re.fullmatch(r"(?:\*/|origin/|refs/heads/)?([\w./-]+)", branches[0]) if len(branches) == 1 else None
        if branch and branch[1] != "master":
            entry["override-checkout"] = branch[1]
        elif branches and not branch and any("$" not in each and "*" not in each for each in branches):
            steps.notes.lost(f"branches of the scm git {name}", branches)
        job.setdefault("required-projects", []).append(entry if len(entry) > 1 else name)
        steps.notes.rest(f"the scm git {name}", said, ("url", "branches", "wipe-workspace", "clean", "name"))
        found += [] if said.get("basedir") else [name]
    if len(found) == 1:
        steps.directory = f"{{{{ (zuul.projects.values() | selectattr('name', 'equalto', '{found[0]}') | first).src_dir }}}}"
