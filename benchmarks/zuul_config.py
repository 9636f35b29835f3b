"""Zuul's side of `config.py`: the same tenant by Zuul's own loader, in Zuul's own environment. Imports nothing of Headgate."""

import json
import pathlib
import resource
import sys
import time

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent / "tests" / "configuration"))

import logging
import types

import zuul_reference as reference


def best(function, times):
    found = []
    for _ in range(times):
        start = time.process_time()
        function()
        found.append(time.process_time() - start)
    return min(found)


def main():
    directory, source = sys.argv[1], pathlib.Path(sys.argv[2])
    logging.disable(logging.CRITICAL)
    reference.stand_in()
    key = (source / "tests" / "fixtures" / "private.pem").read_text()
    request = {"directory": directory, "key": key, "hostnames": {"gerrit": "review.example.com"}, "drivers": {"gerrit": "gerrit"}}
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    world = reference.World(request)
    memory = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024
    texts = {}
    original = pathlib.Path.read_text
    for path in pathlib.Path(directory).rglob("*.yaml"):
        texts[str(path)] = original(path)
    world.read_branch_files = lambda root, extra=(): (
        {"zuul.yaml": texts[str(root / "zuul.yaml")]} if str(root / "zuul.yaml") in texts else {}
    )

    def load():
        world.abide = reference.model.Abide()
        world.loader.loadTPCs(world.abide, world.unparsed)
        return world.loader.loadTenant(world.abide, "big", world.ansible, world.unparsed)

    seconds = best(load, 2)
    tenant = load()
    manager = tenant.layout.pipeline_managers["gate"]
    edited = (
        texts[str(pathlib.Path(directory) / "git" / "org_project-7" / "zuul.yaml")]
        + "\n- job: {name: new, parent: unit, abstract: false}\n"
    )
    changed = {"gerrit": {"org/project-7": {"master": {"zuul.yaml": edited}}}}

    class Files:
        connections = changed

        def getFile(self, connection, project, branch, name):
            return changed.get(connection, {}).get(project, {}).get(branch, {}).get(name)

    world.loader.scheduler = types.SimpleNamespace(abide=world.abide)
    item = types.SimpleNamespace(manager=manager, event=None, layout_uuid=None, warning=lambda text: None)
    query = {"project": "org/project-7", "pipeline": "gate", "branch": "master", "files": ["src/x"]}
    result = {
        "load": seconds,
        "speculative layout": best(lambda: world.loader.createDynamicLayout(item, Files(), {}, world.ansible), 3),
        "freeze of 30 jobs": best(lambda: world.freeze(tenant, tenant.layout, query), 10),
        "megabytes": memory,
    }
    json.dump(result, sys.stdout)


main()
