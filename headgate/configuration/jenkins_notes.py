"""What an import from Jenkins says of everything it could not carry over, and how it writes YAML."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import yaml


@dataclass(slots=True)
class Imported:
    """Files by path, and what was left out: the job, and a sentence."""

    files: dict[str, str] = field(default_factory=dict)
    left_out: list[tuple[str, str]] = field(default_factory=list)


@dataclass(slots=True)
class Notes:
    """The sentences of one job. Every key that nobody carried over must pass through here."""

    job: str
    imported: Imported

    def say(self, sentence: str) -> None:
        self.imported.left_out.append((self.job, sentence))

    def lost(self, what: str, content: Any = None) -> None:
        """The whole of `what` is lost, with what it held."""
        held = brief(content)
        self.say(f"{what} ({held})" if held else what)

    def rest(self, what: str, content: Mapping[str, Any], carried: Iterable[str]) -> None:
        """Of `what` everything is lost but the `carried` keys."""
        known = frozenset(carried)
        for key, value in content.items():
            if key not in known and value not in (None, "", [], {}, False):
                self.lost(f"{key} of {what}", value)


_SECRET = re.compile(r"passw|passphrase|secret|token", re.IGNORECASE)


def brief(content: Any) -> str:
    """A value on one line, cut off where it gets long, without what may be secret."""
    if content in (None, "", [], {}):
        return ""
    if isinstance(content, Mapping):
        shown = {key: "hidden" if _SECRET.search(str(key)) else value for key, value in content.items()}
        text = ", ".join(f"{key}: {brief(value)}" for key, value in shown.items())
    elif isinstance(content, list):
        text = ", ".join(brief(each) for each in content)
    else:
        text = str(content).lower() if isinstance(content, bool) else " ".join(str(content).split())
    return text if len(text) <= 100 else text[:99] + "…"


def entries(given: Any) -> Iterator[tuple[str, Any]]:
    """Jenkins Job Builder's lists of things: `- kind` or `- kind: content`, as kind and content."""
    for entry in given or ():
        if isinstance(entry, Mapping) and entry:
            yield str(next(iter(entry))), next(iter(entry.values()))
        else:
            yield str(entry), None


def mapping(content: Any) -> Mapping[str, Any]:
    return content if isinstance(content, Mapping) else {}


def object_name(text: str) -> str:
    """A name that a job, nodeset, semaphore or file may have."""
    return re.sub(r"[^\w.-]+", "-", text).strip("-") or "unnamed"


def variable_name(text: str) -> str:
    """A name that a variable may have."""
    cleaned = re.sub(r"\W", "_", text)
    return cleaned if re.match(r"[A-Za-z]", cleaned) else f"var_{cleaned}"


class _Dumper(yaml.SafeDumper):
    """Scripts as blocks, everything else as PyYAML has it."""

    def ignore_aliases(self, data: Any) -> bool:
        return True


def _text(dumper: yaml.SafeDumper, value: str) -> yaml.ScalarNode:
    return dumper.represent_scalar("tag:yaml.org,2002:str", value, style="|" if "\n" in value else None)


_Dumper.add_representer(str, _text)


def dump(value: Any) -> str:
    return yaml.dump(value, Dumper=_Dumper, sort_keys=False, width=120)
