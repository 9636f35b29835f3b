"""Freezes job graphs with Zuul's own code, without any service. Runs in Zuul's environment, not in ours: it imports nothing of Headgate.

Reads requests from stdin, a JSON list of `{directory, main, key, hostnames, drivers, queries}`, and writes a list of lists of answers in
the form of `headgate jobs --batch`. `queries` may be the word `all`: every tenant, pipeline, project and branch of the directory;
`sample` takes so many of those, with `seed`, and `overlay` puts proposed branches over each.
Zuul's own objects parse, lay out and freeze; only what needs a service (locks, keys, mergers, connections' caches) is stood in for.
"""

import configparser
import io
import json
import logging
import pathlib
import random
import sys
import types

import zuul.configloader
from zuul import model
from zuul.lib import ansible, connections, encryption
from zuul.model_api import MODEL_API
from zuul.zk import components, zkobject

LOG = logging.getLogger("reference")


class Keys:
    def __init__(self, pem):
        self.pair = encryption.deserialize_rsa_keypair(pem)

    def getProjectSecretsKeys(self, connection, project):
        return self.pair

    def getProjectSSHKeys(self, connection, project):
        return ("", "")

    def getTenantSSHKeys(self, tenant):
        return ("", "")


class Semaphores:
    def __init__(self, zk_client, statsd, tenant_name, layout, abide, read_only=False):
        self.layout = layout
        self.abide = abide

    def getSemaphoreInfo(self, job_semaphore):
        semaphore = self.layout.getSemaphore(self.abide, job_semaphore.name)
        return {"name": job_semaphore.name, "path": "", "resources_first": job_semaphore.resources_first, "max": semaphore.max}


class Manager:
    def __init__(self, pipeline, tenant):
        self.pipeline = pipeline
        self.tenant = tenant
        self.fallback = None

    def getFallbackLayout(self, item):
        return self.fallback

    def _postConfig(self):
        pass


class Now:
    """An executor that does at once what it is asked to."""

    def __init__(self, max_workers=None):
        pass

    def __enter__(self):
        return self

    def __exit__(self, *args):
        return None

    def submit(self, function, *args):
        import concurrent.futures

        with concurrent.futures.ThreadPoolExecutor(1) as other:  # Zuul keeps the place of an error by thread
            return other.submit(function, *args)


class Merger:
    git_timeout = 1


