"""Values as YAML that Ansible reads."""

from __future__ import annotations

from typing import Any

import yaml

from headgate.inventory import Unsafe


class _Dumper(yaml.SafeDumper):
    """Writes what Ansible must not take for a template with its tag."""


_Dumper.add_representer(Unsafe, lambda dumper, text: dumper.represent_scalar("!unsafe", text))


def as_yaml(value: Any) -> str:
    return str(yaml.dump(value, Dumper=_Dumper, sort_keys=False, allow_unicode=True))
