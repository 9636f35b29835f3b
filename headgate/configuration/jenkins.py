"""Jenkins Job Builder's jobs, already expanded, to jobs and playbooks of this language.

What has no counterpart is not guessed: it is listed, with the job it belongs to.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

import yaml

_CARRIED = frozenset(("name", "id", "description", "disabled", "node", "concurrent", "builders", "wrappers", "parameters", "project-type"))
_SILENT = frozenset(("defaults", "full-name"))


@dataclass(slots=True)
class Imported:
    """Files by path, and sentences on what was left out."""

    files: dict[str, str] = field(default_factory=dict)
    left_out: list[str] = field(default_factory=list)


class _Dumper(yaml.SafeDumper):
    """Scripts as blocks, everything else as PyYAML has it."""


def _text(dumper: yaml.SafeDumper, value: str) -> yaml.ScalarNode:
    return dumper.represent_scalar("tag:yaml.org,2002:str", value, style="|" if "\n" in value else None)


_Dumper.add_representer(str, _text)


def _dump(value: Any) -> str:
    return yaml.dump(value, Dumper=_Dumper, sort_keys=False, width=120)


def convert(jobs: Iterable[tuple[str, Mapping[str, Any]]]) -> Imported:
    """Files of a configuration that does what these Jenkins jobs did: `zuul.d/jenkins.yaml` and a playbook for each job."""
    imported = Imported()
    stanzas: list[dict[str, Any]] = []
    labels: dict[str, None] = {}
    attached: list[str] = []
    for name, data in jobs:
        job = _job(name, data, imported, labels, stanzas)
        stanzas.append({"job": job})
        if data.get("disabled"):
            imported.left_out.append(f"{name}: it is disabled, so it is attached to no pipeline")
        else:
            attached.append(job["name"])
    nodesets = [{"nodeset": {"name": _name(label), "nodes": [{"name": "node", "label": label}]}} for label in labels]
    project = [{"project": {"check": {"jobs": attached}}}] if attached else []
    imported.files["zuul.d/jenkins.yaml"] = _dump([*nodesets, *stanzas, *project])
    return imported


def _name(text: str) -> str:
    return re.sub(r"[^\w.-]+", "-", text).strip("-") or "unnamed"


def _job(name: str, data: Mapping[str, Any], imported: Imported, labels: dict[str, None], stanzas: list[dict[str, Any]]) -> dict[str, Any]:
    job: dict[str, Any] = {"name": _name(name)}
    if data.get("description"):
        job["description"] = str(data["description"]).strip()
    if data.get("node"):
        labels[str(data["node"])] = None
        job["nodeset"] = _name(str(data["node"]))
    if (kind := data.get("project-type", "freestyle")) != "freestyle":
        imported.left_out.append(f"{name}: project-type {kind} has no counterpart, only its builders are carried over")
    if data.get("concurrent") is False:
        job["semaphores"] = [job["name"]]
        stanzas.append({"semaphore": {"name": job["name"], "max": 1}})
    _wrappers(name, data, job, imported)
    _parameters(name, data, job, imported)
    playbook = f"playbooks/jenkins/{job['name']}.yaml"
    job["run"] = playbook
    imported.files[playbook] = _dump([{"hosts": "all", "tasks": _tasks(name, data, job, imported)}])
    for key in data:
        if key not in _CARRIED and key not in _SILENT and data[key]:
            detail = ", ".join(_kinds(data[key])) if isinstance(data[key], list) else ""
            imported.left_out.append(f"{name}: {key}{f' ({detail})' if detail else ''}")
    return job


def _kinds(entries: Iterable[Any]) -> list[str]:
    return [str(next(iter(entry))) if isinstance(entry, Mapping) and entry else str(entry) for entry in entries]


def _wrappers(name: str, data: Mapping[str, Any], job: dict[str, Any], imported: Imported) -> None:
    for entry, kind in zip(data.get("wrappers") or (), _kinds(data.get("wrappers") or ()), strict=True):
        content = entry.get(kind) if isinstance(entry, Mapping) else None
        minutes = content.get("timeout") if kind == "timeout" and isinstance(content, Mapping) else None
        if minutes is not None and str(minutes).isdigit():
            job["timeout"] = int(minutes) * 60
        elif kind not in ("timestamps", "ansicolor"):
            imported.left_out.append(f"{name}: the wrapper {kind}")


def _parameters(name: str, data: Mapping[str, Any], job: dict[str, Any], imported: Imported) -> None:
    for entry, kind in zip(data.get("parameters") or (), _kinds(data.get("parameters") or ()), strict=True):
        content = entry.get(kind) if isinstance(entry, Mapping) else None
        if kind not in ("string", "text", "bool", "choice") or not isinstance(content, Mapping) or "name" not in content:
            imported.left_out.append(f"{name}: the parameter {kind}")
            continue
        choices = content.get("choices") or [""]
        default = choices[0] if kind == "choice" else content.get("default", "")
        job.setdefault("vars", {})[_variable(str(content["name"]))] = default


def _variable(name: str) -> str:
    cleaned = re.sub(r"\W", "_", name)
    return cleaned if re.match(r"[A-Za-z]", cleaned) else f"var_{cleaned}"


def _tasks(name: str, data: Mapping[str, Any], job: Mapping[str, Any], imported: Imported) -> list[dict[str, Any]]:
    environment = {variable: f"{{{{ {variable} }}}}" for variable in job.get("vars", {})}
    tasks: list[dict[str, Any]] = []
    for entry, kind in zip(data.get("builders") or (), _kinds(data.get("builders") or ()), strict=True):
        content = entry.get(kind) if isinstance(entry, Mapping) else None
        if kind != "shell":
            imported.left_out.append(f"{name}: the builder {kind}")
            continue
        script = content.get("command", "") if isinstance(content, Mapping) else content or ""
        arguments = {"chdir": "{{ zuul.project.src_dir }}", "executable": "/bin/bash"}
        task: dict[str, Any] = {
            "name": f"Step {len(tasks) + 1}",
            "ansible.builtin.shell": "{% raw %}" + f"{script}" + "{% endraw %}",
            "args": arguments,
        }
        if environment:
            task["environment"] = environment
        tasks.append(task)
    return tasks or [{"name": "Nothing was carried over", "ansible.builtin.debug": {"msg": "This job has no step that could be imported"}}]
