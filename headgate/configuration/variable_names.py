"""What variables may be called."""

from __future__ import annotations

import re
from typing import Any

from headgate.configuration.stanza import Wrong

RESERVED_VARIABLES = ("zuul", "zuul_node", "nodepool", "unsafe_vars", "zuul_user_dir")
CONNECTION_VARIABLES = ("ansible_connection", "ansible_host", "ansible_python_interpreter", "ansible_shell_executable", "ansible_user")
VARIABLE_PATTERN = r"^[a-zA-Z][a-zA-Z0-9_]*$"


def variable_fault(name: Any) -> str:
    """Why this is no name of a variable, or ""."""
    if isinstance(name, str) and re.fullmatch(VARIABLE_PATTERN, name):
        return ""
    return f'"{name}" is not a variable name: a letter, then letters, digits and underscores'


def refuse_reserved(values: dict[str, Any], path: tuple[Any, ...]) -> None:
    """Raises `Wrong` if one of a job's variables has a name that is not free."""
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
