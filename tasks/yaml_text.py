"""Values as YAML that Ansible reads."""

from __future__ import annotations

from typing import Any

import yaml

from headgate.inventory import Unsafe


class _Dumper(getattr(yaml, "CSafeDumper", yaml.SafeDumper)):  # type: ignore[misc]  # libyaml, where PyYAML was built with it: 7 times faster
    """Writes what Ansible must not take for a template with its tag."""


_Dumper.add_representer(Unsafe, lambda dumper, text: dumper.represent_scalar("!unsafe", str(text)))


def as_yaml(value: Any) -> str:
    return str(yaml.dump(value, Dumper=_Dumper, sort_keys=False, allow_unicode=True))
