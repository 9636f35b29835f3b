"""`headgate import jjb`: Jenkins Job Builder definitions, read by the jenkins-job-builder library, to Headgate's files."""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

import typer

from headgate.configuration.jenkins import convert
from headgate.configuration.jenkins_notes import Imported
from headgate.problems import Problem

imports = typer.Typer(name="import", help="Take over what another system did.", no_args_is_help=True)


def register(app: typer.Typer) -> None:
    """Add `import jjb`."""
    app.add_typer(imports)


class _Collector:
    """Stands where JJB has its registry of XML writers, and keeps the elements that macros expand to."""

    def __init__(self, macros: Mapping[str, Mapping[str, Any]]) -> None:
        self.macros = macros
        self.found: list[Any] = []

    def dispatch(self, kind: str, parent: Any, element: Any, template_data: Any = None, job_data: Any = None) -> None:
        name = next(iter(element)) if isinstance(element, Mapping) and element else str(element)
        macro = self.macros.get(kind, {}).get(name)
        if macro is None:
            self.found.append(self._with_steps(kind, name, element))
            return
        given = element[name] if isinstance(element, Mapping) else None
        macro.dispatch_elements(self, parent, template_data or {}, job_data or {}, dict(given or {}))

    def _with_steps(self, kind: str, name: str, element: Any) -> Any:
        """An element that holds others (a conditional step), with the macros among those expanded."""
        content = element[name] if isinstance(element, Mapping) else None
        if not isinstance(content, Mapping) or not isinstance(content.get("steps"), list):
            return element
        inner = _Collector(self.macros)
        for step in content["steps"]:
            inner.dispatch(kind, None, step)
        return {name: {**content, "steps": inner.found}}


_MACROS = {
    "builders": "builder",
    "wrappers": "wrapper",
    "publishers": "publisher",
    "triggers": "trigger",
    "parameters": "parameter",
    "properties": "property",
    "scm": "scm",
}


def expanded(paths: list[Path]) -> list[tuple[str, dict[str, Any]]]:
    """All jobs of some files, templates, groups and macros expanded. Raises `Problem`."""
    from jenkins_jobs.config import JJBConfig  # it takes half a second to import
    from jenkins_jobs.errors import JenkinsJobsException
    from jenkins_jobs.loader import load_files
    from jenkins_jobs.roots import Roots
    from yaml import YAMLError

    logging.getLogger("jenkins_jobs").setLevel(logging.ERROR)  # it warns that it has no server's configuration, which it needs not
    try:
        config = JJBConfig()
        config.validate()
        roots = Roots(config)
        load_files(config, roots, paths)
        found = []
        for view in roots.generate_jobs():
            data = dict(view.data)
            for key, kind in _MACROS.items():
                collector = _Collector(roots.macros)
                for element in data.get(key) or ():
                    collector.dispatch(kind, None, element, data, data)
                if collector.found:
                    data[key] = collector.found
            found.append((view.name, data))
    except (JenkinsJobsException, YAMLError, OSError) as wrong:
        raise Problem(f"Jenkins Job Builder cannot read this: {' '.join(str(wrong).split())}") from wrong
    return found


@imports.command()
def jjb(
    files: Annotated[list[Path], typer.Argument(metavar="FILE...", help="Definitions, or directories of such.")],
    output: Annotated[Path, typer.Option(help="The directory to write to.")] = Path(),
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Turn Jenkins Job Builder jobs, templates, macros and groups into jobs and playbooks, and list what could not be carried over."""
    missing = [str(path) for path in files if not path.exists()]
    if missing:
        raise Problem(f"there is no file {', '.join(missing)}")
    imported: Imported = convert(expanded(files))
    for name, text in imported.files.items():
        path = output / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    if as_json:
        lost = [dict(zip(("job", "what"), each, strict=True)) for each in imported.left_out]
        typer.echo(json.dumps({"written": [str(output / name) for name in imported.files], "left_out": lost}, indent=1))
        return
    for name in imported.files:
        typer.echo(f"wrote {output / name}")
    jobs_by_sentence: dict[str, list[str]] = {}
    for job, sentence in imported.left_out:
        jobs_by_sentence.setdefault(sentence, []).append(job)
    for sentence, jobs in jobs_by_sentence.items():
        typer.echo(f"not carried over: {', '.join(dict.fromkeys(jobs))}: {sentence}")
