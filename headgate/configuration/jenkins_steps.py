"""Jenkins' build steps to Ansible tasks."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from headgate.configuration.jenkins_notes import Notes, entries, mapping, variable_name

Task = dict[str, Any]
_REFERENCE = re.compile(r"\$\{(\w+)\}|\$(\w+)")
UNDER_TEST = "{{ zuul.project.src_dir }}"


@dataclass(slots=True)
class Steps:
    """The tasks of one job so far. `environment` is what every later step sees; `names` are the job's variables."""

    notes: Notes
    directory: str = UNDER_TEST
    names: frozenset[str] = frozenset()
    environment: dict[str, str] = field(default_factory=dict)
    tasks: list[Task] = field(default_factory=list)

    def add(self, builders: Any, condition: tuple[str, ...] = ()) -> None:
        """Carry over some builders, all of them under a condition (Ansible expressions that must all be true)."""
        for kind, content in entries(builders):
            carry = _BUILDERS.get(kind)
            if carry is None:
                self.notes.lost(f"the builder {kind}", content)
            else:
                carry(self, content, condition)

    def script(self, text: Any, module: str, executable: str, condition: tuple[str, ...]) -> Task:
        task: Task = {
            "name": f"Step {len(self.tasks) + 1}",
            module: literal(f"{text or ''}"),
            "args": {"chdir": self.directory, "executable": executable},
        }
        if self.environment:
            task["environment"] = dict(self.environment)
        if condition:
            task["when"] = list(condition)
        self.tasks.append(task)
        return task

    def expression(self, text: Any) -> str | None:
        """A text with `${NAME}` in it as an Ansible expression, `None` if a name is not known before the job runs."""
        parts, end = [], 0
        for found in _REFERENCE.finditer(f"{text}"):
            name = variable_name(found[1] or found[2])
            if name not in self.names:
                return None
            parts += [repr(f"{text}"[end : found.start()]), f"({name} | string)"]
            end = found.end()
        parts.append(repr(f"{text}"[end:]))
        return " ~ ".join(part for part in parts if part != "''") or "''"


def literal(script: str) -> str:
    """A script in which Ansible sees no template."""
    return "{% raw %}" + script.replace("{% endraw %}", "{% endraw %}{{ '{% endraw %}' }}{% raw %}") + "{% endraw %}"


def properties(text: Any) -> dict[str, str]:
    """`NAME=value` lines, as Java's properties files have them."""
    lines = (line.strip() for line in f"{text or ''}".splitlines())
    pairs = (line.partition("=") for line in lines if line and not line.startswith("#"))
    return {name.strip(): value.strip() for name, equals, value in pairs if equals}


def _script(module: str, executable: str) -> Callable[[Steps, Any, tuple[str, ...]], None]:
    def carry(steps: Steps, content: Any, condition: tuple[str, ...]) -> None:
        said = mapping(content)
        steps.script(said.get("command", "") if said else content, module, executable, condition)
        steps.notes.rest(f"step {len(steps.tasks)}", said, ("command",))

    return carry


def _inject(steps: Steps, content: Any, condition: tuple[str, ...]) -> None:
    said = mapping(content)
    if condition:
        steps.notes.lost("the builder inject under a condition", content)
        return
    steps.environment.update({name: literal(value) for name, value in properties(said.get("properties-content")).items()})
    steps.notes.rest("the builder inject", said, ("properties-content",))


def _conditional(steps: Steps, content: Any, condition: tuple[str, ...]) -> None:
    said = mapping(content)
    kind = said.get("condition-kind", "always")
    decide = _CONDITIONS.get(kind)
    found = decide(steps, said, condition) if decide else None
    if found is None:
        steps.notes.lost("the builder conditional-step", content)
        return
    steps.notes.rest("a conditional-step", said, (*_CONDITION_KEYS, "steps"))
    steps.add(said.get("steps"), (*condition, *found))


def _if_shell(steps: Steps, said: Mapping[str, Any], condition: tuple[str, ...]) -> tuple[str, ...]:
    task = steps.script(said.get("condition-command"), "ansible.builtin.shell", "/bin/bash", condition)
    result = f"condition_{len(steps.tasks)}"
    task |= {"register": result, "failed_when": False, "changed_when": False}
    return (f"{result}.rc == 0",)


def _if_file(steps: Steps, said: Mapping[str, Any], condition: tuple[str, ...]) -> tuple[str, ...] | None:
    if said.get("condition-basedir", "workspace") != "workspace" or steps.expression(said.get("condition-filename", "")) is None:
        return None
    result = f"condition_{len(steps.tasks) + 1}"
    name = _REFERENCE.sub(lambda found: f"{{{{ {variable_name(found[1] or found[2])} }}}}", f"{said.get('condition-filename', '')}")
    task: Task = {"name": f"Step {len(steps.tasks) + 1}", "ansible.builtin.stat": {"path": f"{steps.directory}/{name}"}, "register": result}
    steps.tasks.append(task | ({"when": list(condition)} if condition else {}))
    return (f"{result}.stat.exists",)


def _if_true(steps: Steps, said: Mapping[str, Any], condition: tuple[str, ...]) -> tuple[str, ...] | None:
    value = steps.expression(said.get("condition-expression", ""))
    return None if value is None else (f"({value}) | bool",)


def _if_equal(steps: Steps, said: Mapping[str, Any], condition: tuple[str, ...]) -> tuple[str, ...] | None:
    one, other = (steps.expression(said.get(f"condition-string{number}", "")) for number in (1, 2))
    if one is None or other is None:
        return None
    fold = " | lower" if said.get("condition-case-insensitive") else ""
    return (f"({one}){fold} == ({other}){fold}",)


_CONDITIONS: dict[str, Callable[[Steps, Mapping[str, Any], tuple[str, ...]], tuple[str, ...] | None]] = {
    "always": lambda steps, said, condition: (),
    "never": lambda steps, said, condition: ("false",),
    "shell": _if_shell,
    "file-exists": _if_file,
    "boolean-expression": _if_true,
    "strings-match": _if_equal,
}
_CONDITION_KEYS = (
    "condition-kind",
    "condition-command",
    "condition-expression",
    "condition-string1",
    "condition-string2",
    "condition-case-insensitive",
    "condition-filename",
    "condition-basedir",
)
_BUILDERS: dict[str, Callable[[Steps, Any, tuple[str, ...]], None]] = {
    "shell": _script("ansible.builtin.shell", "/bin/bash"),
    "python": _script("ansible.builtin.shell", "/usr/bin/python3"),
    "batch": _script("ansible.windows.win_shell", "cmd"),
    "powershell": _script("ansible.windows.win_shell", "powershell"),
    "inject": _inject,
    "conditional-step": _conditional,
}