class World:
    """One directory in the layout of Zuul's test fixtures, loaded by Zuul."""

    def __init__(self, request):
        self.root = pathlib.Path(request["directory"])
        self.request = request
        self.branches = {}
        self.overlays = {}
        self.registry = self.connections()
        system = types.SimpleNamespace(system_id="reference")
        settings = types.SimpleNamespace(web_root="", oidc_default_signing_algorithm="RS256", oidc_supported_signing_algorithms=["RS256"])
        self.loader = zuul.configloader.ConfigLoader(
            self.registry, system, None, settings, None, scheduler=None, merger=Merger(), keystorage=Keys(request["key"].encode())
        )
        self.abide = model.Abide()
        self.loader.tenant_parser._cacheTenantYAMLBranch = self.read_branch
        self.loader.tenant_parser.createManager = lambda context, pipeline, tenant: Manager(pipeline, tenant)
        self.ansible = ansible.AnsibleManager()
        self.unparsed = self.loader.readConfig(str(self.root / request.get("main", "main.yaml")))
        self.loader.loadAuthzRules(self.abide, self.unparsed)
        self.loader.loadSemaphores(self.abide, self.unparsed)
        self.loader.loadTPCs(self.abide, self.unparsed)
        self.tenants = {name: self.loader.loadTenant(self.abide, name, self.ansible, self.unparsed) for name in self.unparsed.tenants}

    def connections(self):
        registry = connections.ConnectionRegistry()
        config = configparser.ConfigParser(interpolation=None)
        lines = []
        for name, driver in self.request["drivers"].items():
            server = self.request["hostnames"].get(name, name)
            lines.append(f"[connection {name}]\ndriver={driver}\nserver={server}\ncanonical_hostname={server}\nbaseurl=https://{server}\n")
            lines.append(
                "access_key_id=a\nsecret_access_key=a\ncloud=fake\nuser=zuul\nwebhook_token=0\napi_token=0\nuri=http://localhost\n"
            )
        config.read_file(io.StringIO("\n".join(lines)))
        registry.configure(config, database=False, sources=True, triggers=True, reporters=True, providers=True)
        for connection in registry.connections.values():
            if hasattr(connection.driver, "_getEndpoint"):
                connection.driver._getEndpoint = lambda *given: types.SimpleNamespace(getImageFormat=lambda: "raw")
            if hasattr(connection.driver, "getSource"):
                source = connection.driver.getSource(connection)
                kind = type(source)
                kind.getProjectBranches = lambda source, project, tenant, min_ltime=-1: self.project_branches(project.name)
                kind.getProjectDefaultBranch = lambda source, project, tenant, min_ltime=-1: "master"
                kind.getProjectMergeModes = lambda source, project, tenant, min_ltime=-1: model.ALL_MERGE_MODES
        return registry

    def directory(self, project, branch):
        base = self.root / "git" / project.replace("/", "_")
        return base if branch == "master" else base.with_name(f"{base.name}@{branch}")

    def project_branches(self, project):
        if project not in self.branches:
            prefix = project.replace("/", "_") + "@"
            git = self.root / "git"
            others = [each.name[len(prefix) :] for each in git.iterdir() if each.name.startswith(prefix)] if git.exists() else []
            self.branches[project] = ["master", *others]
        return self.branches[project]

    def read_branch(self, abide, tenant, context, accumulator, ltimes, tpc, project, branch, jobs):
        files = self.read_branch_files(self.directory(project.name, branch), abide.getExtraConfigFiles(project.name))
        source = model.SourceContext(project.canonical_name, project.name, project.connection_name, branch, "")
        context.resetErrorContext(accumulator.extend(source_context=source))
        self.loader.tenant_parser._updateConfigObjectCache(abide, tenant, source, files, context, 1, None)

    @staticmethod
    def read_branch_files(root, extra=()):
        files = {}
        ignored = [str(each.parent.relative_to(root)) for each in root.rglob(".zuul.ignore")]
        for path in sorted(root.rglob("*")):
            name = str(path.relative_to(root))
            if not path.is_file() or (any(name.startswith(each) for each in ignored) and name not in extra):
                continue
            if name.endswith(".yaml") or name in extra:
                try:
                    files[name] = path.read_text()
                except UnicodeDecodeError:
                    continue
        return files

    def queries(self):
        for name, tenant in self.tenants.items():
            for pipeline in tenant.layout.pipeline_managers:
                for project in tenant.all_projects:
                    for branch in tenant.getProjectBranches(project.canonical_name):
                        asked = {"tenant": name, "pipeline": pipeline, "project": project.canonical_name, "branch": branch}
                        yield {**asked, "files": []}
                        yield {**asked, "files": ["README"]}
                        for files in self.request.get("files", ()):
                            yield {**asked, "files": files}
                        yield {**asked, "files": [], "tag": True}
                        yield {**asked, "files": [], "ref": True}

    def answer(self, query):
        tenant = self.tenants[query["tenant"]]
        answer = {key: query[key] for key in ("tenant", "project", "pipeline", "branch")} | {"files": query.get("files") or []}
        answer |= {"overlay": query["overlay"]} if query.get("overlay") else {}
        answer |= {key: True for key in ("tag", "ref") if query.get(key)}
        layout = tenant.layout
        manager = layout.pipeline_managers.get(query["pipeline"])
        try:
            if query.get("overlay"):
                layout, errors = self.overlaid(tenant, manager, query["overlay"])
            else:
                errors = layout.loading_errors.errors
            answer["config_errors"] = [error(each) for each in errors]
            answer["jobs"] = [frozen(job) for job in self.freeze(tenant, layout, query)]
        except Exception as wrong:  # noqa: BLE001 - whatever Zuul raises is its answer
            answer["error"] = f"{type(wrong).__name__}: {wrong}"
        return answer

    def overlaid(self, tenant, manager, overlay):
        """The layout of an item that changes these branches, and the errors of the layout that validates it."""
        changed = {}
        for target, directory in overlay.items():
            name, _, branch = target.rpartition("@")
            _, project = tenant.getProject(name)
            root = pathlib.Path(directory)
            ignored = tuple(str(each.parent.relative_to(root)) for each in root.rglob(".zuul.ignore"))
            paths = {str(path.relative_to(root)): path for path in root.rglob("*.yaml")}
            files = {name: path.read_text() for name, path in paths.items() if not name.startswith(ignored)}
            changed.setdefault(project.connection_name, {}).setdefault(project.name, {})[branch] = files

        class Files:
            connections = changed

            def getFile(self, connection, project, branch, name):
                return changed.get(connection, {}).get(project, {}).get(branch, {}).get(name)

        self.loader.scheduler = types.SimpleNamespace(abide=self.abide)
        item = types.SimpleNamespace(manager=manager, event=None, layout_uuid=None, warning=lambda text: None)
        make = self.loader.createDynamicLayout
        known = (tenant.name, json.dumps(overlay, sort_keys=True))
        if known not in self.overlays:
            self.overlays = {known: [make(item, Files(), {}, self.ansible, include_config_projects=each) for each in (False, True)]}
        layouts = self.overlays[known]
        return layouts[0], layouts[1].loading_errors.errors

    def freeze(self, tenant, layout, query):
        _, project = tenant.getProject(query["project"])
        manager = tenant.layout.pipeline_managers[query["pipeline"]]
        manager.fallback = tenant.layout
        item = Item(manager, change(project, query))
        result = layout.createJobGraph(zkobject.LocalZKContext(LOG), item, set(), skip_file_matcher=False, redact_secrets_and_keys=False)
        return result["job_graph"].getJobs()


