"""What is in an image: the packages and repositories of diskimage-builder's manifests, and how two builds of it differ."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class Manifest:
    """Versions of packages and commits of repositories, by name."""

    packages: Mapping[str, str] = field(default_factory=dict)
    repositories: Mapping[str, str] = field(default_factory=dict)


def read_manifest(files: Mapping[str, str]) -> Manifest:
    """From the texts of the manifest files by their names: `dib-manifest-dpkg-*` and `dib-manifest-rpm-*` (JSON), `dib-manifest-git-*`
    (lines of name, kind or path, ..., commit). What cannot be read counts as empty: a manifest is told to people, nothing depends on it."""
    packages: dict[str, str] = {}
    repositories: dict[str, str] = {}
    for name, text in sorted(files.items()):
        if name.startswith(("dib-manifest-dpkg-", "dib-manifest-rpm-")):
            packages |= _packages(text)
        elif name.startswith("dib-manifest-git-"):
            lines = [line.split() for line in text.splitlines()]
            repositories |= {words[0]: words[-1] for words in lines if len(words) >= 2}
    return Manifest(packages, repositories)


def _packages(text: str) -> dict[str, str]:
    try:
        listed = json.loads(text)["packages"]
        return {entry["package"]: entry["version"] for entry in listed}
    except (ValueError, KeyError, TypeError):
        return {}


def to_text(manifest: Manifest) -> str:
    return json.dumps({"packages": dict(manifest.packages), "repositories": dict(manifest.repositories)}, sort_keys=True)


def from_text(text: str) -> Manifest:
    """What `to_text` wrote; raises `ValueError` for anything else."""
    value = json.loads(text)
    if not isinstance(value, dict):
        raise ValueError("a manifest is a JSON object")
    return Manifest(value.get("packages", {}), value.get("repositories", {}))


def differences(before: Manifest | None, after: Manifest) -> str:
    """What changed since the build before, as Markdown."""
    if before is None:
        return f"The first build: {len(after.packages)} packages, {len(after.repositories)} repositories.\n"
    parts = [
        _table("Packages", before.packages, after.packages),
        _table("Repositories", before.repositories, after.repositories),
    ]
    said = "\n".join(part for part in parts if part)
    return said or f"Nothing changed: {len(after.packages)} packages, {len(after.repositories)} repositories.\n"


def _table(title: str, before: Mapping[str, str], after: Mapping[str, str]) -> str:
    changed = [name for name in sorted({*before, *after}) if before.get(name) != after.get(name)]
    if not changed:
        return ""
    lines = [f"| `{name}` | {before.get(name, '')[:40]} | {after.get(name, '')[:40]} |" for name in changed]
    return "\n".join([f"### {title}: {len(changed)} of {len(after)} changed", "", "| | before | now |", "|---|---|---|", *lines, ""])
