"""Zuul's single-file fixtures (`tests/fixtures/layouts`) as whole configurations: the file is the config-project's, all else untrusted."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml

from tests.configuration.mutation_nodes import composed, get, stanzas

SOURCES = ("github", "gitlab", "pagure")


def simple_layouts(fixtures: Path, root: Path) -> list[Path]:
    """One directory below `root` for each file that can be laid out so."""
    layouts = fixtures / "layouts"
    found = []
    for path in sorted(layouts.rglob("*.yaml")):
        text = path.read_text()
        projects = [name for _, _, conf in stanzas(composed(text), "project") if (name := _name(conf)) and not name.startswith("^")]
        if "{" in text and "{{" in text:  # a template that Zuul's tests fill in
            continue
        directory = root / "-".join(path.relative_to(layouts).with_suffix("").parts)
        source = next((each for each in SOURCES if each in str(path.relative_to(layouts))), "gerrit")
        config = directory / "git" / "org_common-config"
        config.mkdir(parents=True)
        (config / "zuul.yaml").write_text(text)
        untrusted = sorted({*projects} - {"org/common-config"})
        for name in untrusted:
            (directory / "git" / name.replace("/", "_")).mkdir(exist_ok=True)
        (directory / "main.yaml").write_text(yaml.safe_dump(_tenant(source, untrusted)))
        found.append(directory)
    return found


def _name(conf: yaml.MappingNode) -> str:
    node = get(conf, "name")
    return node.value if isinstance(node, yaml.ScalarNode) else ""


def _tenant(source: str, untrusted: list[str]) -> Any:
    kinds = ["pipeline", "job", "semaphore", "project", "project-template", "nodeset", "secret", "queue"]
    kinds += ["image", "flavor", "label", "section", "provider"]
    projects = {
        "config-projects": [{"org/common-config": {"include": kinds}}],
        "untrusted-projects": [{name: {"include": kinds}} for name in untrusted],
    }
    return [{"tenant": {"name": "tenant-one", "source": {source: projects}}}]