class BuildSet(types.SimpleNamespace):
    def _set(self, **values):
        self.__dict__.update(values)


class Item:
    """As much of a queue item as freezing asks for."""

    updatesJobConfig = model.QueueItem.updatesJobConfig
    log = LOG

    def __init__(self, manager, change):
        self.manager = manager
        self.changes = [change]
        self.event = None
        self.debug = False
        self.parameters = {}
        self.current_build_set = BuildSet(
            fail_fast=False, jobs={}, _old_jobs={}, _old_job_graph=None, debug_messages=[], item=self, getPath=lambda: ""
        )

    def annotateLogger(self, logger):
        return logger

    def getChangeForJob(self, job):
        return self.changes[0]


def change(project, query):
    if query.get("tag"):
        made = model.Tag(project)
        made.ref = f"refs/tags/{query['branch']}"
        made.tag = query["branch"]
        made.containing_branches = [query["branch"]]
    elif query.get("ref"):
        made = model.Branch(project)
        made.branch = query["branch"]
        made.ref = f"refs/heads/{query['branch']}"
    else:
        made = model.Change(project)
        made.branch = query["branch"]
        made.ref = "refs/changes/01/1/1"
        made.number = 1
        made.patchset = 1
    made.files = query.get("files") or []
    made.cache_stat = types.SimpleNamespace(key=types.SimpleNamespace(reference=made.ref))
    return made


def error(each):
    return {
        "name": each.name,
        "severity": each.severity,
        "source": str(each.key.context) if each.key.context else None,
        "line": each.key.mark.line + 1 if each.key.mark else None,
        "error": each.short_error,
    }


def playbook(pb):
    return {
        "project": pb["project"],
        "branch": pb["branch"],
        "path": pb["path"],
        "trusted": pb["trusted"],
        "roles": [role["project_canonical_name"] for role in pb["roles"]],
        "secrets": sorted(pb["secrets"]),
    }


def frozen(job):
    parents = list(dict.fromkeys(step.split()[1] for step in job.inheritance_path))
    return {
        "name": job.name,
        "parents": parents,
        "voting": job.voting,
        "attempts": job.attempts,
        "timeout": job.timeout,
        "post_timeout": job.post_timeout,
        "dependencies": [{"name": each.name, "soft": each.soft} for each in sorted(job.dependencies, key=lambda each: each.name)],
        "semaphores": [{"name": each.name, "resources_first": each.resources_first} for each in job.semaphores],
        "tags": sorted(job.tags),
        "provides": sorted(job.provides),
        "requires": sorted(job.requires),
        "vars": job.variables,
        "extra_vars": job.extra_variables,
        "host_vars": job.host_variables,
        "group_vars": job.group_variables,
        "required_projects": list(job.required_projects),
        "nodeset": [
            [{"name": list(node.name), "label": node.label} for node in alternative.getNodes()] for alternative in job.nodeset_alternatives
        ],
        "pre_run": [playbook(each) for each in job.pre_run],
        "run": [playbook(each) for each in job.run],
        "post_run": [playbook(each) for each in job.post_run],
    }


def answers(request):
    try:
        world = World(request)
    except Exception as wrong:  # noqa: BLE001 - whatever Zuul raises is its answer
        return {"refused": f"{type(wrong).__name__}: {wrong}"}
    wanted = list(world.queries()) if request["queries"] == "all" else request["queries"]
    if len(wanted) > request.get("sample", len(wanted)):
        wanted = random.Random(request["seed"]).sample(wanted, request["sample"])
    over = {"overlay": request["overlay"]} if request.get("overlay") else {}
    return [world.answer({**query, **over}) for query in wanted]


def plain(value):
    if isinstance(value, types.MappingProxyType):
        return dict(value)
    return f"<{type(value).__name__}>"


def stand_in():
    """Put something in the place of each service that Zuul's modules reach for."""
    zuul.configloader.SemaphoreHandler = Semaphores
    zuul.configloader.ThreadPoolExecutor = Now
    zuul.configloader.as_completed = list
    components.COMPONENT_REGISTRY.registry = types.SimpleNamespace(model_api=MODEL_API)


def main():
    logging.disable(logging.CRITICAL)
    stand_in()
    json.dump([answers(request) for request in json.load(sys.stdin)], sys.stdout, default=plain)


if __name__ == "__main__":
    main()
